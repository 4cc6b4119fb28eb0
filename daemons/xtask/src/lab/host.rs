//! The outer half: starts the kernel, lets the command's output through, and ends as the command ended.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::statvfs::statvfs;
use nix::unistd::{getgid, getuid, pipe2};

use super::options::Options;
use super::spec::{Root, Spec, Word, tty};
use crate::workspace;

/// The exit code that means the laboratory, not the command.
pub(crate) const FAILED: u8 = 125;
/// Longer than booting takes on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
/// Lines of the kernel that are shown when something went wrong.
const LAST_LINES: usize = 40;

/// How it came out.
enum End {
    /// The command's own exit code.
    Command(u8),
    /// The system of the image ended, as `--init` systems do.
    Off,
    /// We were asked to stop.
    Stopped(Signal),
    /// The laboratory's fault.
    Broken(String),
}

/// Runs the command, and gives its exit code.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(why) = std::env::var_os("KVMD_LAB_WITHOUT") {
        writeln!(std::io::stderr(), "without the laboratory: {}", why.display())?;
        return Err(Command::new(&options.command[0]).args(&options.command[1..]).exec().into());
    }
    ensure!(std::env::var_os("KVMD_LAB").is_none(), "this is the laboratory already");
    let mut lab = Lab::start(options)?;
    let end = lab.watch()?;
    lab.end()?;
    let mut say = std::io::stderr().lock();
    match end {
        End::Command(code) => Ok(ExitCode::from(code)),
        End::Off => Ok(ExitCode::SUCCESS),
        End::Stopped(signal) => {
            if signal == Signal::SIGTERM {
                // A time limit, most likely: what the kernel said last may tell why.
                lab.show_log(&mut say)?;
            }
            Ok(ExitCode::from(128 + u8::try_from(signal as i32)?))
        }
        End::Broken(why) => {
            lab.show_log(&mut say)?;
            writeln!(say, "error: the laboratory: {why}")?;
            Ok(ExitCode::from(FAILED))
        }
    }
}

/// A kernel that runs.
struct Lab {
    keeper: Child,
    signals: SignalFd,
    streams: Vec<Stream>,
    log: VecDeque<String>,
    began: Instant,
    timeout: Option<Duration>,
    ready: bool,
    verbose: bool,
}

/// Something that the kernel writes to.
struct Stream {
    kind: Kind,
    pipe: File,
    /// The begin of a line.
    partial: Vec<u8>,
    open: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Out,
    Err,
    Status,
    Log,
}

