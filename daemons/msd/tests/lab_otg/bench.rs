//! A gadget, its cable, and an owner over an ext4 storage.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use msd::{Compression, Doing, Drives, Error, Msd, Remount, Settings, State};
use nix::libc;
use testkit::lab::{self, Mounted, Node};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything takes that is no fault.
pub(crate) const SOON: Duration = Duration::from_secs(20);

const GADGET: &str = "/sys/kernel/config/usb_gadget/kvmd";

/// A gadget of mass storage functions with one LUN each.
#[derive(Debug)]
pub(crate) struct Gadget {
    drives: u32,
}

impl Gadget {
    pub(crate) fn new(drives: u32) -> Self {
        let gadget = Self { drives };
        gadget.make();
        gadget
    }

    pub(crate) fn lun(&self, number: u32) -> PathBuf {
        Path::new(GADGET).join(format!("functions/mass_storage.usb{number}/lun.0"))
    }

    /// As the supervisor does it.
    pub(crate) fn make(&self) {
        let root = Path::new(GADGET);
        fs::create_dir_all(root.join("strings/0x409")).unwrap();
        fs::create_dir_all(root.join("configs/c.1")).unwrap();
        write(root, "idVendor", "0x1d6b\n").unwrap();
        write(root, "idProduct", "0x0104\n").unwrap();
        for number in 0..self.drives {
            let function = root.join(format!("functions/mass_storage.usb{number}"));
            fs::create_dir_all(&function).unwrap();
            write(&function, "stall", "0\n").unwrap();
            let cdrom = if number == 0 { "1\n" } else { "0\n" };
            for (name, value) in [("removable", "1\n"), ("ro", "1\n"), ("cdrom", cdrom)] {
                write(&self.lun(number), name, value).unwrap();
            }
            symlink(&function, root.join(format!("configs/c.1/mass_storage.usb{number}"))).unwrap();
        }
    }

    pub(crate) fn remove(&self) {
        let root = Path::new(GADGET);
        for number in 0..self.drives {
            fs::remove_file(root.join(format!("configs/c.1/mass_storage.usb{number}"))).unwrap();
            fs::remove_dir(root.join(format!("functions/mass_storage.usb{number}"))).unwrap();
        }
        fs::remove_dir(root.join("configs/c.1")).unwrap();
        fs::remove_dir(root.join("strings/0x409")).unwrap();
        fs::remove_dir(root).unwrap();
    }

    /// Puts the cable in.
    pub(crate) fn bind(&self) -> Cable {
        write(Path::new(GADGET), "UDC", &format!("{}\n", lab::udc().unwrap())).unwrap();
        Cable
    }
}

/// The cable is in until this is dropped: the host's side.
#[derive(Debug)]
pub(crate) struct Cable;

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = write(Path::new(GADGET), "UDC", "\n");
        lab::wait_for("the host has seen that it is gone", SOON, || {
            [Node::Disk, Node::Cdrom].iter().all(|kind| lab::usb_node(*kind, 0, 0).is_none())
        });
    }
}

impl Cable {
    /// The host's node, once there is one.
    pub(crate) fn node(&self, kind: Node) -> PathBuf {
        self.node_at(kind, 0)
    }

    fn node_at(&self, kind: Node, interface: u8) -> PathBuf {
        let find = || lab::usb_node(kind, interface, 0).filter(|node| node.exists());
        lab::wait_for("the host's node", SOON, || find().is_some());
        find().unwrap()
    }

    /// Opens it as a program that wants a medium.
    pub(crate) fn open(&self, kind: Node) -> File {
        let node = self.node(kind);
        lab::wait_for("a medium", SOON, || File::open(&node).is_ok());
        File::open(node).unwrap()
    }

    /// Opens it whether there is a medium or not.
    pub(crate) fn open_empty(&self, kind: Node) -> File {
        File::options().read(true).custom_flags(libc::O_NONBLOCK).open(self.node(kind)).unwrap()
    }

    /// What the drive says it is.
    pub(crate) fn model(&self, kind: Node) -> String {
        let node = self.node(kind);
        let model = Path::new("/sys/block").join(node.file_name().unwrap()).join("device/model");
        fs::read_to_string(model).unwrap().trim().to_owned()
    }

    /// Sends what the host has gathered to the drive.
    pub(crate) fn push(&self, kind: Node) {
        let node = self.node(kind);
        assert!(Command::new("blockdev").arg("--flushbufs").arg(&node).status().unwrap().success());
    }

    /// All of the medium, which should have that many bytes.
    pub(crate) fn read(&self, kind: Node, len: usize) -> Vec<u8> {
        self.read_at(kind, 0, len)
    }

    pub(crate) fn read_at(&self, kind: Node, interface: u8, len: usize) -> Vec<u8> {
        let node = self.node_at(kind, interface);
        let size =
            || fs::read_to_string(Path::new("/sys/block").join(node.file_name().unwrap()).join("size"));
        // The host learns of a new size when somebody opens the drive, and of another medium by asking.
        lab::wait_for("the medium's size", SOON, || {
            let opened = File::open(&node);
            opened.is_ok() && size().unwrap().trim() == (len / 512).to_string()
        });
        let file = File::open(&node).unwrap();
        assert!(Command::new("blockdev").arg("--flushbufs").arg(&node).status().unwrap().success());
        let mut data = vec![0; len];
        file.read_exact_at(&mut data, 0).unwrap();
        data
    }
}

