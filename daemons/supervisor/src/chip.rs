//! Keys and buttons that a dead `kvmd` has left down at a CH9329.
//!
//! The chip holds what it was told last for as long as it has power, whatever becomes of who told it, and `kvmd` itself
//! releases that only when it runs again: one that cannot start would leave a key down for ever.

use std::time::Duration;

use config::{Config, HidType};
use hid::link::ch9329;

/// Longest time for the releases. The next `kvmd` waits for it.
const LET_GO: Duration = Duration::from_secs(1);

/// The chip. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Chip(ch9329::Settings);

impl Chip {
    /// The chip that the settings name; `None` where keyboard and mouse are something else.
    #[must_use]
    pub fn new(config: &Config) -> Option<Self> {
        let ours = &config.kvmd.hid;
        let (device, speed, read_timeout) = (ours.device.clone(), ours.speed, ours.read_timeout);
        (ours.r#type == HidType::Ch9329).then_some(Self(ch9329::Settings { device, speed, read_timeout }))
    }

    /// Releases every key and button, beside the loop and bounded.
    pub async fn let_go(&self) {
        let settings = self.0.clone();
        let releasing = tokio::task::spawn_blocking(move || ch9329::let_go(settings));
        let device = self.0.device.display();
        match tokio::time::timeout(LET_GO, releasing).await {
            Ok(Ok(Ok(()))) => log::info!("every key and button of the target is released"),
            Ok(Ok(Err(error))) => log::warn!("{device}: keys of the target may still be down: {error}"),
            Ok(Err(_)) | Err(_) => {
                log::warn!("{device}: keys of the target may still be down: the port takes too long");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use config::Args;
    use nix::pty::openpty;
    use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

    use super::*;

    fn chip(kind: &str, device: &str) -> Option<Chip> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let text = format!("kvmd:\n  hid: {{type: {kind}, device: {device}, read_timeout: 0.5}}\n");
        std::fs::write(dir.path().join("etc/override.yaml"), text).unwrap();
        Chip::new(&config::load(&Args { state: Some(dir.path().to_owned()), ..Args::default() }).unwrap().0)
    }

    #[tokio::test]
    async fn what_a_dead_kvmd_held_at_the_chip_is_released() {
        let pty = openpty(None, None).unwrap();
        let mut modes = tcgetattr(&pty.slave).unwrap();
        cfmakeraw(&mut modes);
        tcsetattr(&pty.slave, SetArg::TCSANOW, &modes).unwrap();
        let name = nix::unistd::ttyname(&pty.slave).unwrap();
        assert!(chip("otg", "/dev/tty").is_none());
        let chip = chip("ch9329", name.to_str().unwrap()).unwrap();
        let mut line = std::fs::File::from(pty.master);
        // Keyboard, absolute mouse, relative mouse: order, length of its data.
        let target = std::thread::spawn(move || {
            for (order, len) in [(2, 8), (4, 7), (5, 5)] {
                let mut frame = vec![0; 6 + len];
                line.read_exact(&mut frame).unwrap();
                assert_eq!(frame[..5], [0x57, 0xab, 0, order, u8::try_from(len).unwrap()]);
                let says_nothing =
                    frame[if order == 2 { 5 } else { 6 }..5 + len].iter().all(|byte| *byte == 0);
                assert!(says_nothing, "{frame:x?}");
                let answer = [0x57, 0xab, 0, order | 0x80, 1, 0];
                let sum = answer.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
                line.write_all(&[&answer[..], &[sum]].concat()).unwrap();
            }
        });
        chip.let_go().await;
        target.join().unwrap();
        // A port that is gone keeps nobody.
        Chip(ch9329::Settings { device: "/nonexistent".into(), ..chip.0 }).let_go().await;
    }
}
