//! A supervisor started in a directory of its own, and what tests ask of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client::supervisor::{Answer, Request, ServiceState, ServiceStatus, Status};

/// For hangs, not for speed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub(crate) fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// Waits until `condition` gives something.
#[expect(clippy::disallowed_methods, reason = "the condition lives in another process")]
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) struct Started {
    dir: tempfile::TempDir,
    process: Child,
    url: String,
    init: bool,
}

impl Started {
    /// Ready, with children of that role.
    pub(crate) fn new(role: &str) -> Self {
        Self::with_settings(role, "")
    }

    pub(crate) fn with_settings(role: &str, settings: &str) -> Self {
        let mut started = Self::unready(role, settings);
        started.read_url();
        started
    }

    /// Started; it will not get ready, but it answers.
    pub(crate) fn without_url(role: &str) -> Self {
        let started = Self::unready(role, "supervisor: {crash_loop: {first_delay: 0.01}}\n");
        started.wait_for_control();
        started
    }

    pub(crate) fn wait_for_control(&self) {
        let socket = self.state_dir().join("run/supervisor.sock");
        wait_for("the control socket", || UnixStream::connect(&socket).ok());
    }

    /// What it printed, when it has ended.
    pub(crate) fn rest_of_output(&mut self) -> String {
        let mut text = String::new();
        self.process.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Started, with files of the test's own, which is told the directory that holds `state` and `bin`.
    pub(crate) fn prepared_with(role: &str, settings: &str, files: impl FnOnce(&Path)) -> Self {
        let dir = prepared(role, settings);
        files(dir.path());
        Self::start(dir, "0", false)
    }

    pub(crate) fn unready(role: &str, settings: &str) -> Self {
        Self::start(prepared(role, settings), "0", false)
    }

    pub(crate) fn at_port(role: &str, port: &str) -> Self {
        Self::start(prepared(role, ""), port, false)
    }

    /// With files of the test's own, which is told the directory that holds `state`.
    pub(crate) fn with_files(role: &str, files: impl FnOnce(&Path)) -> Self {
        let mut started = Self::prepared_with(role, "", files);
        started.read_url();
        started
    }

    pub(crate) fn as_init(role: &str) -> Self {
        let mut started = Self::start(prepared(role, ""), "0", true);
        started.read_url();
        started
    }

    /// Another one in the same directory.
    pub(crate) fn again(self) -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let old = std::mem::replace(&mut { self }.dir, dir);
        let mut started = Self::start(old, "0", false);
        started.read_url();
        started
    }

    /// As systemd starts a `Type=notify` unit with a watchdog.
    pub(crate) fn as_unit(role: &str, notify: &Path) -> Self {
        let environment = [("NOTIFY_SOCKET", notify.to_str().unwrap()), ("WATCHDOG_USEC", "300000")];
        let mut started = Self::start_with(prepared(role, ""), "0", false, &environment);
        started.read_url();
        started
    }

    fn start(dir: tempfile::TempDir, port: &str, init: bool) -> Self {
        Self::start_with(dir, port, init, &[("WATCHDOG_PID", "1")])
    }

    fn start_with(dir: tempfile::TempDir, port: &str, init: bool, environment: &[(&str, &str)]) -> Self {
        let program = env!("CARGO_BIN_EXE_kvmd-supervisor");
        let mut command = if init {
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--mount-proc", "--kill-child", program]);
            command
        } else {
            Command::new(program)
        };
        let check_limit = fs::read_to_string(dir.path().join("check-limit")).unwrap_or_else(|_| "600".into());
        let log = File::options().append(true).create(true).open(dir.path().join("log")).unwrap();
        let process = command
            .args(["--https-port", port, "--http-port", "0", "--listen", "127.0.0.1", "--print-url"])
            .arg("--state")
            .arg(dir.path().join("state"))
            .arg("--programs")
            .arg(dir.path().join("bin"))
            .arg("--config")
            .arg(dir.path().join("settings.yaml"))
            .args(["--check-limit", &check_limit])
            .env("PATH", format!("{}:{}", dir.path().join("path").display(), std::env::var("PATH").unwrap()))
            .env("KVMD_LOG_STDERR", "1")
            .env("KVMD_LOG", "debug")
            .env("SECRET_OF_THE_SUPERVISOR", "x")
            .envs(environment.iter().copied())
            .env("LISTEN_FDS", "3")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { dir, process, url: String::new(), init }
    }

