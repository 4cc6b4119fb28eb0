//! Device nodes for the children that need them: given when the appliance starts, before each start of a child, and
//! whenever one appears again.
//!
//! The kernel makes nodes as root's, and udev may set its own owner afterwards. Only the owner is changed; the group, and
//! what it may do, stay as they are for others who use the device. At the end nodes become root's again.
//!
//! A path of the settings is followed link by link, and only where nobody but root could have written: every directory
//! and link on the way is root's and not for others to write, everything stays below `/dev`, and at the end there is a
//! character device of the subsystem that was wanted, not one that merely has the name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use config::{AtxType, Config, Driver, HidType, SourceType};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use crate::account::Accounts;

/// Links on the way to one node.
const LINKS: usize = 16;
/// How long is waited for more news of the same moment: udev follows the kernel.
const GATHER: Duration = Duration::from_millis(50);

/// A node that a child needs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Want {
    path: PathBuf,
    /// The subsystem of the kernel it belongs to.
    subsystem: &'static str,
    /// Whose it shall be.
    uid: u32,
}

/// A PWM channel that `kvmd` needs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Channel {
    settings: gpio::pwm::Settings,
    pin: String,
}

#[derive(Debug)]
struct Inner {
    wants: Vec<Want>,
    channels: Vec<Channel>,
    kvmd: u32,
    dev: PathBuf,
    sys: PathBuf,
    /// What was last said of a path, so that it is said once.
    faults: Mutex<BTreeMap<PathBuf, String>>,
    given: Mutex<BTreeSet<PathBuf>>,
}

/// The nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Nodes(Arc<Inner>);

impl Nodes {
    /// What the settings name; `None` when they name nothing, or we are not root.
    #[must_use]
    pub fn new(config: &Config, accounts: &Accounts) -> Option<Self> {
        let (wants, channels) = wants(config, accounts.kvmd.uid, accounts.streamer.uid);
        if !accounts.switch() || (wants.is_empty() && channels.is_empty()) {
            return None;
        }
        let inner = Inner {
            wants,
            channels,
            kvmd: accounts.kvmd.uid,
            dev: "/dev".into(),
            sys: "/sys".into(),
            faults: Mutex::default(),
            given: Mutex::default(),
        };
        Some(Self(Arc::new(inner)))
    }

    /// Gives everything that is there. What is missing is told once, and once when it is back.
    pub fn give(&self) {
        let inner = &self.0;
        for want in &inner.wants {
            let given = inner.give(want);
            inner.tell(&want.path, given.err());
        }
        for channel in &inner.channels {
            let given = inner.give_channel(channel);
            inner.tell(&channel.settings.channel(&channel.pin), given.err());
        }
    }

    /// Gives them again whenever something appears or changes in one of their directories, until `stop`.
    pub async fn watch(self, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.follow()).await;
    }

    async fn follow(self) {
        let queue = match Queue::watch(&self.0.directories()) {
            Ok(queue) => queue,
            Err(error) => return log::warn!("devices that come back are not noticed: {error}"),
        };
        loop {
            // Also before the first news: something may have come before we listened.
            let own = self.clone();
            let _ = tokio::task::spawn_blocking(move || own.give()).await;
            if queue.news().await.is_err() {
                return;
            }
            tokio::time::sleep(GATHER).await;
            queue.forget();
            // A directory like /dev/serial/by-id comes with its first link.
            for dir in self.0.directories() {
                queue.add(&dir);
            }
        }
    }

    /// Takes the nodes back: they are root's again.
    pub fn close(&self) {
        let given = std::mem::take(&mut *self.0.given.lock().unwrap_or_else(PoisonError::into_inner));
        for path in given {
            // Not through a path that may be another device by now: looked at again.
            let want = self.0.wants.iter().find(|want| want.path == path);
            if let Some(want) = want
                && let Ok(node) = self.0.open(want)
            {
                let _ = own(&node, 0, 0);
            }
        }
    }
}

impl Inner {
    fn open(&self, want: &Want) -> io::Result<File> {
        let node = resolve(&want.path, &self.dev, 0)?;
        let found = subsystem(&self.sys, node.metadata()?.rdev())?;
        if found != want.subsystem {
            return Err(io::Error::other(format!(
                "it is a device of {found:?}, not of {:?}",
                want.subsystem
            )));
        }
        Ok(node)
    }