impl Lab {
    fn start(options: &Options) -> Result<Self> {
        let kernel = match &options.kernel {
            Some(kernel) => kernel.clone(),
            None => kernel()?,
        };
        let dir = tempfile::Builder::new().prefix("kvmd-lab-").tempdir_in("/tmp")?;
        let terminal = options.init || std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let spec = dir.path().join("spec");
        wanted(options, terminal)?.write(&spec)?;
        let init = dir.path().join("init");
        std::os::unix::fs::symlink(std::env::current_exe()?, &init)?;

        let mut command = Command::new(std::env::current_exe()?);
        command.args(["lab-keep".as_ref(), dir.path().as_os_str(), kernel.as_os_str()]);
        command.env("TMPDIR", place_for_memory(&options.memory)?);
        command.args(
            [format!("mem={}", options.memory), "root=/dev/root rootfstype=hostfs rootflags=/ ro".to_owned()]
                .iter()
                .flat_map(|words| words.split(' ')),
        );
        command.args([format!("init={}", init.display()), format!("uml_dir={}", dir.path().display())]);
        command.args(DEVICES.split_whitespace());
        command.args(options.append.split_whitespace());
        if let Some(file) = options.root.as_ref().filter(|root| root.is_file()) {
            // The host's file is never written: `r`.
            command.arg(format!("ubd0r={}", file.canonicalize()?.display()));
        }
        command.arg("con=null");
        let mut streams = Vec::new();
        let mut theirs = Vec::new();
        let consoles = [
            (Kind::Out, tty::OUT),
            (Kind::Err, tty::ERR),
            (Kind::Status, tty::STATUS),
            (Kind::Log, tty::LOG),
        ];
        for (kind, console) in consoles {
            let (ours, end) = pipe2(OFlag::O_CLOEXEC)?;
            fcntl(&end, FcntlArg::F_SETFD(FdFlag::empty()))?;
            if !(options.init && kind == Kind::Log) {
                command.arg(format!("con{console}=null,fd:{}", end.as_raw_fd()));
            }
            if kind == Kind::Log {
                command.stdout(end.try_clone()?).stderr(end.try_clone()?);
            }
            theirs.push(end);
            streams.push(Stream::new(kind, ours));
        }
        if terminal {
            let input = std::io::stdin().as_fd().try_clone_to_owned()?;
            let output = std::io::stdout().as_fd().try_clone_to_owned()?;
            let console = if options.init { tty::LOG } else { tty::TERMINAL };
            command.arg(format!("con{console}=fd:{},fd:{}", input.as_raw_fd(), output.as_raw_fd()));
            for end in [input, output] {
                fcntl(&end, FcntlArg::F_SETFD(FdFlag::empty()))?;
                theirs.push(end);
            }
        } else {
            // Ctrl-C is for us: the kernel ends when we let go of it.
            command.process_group(0);
        }
        command.args(["--".as_ref(), "lab-init".as_ref(), spec.as_os_str()]);
        command.stdin(Stdio::piped());

        let mut mask = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
            mask.add(signal);
        }
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        own_namespace()?;
        let keeper = command.spawn().context("the keeper does not start")?;
        // The keeper outlives us, however we end.
        let _ = dir.keep();
        // With these the last ends of the pipes are the kernel's.
        drop((command, theirs));
        Ok(Self {
            keeper,
            signals,
            streams,
            log: VecDeque::new(),
            began: Instant::now(),
            timeout: options.timeout,
            ready: false,
            verbose: options.verbose,
        })
    }

    /// Until the command has ended, or the kernel.
    fn watch(&mut self) -> Result<End> {
        loop {
            let limit = if self.ready {
                self.timeout
            } else {
                Some(self.timeout.map_or(BOOT, |timeout| timeout.min(BOOT)))
            };
            let left = limit.map(|limit| limit.saturating_sub(self.began.elapsed()));
            if left == Some(Duration::ZERO) {
                let what = if self.ready { "the command did not end" } else { "the kernel did not boot" };
                return Ok(End::Broken(format!("{what} within {} s", limit.unwrap_or_default().as_secs())));
            }
            if let Some(end) = self.step(left)? {
                return Ok(end);
            }
            if let Some(signal) = self.signals.read_signal()? {
                return Ok(End::Stopped(Signal::try_from(i32::try_from(signal.ssi_signo)?)?));
            }
            if self.streams.iter().all(|stream| !stream.open) {
                let status = self.keeper.wait()?;
                return Ok(match (self.ready, status.success()) {
                    (true, true) => End::Off,
                    (true, false) => End::Broken(format!("the kernel died ({status})")),
                    (false, _) => End::Broken(format!("the kernel does not boot ({status})")),
                });
            }
        }
    }

    /// Waits for one event and deals with it.
    fn step(&mut self, left: Option<Duration>) -> Result<Option<End>> {
        let open: Vec<_> = (0..self.streams.len()).filter(|index| self.streams[*index].open).collect();
        let mut fds: Vec<_> = open
            .iter()
            .map(|index| PollFd::new(self.streams[*index].pipe.as_fd(), PollFlags::POLLIN))
            .collect();
        fds.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let woken: Vec<_> = open
            .iter()
            .zip(&fds)
            .filter(|(_, fd)| fd.revents().is_some_and(|events| !events.is_empty()))
            .map(|(index, _)| *index)
            .collect();
        let mut end = None;
        for index in woken {
            end = self.take(index)?.or(end);
        }
        Ok(end)
    }

    /// Takes what one pipe has.
    fn take(&mut self, index: usize) -> Result<Option<End>> {
        let mut buffer = [0; 64 * 1024];
        let stream = &mut self.streams[index];
        let count = stream.pipe.read(&mut buffer)?;
        let bytes = &buffer[..count];
        stream.open = count > 0;
        match stream.kind {
            Kind::Out => pass(std::io::stdout().lock(), bytes)?,
            Kind::Err => pass(std::io::stderr().lock(), bytes)?,
            Kind::Log => {
                for line in stream.lines(bytes) {
                    if self.verbose {
                        writeln!(std::io::stderr(), "{line}")?;
                    }
                    self.log.push_back(line);
                    if self.log.len() > LAST_LINES {
                        self.log.pop_front();
                    }
                }
            }
            Kind::Status => {
                for line in stream.lines(bytes) {
                    match Word::parse(&line) {
                        Some(Word::Ready) => {
                            self.ready = true;
                            if self.verbose {
                                writeln!(
                                    std::io::stderr(),
                                    "ready after {} ms",
                                    self.began.elapsed().as_millis()
                                )?;
                            }
                        }
                        Some(Word::Ended(code)) => return Ok(Some(End::Command(code))),
                        Some(Word::Failed(why)) => return Ok(Some(End::Broken(why))),
                        None => {}
                    }
                }
            }
        }
        Ok(None)
    }

    /// Ends everything, and hands out what is still in the pipes.
    fn end(&mut self) -> Result<()> {
        // The leash. The keeper then kills the kernel; if it is the first of a namespace, its own end does the rest.
        drop(self.keeper.stdin.take());
        self.keeper.wait()?;
        for index in 0..self.streams.len() {
            while self.streams[index].open {
                self.take(index)?;
            }
        }
        Ok(())
    }

    fn show_log(&self, out: &mut impl Write) -> Result<()> {
        if !self.verbose {
            for line in &self.log {
                writeln!(out, "kernel: {line}")?;
            }
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

impl Stream {
    fn new(kind: Kind, pipe: OwnedFd) -> Self {
        Self { kind, pipe: pipe.into(), partial: Vec::new(), open: true }
    }

    /// The lines that are complete now; at the end, also the last.
    fn lines(&mut self, bytes: &[u8]) -> Vec<String> {
        self.partial.extend_from_slice(bytes);
        let complete = match self.partial.iter().rposition(|byte| *byte == b'\n') {
            _ if bytes.is_empty() => self.partial.len(),
            Some(position) => position + 1,
            None => 0,
        };
        let complete: Vec<u8> = self.partial.drain(..complete).collect();
        String::from_utf8_lossy(&complete).lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

/// What there is beside the processor: a capture card with an HDMI and a webcam input, a codec, a USB controller with both of its ends.
/// An oops ends the laboratory.
const DEVICES: &str = "
    console=tty0 oops=panic panic=0
    vivid.n_devs=1 vivid.node_types=0x1 vivid.num_inputs=2 vivid.input_types=0x3
";

fn wanted(options: &Options, terminal: bool) -> Result<Spec> {
    let directory = std::env::current_dir()?;
    let write = options
        .write
        .iter()
        .map(|dir| dir.canonicalize().with_context(|| format!("--write {}", dir.display())));
    let root = match &options.root {
        None => Root::Directory("/".into()),
        Some(root) if root.is_file() => Root::Disk,
        Some(root) => {
            Root::Directory(root.canonicalize().with_context(|| format!("--root {}", root.display()))?)
        }
    };
    Ok(Spec {
        command: options.command.clone(),
        environment: std::env::vars_os().collect(),
        // An image does not have our directories.
        directory: if options.root.is_some() { "/".into() } else { directory },
        root,
        write: write.collect::<Result<_>>()?,
        terminal,
    })
}

/// The kernel's path, building it if need be.
fn kernel() -> Result<PathBuf> {
    let script = workspace::root().join("scripts/lab-kernel");
    let output = Command::new(&script)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| script.display().to_string())?;
    ensure!(output.status.success(), "there is no kernel");
    let path = String::from_utf8(output.stdout)?;
    ensure!(!path.trim().is_empty(), "{} printed no path", script.display());
    Ok(path.trim().into())
}

/// A directory where the laboratory's memory fits: a file, of which only what is used takes room.
fn place_for_memory(memory: &str) -> Result<PathBuf> {
    let wanted = memory.trim_end_matches('M').parse::<u64>().unwrap_or(1024) << 20;
    let places = [
        Some(OsString::from("/dev/shm")),
        std::env::var_os("TMPDIR"),
        Some("/tmp".into()),
        Some("/var/tmp".into()),
    ];
    let fits = |place: &Path| {
        let Ok(room) = statvfs(place) else { return false };
        room.blocks_available() * room.fragment_size() >= wanted
    };
    let found = places.into_iter().flatten().map(PathBuf::from).find(|place| fits(place));
    found.with_context(|| format!("neither /dev/shm nor TMPDIR has {memory} of room"))
}

/// Makes the next child the first process of a namespace, if this user may: with it, everything it started ends.
fn own_namespace() -> Result<()> {
    if unshare(CloneFlags::CLONE_NEWPID).is_ok() {
        return Ok(());
    }
    let (user, group) = (getuid(), getgid());
    if unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID).is_ok() {
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    }
    Ok(())
}

/// Lets bytes through. A reader that went away is the end.
fn pass(mut into: impl Write, bytes: &[u8]) -> Result<()> {
    if let Err(error) = into.write_all(bytes).and_then(|()| into.flush()) {
        bail!("the output cannot be written: {error}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_pieces() {
        let mut stream = Stream::new(Kind::Log, pipe2(OFlag::O_CLOEXEC).unwrap().0);
        assert!(stream.lines(b"a").is_empty());
        assert_eq!(stream.lines(b"b\r\nc\nd"), ["ab", "c"]);
        assert_eq!(stream.lines(b""), ["d"]);
    }

    #[test]
    fn memory_has_to_fit_somewhere() {
        assert!(place_for_memory("1M").is_ok());
        assert!(place_for_memory("99999999999M").is_err());
    }
}