    pub(crate) fn read_url(&mut self) {
        let mut line = String::new();
        BufReader::new(self.process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("https://"), "no URL but {line:?}; the log:\n{}", self.log());
        line.trim_end().clone_into(&mut self.url);
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `host:port` of the HTTPS listener.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("https://").trim_end_matches('/')
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn ask(&self, request: &Request) -> Answer {
        let mut stream = UnixStream::connect(self.state_dir().join("run/supervisor.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut line = serde_json::to_string(request).unwrap();
        line.push('\n');
        stream.write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    pub(crate) fn status(&self) -> Status {
        match self.ask(&Request::Status) {
            Answer::Status { status } => status,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn service(&self, name: &str) -> ServiceStatus {
        self.status().services.into_iter().find(|service| service.name == name).unwrap()
    }

    pub(crate) fn state(&self, name: &str) -> ServiceState {
        self.service(name).state
    }

    pub(crate) fn pid(&self, name: &str) -> Option<i32> {
        self.service(name).pid.map(|pid| pid.try_into().unwrap())
    }

    /// Every process below the supervisor, as this test sees them.
    pub(crate) fn descendants(&self) -> Vec<i32> {
        let mut found = Vec::new();
        let mut look = vec![self.process.id().try_into().unwrap()];
        while let Some(parent) = look.pop() {
            let below: Vec<i32> = stats().filter(|stat| stat.parent == parent).map(|stat| stat.pid).collect();
            found.extend_from_slice(&below);
            look.extend(below);
        }
        found
    }

    pub(crate) fn zombies(&self) -> Vec<i32> {
        let below = self.descendants();
        stats().filter(|stat| stat.state == 'Z' && below.contains(&stat.pid)).map(|stat| stat.pid).collect()
    }

    /// Descriptors of a child above those passed to it that the supervisor has as well.
    pub(crate) fn strays(&self, pid: i32) -> Vec<String> {
        let open = |pid: i32| {
            let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
            let links = entries.map(|entry| (entry.file_name(), fs::read_link(entry.path())));
            links
                .filter_map(|(name, link)| Some((name.to_str()?.parse::<usize>().ok()?, link.ok()?)))
                .collect::<Vec<_>>()
        };
        let environ = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        let count = environ.split('\0').find_map(|line| line.strip_prefix("LISTEN_FDS=")).unwrap();
        let passed: usize = count.parse().unwrap();
        let ours = open(self.process.id().try_into().unwrap());
        open(pid)
            .into_iter()
            .filter(|(number, link)| {
                let one_of_ours = ours.iter().any(|(number, have)| *number > 2 && have == link);
                *number >= 3 + passed
                    && link.to_string_lossy().contains(':')
                    && one_of_ours
                    && !link.to_string_lossy().starts_with("anon_inode")
            })
            .map(|(number, link)| format!("{number}: {}", link.display()))
            .collect()
    }

    /// SIGTERM; the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let pid = nix::unistd::Pid::from_raw(self.process.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.wait()
    }

    pub(crate) fn wait(&mut self) -> Option<i32> {
        wait_for("the supervisor's end", || self.process.try_wait().unwrap()).code()
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            if !self.init {
                let pid = nix::unistd::Pid::from_raw(self.process.id().try_into().unwrap_or(0));
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
                let deadline = Instant::now() + Duration::from_secs(20);
                while Instant::now() < deadline && self.process.try_wait().is_ok_and(|ended| ended.is_none())
                {
                    std::thread::yield_now();
                }
            }
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        if std::thread::panicking() {
            println!("the supervisor's log:\n{}", self.log());
        }
    }
}

struct Stat {
    pid: i32,
    parent: i32,
    state: char,
}

fn stats() -> impl Iterator<Item = Stat> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut fields = stat.rsplit(") ").next()?.split(' ');
        let state = fields.next()?.chars().next()?;
        Some(Stat { pid, parent: fields.next()?.parse().ok()?, state })
    })
}

/// A directory with settings and the scripts that stand for our programs.
fn prepared(role: &str, settings: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    // Its users must be able to come in, as with any --state of a run as root.
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    open(dir.path());
    let journald = "supervisor: {journald: {start: false}}\n";
    let settings = if settings.contains("journald:") {
        settings.to_owned()
    } else if settings.starts_with("supervisor: {") {
        settings.replacen("supervisor: {", "supervisor: {journald: {start: false}, ", 1)
    } else {
        format!("{journald}{settings}")
    };
    let vm = if settings.contains("vm:") { "" } else { "vm: {enabled: false}\n" };
    let bin = dir.path().join("bin");
    let settings = settings.replace("BIN", bin.to_str().unwrap());
    fs::write(dir.path().join("settings.yaml"), settings + vm).unwrap();
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("qemu"), "#!/bin/sh\nexec sleep 1000\n").unwrap();
    open(&bin.join("qemu"));
    if role != "missing" {
        let test = std::env::current_exe().unwrap();
        let ears = if role == "deaf" { "trap '' TERM\n" } else { "" };
        for name in ["kvmd", "kvmd-streamer"] {
            let script = format!(
                "#!/bin/sh\n{ears}export PRETEND={role} PRETEND_NAME={name}\n\
                 exec {} --exact pretend_to_be_a_daemon --nocapture --test-threads=1\n",
                test.display()
            );
            fs::write(bin.join(name), script).unwrap();
            open(&bin.join(name));
        }
    }
    dir
}