    fn give(&self, want: &Want) -> io::Result<()> {
        let node = self.open(want)?;
        if own(&node, want.uid, 0o600)? {
            log::debug!("{} is given to user {}", want.path.display(), want.uid);
        }
        self.given.lock().unwrap_or_else(PoisonError::into_inner).insert(want.path.clone());
        Ok(())
    }

    fn give_channel(&self, channel: &Channel) -> io::Result<()> {
        gpio::pwm::export(&channel.settings, &channel.pin)?;
        let dir = channel.settings.channel(&channel.pin);
        for file in ["period", "duty_cycle", "enable"] {
            // The kernel's own directory: nobody plants links there.
            std::os::unix::fs::lchown(dir.join(file), Some(self.kvmd), None)?;
        }
        Ok(())
    }

    fn tell(&self, path: &Path, error: Option<io::Error>) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match error.map(|error| error.to_string()) {
            Some(why) if faults.get(path) != Some(&why) => {
                log::warn!("{}: not given to the process that needs it: {why}", path.display());
                faults.insert(path.to_owned(), why);
            }
            None if faults.remove(path).is_some() => log::info!("{} is there", path.display()),
            _ => {}
        }
    }

    /// The directories in which something can appear that concerns us, as far as they are there.
    fn directories(&self) -> Vec<PathBuf> {
        let mut found = vec![self.dev.clone()];
        for want in &self.wants {
            let parents = want.path.ancestors().skip(1).take_while(|dir| dir.starts_with(&self.dev));
            found.extend(parents.filter(|dir| dir.is_dir()).map(Path::to_owned));
        }
        found.sort();
        found.dedup();
        found
    }
}

/// Makes a node a user's, with at least these rights for the owner; tells whether it was not. A node that is the user's
/// already is not touched: that would be news again.
fn own(node: &File, uid: u32, rights: u32) -> io::Result<bool> {
    let found = node.metadata()?;
    // The descriptor has no rights of its own; the name of it does.
    let path = format!("/proc/self/fd/{}", node.as_raw_fd());
    let mode = found.mode() & 0o7777;
    if found.uid() == uid && mode & rights == rights {
        return Ok(false);
    }
    std::os::unix::fs::chown(&path, Some(uid), None)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode | rights))?;
    Ok(true)
}

/// What the kernel says a character device is.
fn subsystem(sys: &Path, device: u64) -> io::Result<String> {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let link = fs::read_link(sys.join(format!("dev/char/{major}:{minor}/subsystem")))?;
    let name = link.file_name().ok_or(io::ErrorKind::InvalidData)?;
    Ok(name.to_string_lossy().into_owned())
}

/// The character device at `path`, below `dev`, as a descriptor that can do nothing but be given away. Nothing on the
/// way there is another's than `trusted`'s, or writable for others.
fn resolve(path: &Path, dev: &Path, trusted: u32) -> io::Result<File> {
    let refuse = |text: String| io::Error::new(io::ErrorKind::PermissionDenied, text);
    let outside = || refuse(format!("it leads out of {}", dev.display()));
    let parts = |path: &Path| -> Vec<OsString> {
        path.components().map(Component::as_os_str).map(OsStr::to_owned).collect()
    };
    let mut rest: VecDeque<OsString> = parts(path.strip_prefix(dev).map_err(|_| outside())?).into();
    let mut at = dev.to_owned();
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == "." {
            continue;
        }
        if part == ".." {
            if at == dev || !at.pop() {
                return Err(outside());
            }
            continue;
        }
        let next = at.join(&part);
        let found = fs::symlink_metadata(&next)?;
        let kind = found.file_type();
        if kind.is_symlink() {
            links += 1;
            if links > LINKS {
                return Err(refuse("too many links".to_owned()));
            }
            is_trusted(&next, &found, trusted)?;
            let mut target = fs::read_link(&next)?;
            if target.is_absolute() {
                target = target.strip_prefix(dev).map_err(|_| outside())?.to_owned();
                dev.clone_into(&mut at);
            }
            for part in parts(&target).into_iter().rev() {
                rest.push_front(part);
            }
        } else if kind.is_dir() {
            is_trusted(&next, &found, trusted)?;
            if found.mode() & 0o022 != 0 {
                return Err(refuse(format!("{} is for others to write", next.display())));
            }
            at = next;
        } else if rest.is_empty() {
            let flags = nix::libc::O_PATH | nix::libc::O_NOFOLLOW;
            let node = OpenOptions::new().read(true).custom_flags(flags).open(&next)?;
            if node.metadata()?.file_type().is_char_device() {
                return Ok(node);
            }
            return Err(refuse(format!("{} is no character device", next.display())));
        } else {
            return Err(io::ErrorKind::NotADirectory.into());
        }
    }
    Err(refuse(format!("{} is a directory", at.display())))
}

