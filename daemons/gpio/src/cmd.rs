//! `cmd`: a program started by switching on. `cmdret`: a light that is on while a program says so by ending well.
//!
//! Any pin. Programs run as our user, without a shell, without rights to gain and without input; one that takes too long
//! is killed with everything it started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::program::run;
use crate::{Driver, Offline, PinUse, Wake};

/// A program started by switching on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CmdSettings {
    /// Program and arguments.
    pub command: Vec<String>,
    /// When it is killed.
    pub timeout: Duration,
}

impl Default for CmdSettings {
    fn default() -> Self {
        Self { command: Vec::new(), timeout: Duration::from_secs(60) }
    }
}

/// The driver of [`CmdSettings`].
#[derive(Debug)]
pub struct Cmd {
    settings: CmdSettings,
    running: Option<AbortOnDropHandle<()>>,
}

impl Cmd {
    /// The driver.
    #[must_use]
    pub fn new(settings: CmdSettings) -> Self {
        Self { settings, running: None }
    }
}

impl Driver for Cmd {
    fn attach(&mut self, _: &[PinUse], _: Wake) -> Result<(), Offline> {
        Ok(())
    }

    fn read(&mut self, _: &str) -> Result<bool, Offline> {
        Ok(false)
    }

    fn write(&mut self, _: &str, level: bool) -> Result<(), Offline> {
        if !level {
            return Ok(());
        }
        if self.running.as_ref().is_some_and(|running| !running.is_finished()) {
            return Err(Offline("the program of the last time still runs".to_owned()));
        }
        let CmdSettings { command, timeout } = self.settings.clone();
        let name = command.first().cloned().unwrap_or_default();
        let running = async move {
            match run(&command, timeout).await {
                Ok(outcome) if outcome.status.success() => log::info!("{name}: {}", said(&outcome.said)),
                Ok(outcome) => log::warn!("{name}: {}, {}", outcome.status, said(&outcome.said)),
                Err(error) => log::warn!("{error}"),
            }
        };
        self.running = Some(AbortOnDropHandle::new(tokio::spawn(running)));
        Ok(())
    }
}

/// One line for the log.
fn said(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        "no output".to_owned()
    } else {
        format!("{:?}", text.chars().take(500).collect::<String>())
    }
}

/// A light that is on while a program ends with exit status 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CmdRetSettings {
    /// Program and arguments.
    pub command: Vec<String>,
    /// When it is killed.
    pub timeout: Duration,
    /// How long it rests between two runs.
    pub state_poll: Duration,
}

impl Default for CmdRetSettings {
    fn default() -> Self {
        Self { command: Vec::new(), timeout: Duration::from_secs(5), state_poll: Duration::from_secs(1) }
    }
}

/// The driver of [`CmdRetSettings`].
#[derive(Debug)]
pub struct CmdRet {
    settings: CmdRetSettings,
    level: Option<watch::Receiver<Result<bool, String>>>,
    asking: Option<AbortOnDropHandle<()>>,
}

impl CmdRet {
    /// The driver.
    #[must_use]
    pub fn new(settings: CmdRetSettings) -> Self {
        Self { settings, level: None, asking: None }
    }
}

impl Driver for CmdRet {
    fn attach(&mut self, pins: &[PinUse], wake: Wake) -> Result<(), Offline> {
        if pins.is_empty() {
            return Ok(());
        }
        let (publish, level) = watch::channel(Err("not asked yet".to_owned()));
        let CmdRetSettings { command, timeout, state_poll } = self.settings.clone();
        let told = Arc::new(AtomicBool::new(false));
        let asking = async move {
            loop {
                let now = match run(&command, timeout).await {
                    Ok(outcome) => Ok(outcome.status.success()),
                    Err(error) => Err(error.to_string()),
                };
                if let Err(why) = &now
                    && !told.swap(true, Ordering::Relaxed)
                {
                    log::warn!("a gpio driver is offline: {why}");
                }
                if now.is_ok() {
                    told.store(false, Ordering::Relaxed);
                }
                let changed = publish.send_if_modified(|old| {
                    let changed = *old != now;
                    *old = now;
                    changed
                });
                if changed {
                    wake.up();
                }
                sleep(state_poll).await;
            }
        };
        self.level = Some(level);
        self.asking = Some(AbortOnDropHandle::new(tokio::spawn(asking)));
        Ok(())
    }

    fn read(&mut self, _: &str) -> Result<bool, Offline> {
        let level = self.level.as_ref().ok_or_else(|| Offline("not started".to_owned()))?;
        level.borrow().clone().map_err(Offline)
    }

    fn write(&mut self, pin: &str, _: bool) -> Result<(), Offline> {
        Err(Offline(format!("pin {pin:?} of a cmdret driver cannot be written")))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn words(command: &[&str]) -> Vec<String> {
        command.iter().map(|word| (*word).to_owned()).collect()
    }

    async fn until(what: &str, mut seen: impl FnMut() -> bool) {
        let wait = async {
            while !seen() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(LIMIT, wait).await.is_ok(), "{what}");
    }

    fn appends(file: &Path, then: &str) -> Vec<String> {
        words(&["/bin/sh", "-c", &format!("echo run >> {}; {then}", file.display())])
    }

    #[tokio::test]
    async fn switching_on_runs_the_program_once_and_not_while_it_still_runs() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("runs");
        let runs = || std::fs::read_to_string(&file).unwrap_or_default().lines().count();
        let command = appends(&file, "sleep 600");
        let mut cmd = Cmd::new(CmdSettings { command, ..CmdSettings::default() });
        cmd.write("0", true).unwrap();
        cmd.write("0", false).unwrap();
        until("the first run", || runs() == 1).await;
        assert!(cmd.write("0", true).unwrap_err().0.contains("still runs"));
        assert_eq!((cmd.read("0"), runs()), (Ok(false), 1));
        let command = appends(&file, "exit 1");
        let mut cmd = Cmd::new(CmdSettings { command, ..CmdSettings::default() });
        cmd.write("0", true).unwrap();
        until("the second run", || runs() == 2).await;
        until("its end", || cmd.write("0", true).is_ok()).await;
        until("the third run", || runs() == 3).await;
    }

    #[tokio::test]
    async fn a_light_follows_how_its_program_ends() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("on");
        let settings = CmdRetSettings {
            command: words(&["/usr/bin/test", "-e", &file.display().to_string()]),
            state_poll: Duration::from_millis(5),
            ..CmdRetSettings::default()
        };
        let mut light = CmdRet::new(settings);
        let pin = PinUse::Input { pin: "0".to_owned(), debounce: Duration::ZERO };
        light.attach(&[pin], Wake::default()).unwrap();
        until("off", || light.read("0") == Ok(false)).await;
        std::fs::write(&file, "").unwrap();
        until("on", || light.read("0") == Ok(true)).await;
        assert!(light.write("0", true).is_err());
    }

    #[tokio::test]
    async fn a_light_whose_program_hangs_is_offline() {
        let settings = CmdRetSettings {
            command: words(&["/bin/sleep", "600"]),
            timeout: Duration::from_millis(50),
            state_poll: Duration::from_secs(600),
        };
        let mut light = CmdRet::new(settings);
        let pin = PinUse::Input { pin: "0".to_owned(), debounce: Duration::ZERO };
        light.attach(&[pin], Wake::default()).unwrap();
        until("offline", || light.read("0").is_err_and(|why| why.0.contains("not done within"))).await;
    }
}