/// Bytes that no two seeds or places share.
pub(crate) fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| next()).take(len).collect()
}

/// One value, one write(2).
pub(crate) fn write(dir: &Path, name: &str, value: &str) -> Result<(), i32> {
    let opened = File::options().write(true).open(dir.join(name));
    opened.and_then(|mut file| file.write_all(value.as_bytes())).map_err(|error| errno(&error))
}

pub(crate) fn errno(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap()
}

/// A figure for people.
#[expect(clippy::print_stdout, reason = "a test's own way to speak")]
pub(crate) fn tell(what: &str, began: Instant) {
    println!("{what} after {} ms", began.elapsed().as_millis());
}

/// Asks until there is an answer, without holding up the runtime.
pub(crate) async fn until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < limit, "waited {limit:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn remount(path: &Path, rw: bool) -> Result<(), String> {
    let options = if rw { "remount,rw" } else { "remount,ro" };
    let output = Command::new("mount").args(["-o", options]).arg(path).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// What the supervisor does.
#[derive(Debug)]
struct Ext4(PathBuf);

impl Remount for Ext4 {
    fn remount(&mut self, rw: bool) -> Doing<'_, Result<(), String>> {
        Box::pin(async move {
            let began = Instant::now();
            loop {
                match remount(&self.0, rw) {
                    Err(_) if !rw && began.elapsed() < Duration::from_millis(500) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    done => return done,
                }
            }
        })
    }
}

/// An owner over an ext4 storage that is read-only until it is needed.
#[derive(Debug)]
pub(crate) struct House {
    storage: Mounted,
    pub(crate) msd: Msd,
    state: watch::Receiver<State>,
    _owner: JoinHandle<()>,
    stop: CancellationToken,
}

impl House {
    /// One that nobody closes.
    pub(crate) async fn on_open_ext4(drives: impl Into<Drives>) -> Self {
        let storage = lab::ext4_on_loop(64 << 20).unwrap();
        Self::of(storage, drives, msd::Plain).await
    }

    pub(crate) async fn on_ext4(drives: impl Into<Drives>) -> Self {
        let storage = lab::ext4_on_loop(64 << 20).unwrap();
        // Links on the card lead nowhere there; the way an image goes to the kernel must not need one.
        let safe = "remount,ro,nosuid,nodev,noexec,nosymfollow";
        assert!(Command::new("mount").args(["-o", safe]).arg(storage.path()).status().unwrap().success());
        let root = storage.path().canonicalize().unwrap();
        Self::of(storage, drives, Ext4(root)).await
    }

    async fn of(storage: Mounted, drives: impl Into<Drives>, remount: impl Remount + 'static) -> Self {
        let root = storage.path().canonicalize().unwrap();
        let settings = Settings { root, ..Settings::default() };
        let stop = CancellationToken::new();
        let (msd, owner) = msd::spawn(settings, drives, remount, stop.clone());
        let mut house = Self { storage, state: msd.subscribe(), msd, _owner: owner, stop };
        house.until(|state| state.online).await;
        house
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.storage.path().canonicalize().unwrap()
    }

    pub(crate) async fn until(&mut self, wanted: impl FnMut(&State) -> bool) -> State {
        tokio::time::timeout(SOON, self.state.wait_for(wanted)).await.unwrap().unwrap().clone()
    }

    pub(crate) fn now(&self) -> State {
        self.state.borrow().clone()
    }

    pub(crate) async fn upload(&self, name: &str, data: &[u8]) {
        let mut write = self.msd.begin_write(name, data.len() as u64, false).await.unwrap();
        for piece in data.chunks(65_536) {
            write.chunk(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        write.finish(None).await.unwrap();
    }

    pub(crate) async fn read(&self, name: &str) -> Vec<u8> {
        let mut read = self.msd.begin_read(name, Compression::None).await.unwrap();
        let mut data = Vec::new();
        while let Some(piece) = read.chunk().await.unwrap() {
            data.extend_from_slice(&piece);
        }
        data
    }

    pub(crate) async fn connect(&self, image: &str, cdrom: bool, rw: bool) -> Result<(), Error> {
        self.msd.set_params(Some(Some(image.to_owned())), Some(cdrom), Some(rw)).await?;
        self.msd.set_connected(true).await
    }

    pub(crate) fn is_writable(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let root = self.root();
        let line = mounts.lines().rfind(|line| line.split(' ').nth(1) == root.to_str()).unwrap();
        line.split(' ').nth(3).unwrap().split(',').any(|option| option == "rw")
    }

    /// What the file would be after a power cut now: from a copy of the device, its journal replayed.
    pub(crate) fn on_the_disk(&self, name: &str) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let (copy, mount) = (dir.path().join("copy"), dir.path().join("mount"));
        fs::copy(self.storage.image(), &copy).unwrap();
        fs::create_dir(&mount).unwrap();
        let done = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
        done(Command::new("mount").args(["-o", "loop"]).arg(&copy).arg(&mount));
        let data = fs::read(mount.join(name)).unwrap();
        done(Command::new("umount").arg(&mount));
        data
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