fn is_trusted(path: &Path, found: &Metadata, trusted: u32) -> io::Result<()> {
    if found.uid() == trusted {
        return Ok(());
    }
    let text = format!("{} is user {}'s", path.display(), found.uid());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

/// What the settings name, for whom.
fn wants(config: &Config, kvmd: u32, streamer: u32) -> (Vec<Want>, Vec<Channel>) {
    let mut wants = Vec::new();
    let mut channels = Vec::new();
    let mut want = |path: &Path, subsystem: &'static str, uid: u32| {
        let want = Want { path: path.to_owned(), subsystem, uid };
        if !wants.contains(&want) {
            wants.push(want);
        }
    };
    if config.kvmd.atx.r#type == AtxType::Gpio {
        want(&config.kvmd.atx.device, "gpio", kvmd);
    }
    if config.kvmd.hid.r#type == HidType::Ch9329 {
        want(&config.kvmd.hid.device, "tty", kvmd);
    }
    if config.kvmd.streamer.source.r#type == SourceType::V4l2 {
        want(&config.kvmd.streamer.source.device, "video4linux", streamer);
    }
    let gpio = &config.kvmd.gpio;
    for channel in gpio.scheme.values() {
        let mut channel_of = |settings: gpio::pwm::Settings| {
            let own = Channel { settings, pin: channel.pin.clone() };
            if !channels.contains(&own) {
                channels.push(own);
            }
        };
        match gpio.drivers.get(&channel.driver) {
            Some(Driver::Gpio(chip)) => want(&chip.device, "gpio", kvmd),
            Some(Driver::Locator(chip)) => want(&chip.device, "gpio", kvmd),
            Some(Driver::HidRelay(relay)) => want(&relay.device, "hidraw", kvmd),
            Some(Driver::Pwm(pwm)) => {
                channel_of(gpio::pwm::Settings { chip: pwm.chip, ..gpio::pwm::Settings::default() });
            }
            Some(Driver::Servo(servo)) => {
                channel_of(gpio::pwm::Settings { chip: servo.chip, ..gpio::pwm::Settings::default() });
            }
            _ => {}
        }
    }
    (wants, channels)
}

/// The queue as tokio wants it.
struct Raw(Inotify);

impl AsRawFd for Raw {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// News of directories.
struct Queue(AsyncFd<Raw>);

impl Queue {
    #[expect(deprecated, reason = "its successor is an unsafe fn; `Raw` owns the descriptor it names")]
    fn watch(dirs: &[PathBuf]) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let queue = Self(AsyncFd::new(Raw(inotify))?);
        for dir in dirs {
            queue.add(dir);
        }
        Ok(queue)
    }

    /// Once more for one that is watched changes nothing.
    fn add(&self, dir: &Path) {
        let news = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ATTRIB;
        if let Err(error) = self.0.get_ref().0.add_watch(dir, news) {
            log::debug!("{}: {error}", dir.display());
        }
    }

    /// There is something. Cancel-safe.
    async fn news(&self) -> io::Result<()> {
        // Cleared before the queue is emptied: what comes in between is news again.
        self.0.readable().await.map(|mut ready| ready.clear_ready())
    }

    /// What it was does not matter: everything is looked at.
    fn forget(&self) {
        while self.0.get_ref().0.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn me() -> u32 {
        nix::unistd::Uid::effective().as_raw()
    }

    /// A directory that stands for /dev; /dev/null, which everybody has, stands for a device where a link may lead there.
    fn dev() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let dev = dir.path().join("dev");
        fs::create_dir_all(dev.join("serial/by-id")).unwrap();
        for path in [&dev, &dev.join("serial"), &dev.join("serial/by-id")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(dev.join("plain"), "").unwrap();
        (dir, dev)
    }

    fn said(path: &Path, dev: &Path) -> String {
        resolve(path, dev, me()).unwrap_err().to_string()
    }

    #[test]
    fn only_character_devices_below_the_directory_count() {
        let (_dir, dev) = dev();
        assert!(said(&dev.join("plain"), &dev).contains("no character device"));
        assert!(said(&dev.join("serial"), &dev).contains("is a directory"));
        assert!(said(&dev.join("serial/../../dev/plain"), &dev).contains("leads out"));
        assert!(said(Path::new("/etc/passwd"), &dev).contains("leads out"));
        assert_eq!(resolve(&dev.join("none"), &dev, me()).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(
            resolve(&dev.join("plain/x"), &dev, me()).unwrap_err().kind(),
            io::ErrorKind::NotADirectory
        );
        drop(resolve(Path::new("/dev/null"), Path::new("/dev"), 0).unwrap());
    }

    #[test]
    fn links_are_followed_within_the_directory_only() {
        let (_dir, dev) = dev();
        symlink("../../plain", dev.join("serial/by-id/near")).unwrap();
        symlink(dev.join("plain"), dev.join("far")).unwrap();
        symlink("/dev/null", dev.join("out")).unwrap();
        symlink("loop", dev.join("loop")).unwrap();
        for path in ["serial/by-id/near", "far"] {
            assert!(said(&dev.join(path), &dev).contains("plain is no character device"), "{path}: followed");
        }
        assert!(said(&dev.join("out"), &dev).contains("leads out"));
        assert!(said(&dev.join("loop"), &dev).contains("too many links"));
    }

    #[test]
    fn what_others_may_have_written_is_not_followed() {
        let (_dir, dev) = dev();
        symlink("../plain", dev.join("serial/link")).unwrap();
        assert!(
            resolve(&dev.join("serial/link"), &dev, me() + 1).unwrap_err().to_string().contains("is user")
        );
        fs::set_permissions(dev.join("serial"), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(said(&dev.join("serial/link"), &dev).contains("for others to write"));
    }

    #[tokio::test]
    async fn news_are_told_once() {
        let (_dir, dev) = dev();
        let queue = Queue::watch(&[dev.clone(), dev.join("serial")]).unwrap();
        for path in ["new", "serial/new"] {
            fs::write(dev.join(path), "").unwrap();
            tokio::time::timeout(Duration::from_secs(20), queue.news()).await.unwrap().unwrap();
            queue.forget();
            // At most once more, for what came while it was emptied.
            let _ = tokio::time::timeout(Duration::from_millis(20), queue.news()).await;
            queue.forget();
            let again = tokio::time::timeout(Duration::from_millis(50), queue.news()).await;
            assert!(again.is_err(), "nothing has happened since");
        }
    }

    #[test]
    fn a_device_is_what_the_kernel_says_it_is() {
        let node = resolve(Path::new("/dev/null"), Path::new("/dev"), 0).unwrap();
        assert_eq!(subsystem(Path::new("/sys"), node.metadata().unwrap().rdev()).unwrap(), "mem");
    }

    #[test]
    fn every_child_gets_what_its_settings_name_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let text = "kvmd:\n  atx: {type: gpio}\n  hid: {type: ch9329}\n  streamer: {source: {type: v4l2}}\n  gpio:\n    drivers:\n\
            \x20     usb: {type: hidrelay, device: /dev/hidraw3}\n\
            \x20     lamp: {type: pwm, chip: 2}\n    scheme:\n\
            \x20     a: {pin: 5, mode: output}\n\
            \x20     b: {driver: usb, pin: 1, mode: output}\n\
            \x20     c: {driver: lamp, pin: 1, mode: output}\n\
            \x20     d: {driver: lamp, pin: 1, mode: output}\n";
        fs::write(dir.path().join("etc/override.yaml"), text).unwrap();
        let args = config::Args { state: Some(dir.path().to_owned()), ..config::Args::default() };
        let config = config::load(&args).unwrap().0;
        let (wants, channels) = wants(&config, 960, 961);
        let shown: Vec<_> =
            wants.iter().map(|want| (want.path.to_str().unwrap(), want.subsystem, want.uid)).collect();
        assert_eq!(
            shown,
            [
                ("/dev/gpiochip0", "gpio", 960),
                ("/dev/kvmd-hid", "tty", 960),
                ("/dev/kvmd-video", "video4linux", 961),
                ("/dev/hidraw3", "hidraw", 960)
            ]
        );
        let paths: Vec<_> = channels.iter().map(|channel| channel.settings.channel(&channel.pin)).collect();
        assert_eq!(paths, [Path::new("/sys/class/pwm/pwmchip2/pwm1")]);
    }
}
