//! A whole appliance in a temporary directory: real daemons, fakes for the devices, loopback ports.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let appliance = testkit::Appliance::start("kvmd: {streamer: {shutdown_delay: 1}}")?;
//! let info = appliance.get("/info?fields=auth")?;
//! assert_eq!(info.status, 200);
//! # Ok(()) }
//! ```
//!
//! It talks to the unix socket as root or as the user who runs the tests: plain HTTP/1.1 without a client library, so that a test
//! sees exactly the bytes. What needs TLS, browsers or third-party clients is tested from outside (`tests/`).

mod http;
pub mod lab;
mod process;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

pub use http::Answer;
pub use process::{Process, descendants};

/// Longer than anything takes on a busy machine: reaching it means that something hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The settings all appliances of the kit begin with: no target, a small moving picture.
const FAKES: &str = "
kvmd:
  hid: {type: noop}
  atx: {type: fake}
  msd: {type: fake}
  streamer: {source: {type: pattern, width: 320, height: 240, fps: 10}}
vm: {enabled: false}
supervisor: {journald: {start: false}}
";

/// A running appliance. Dropping it stops it.
#[derive(Debug)]
pub struct Appliance {
    dir: tempfile::TempDir,
    supervisor: Child,
    /// `https://127.0.0.1:PORT`, or `http` where the settings have no HTTPS.
    pub url: String,
}

impl Appliance {
    /// Starts an appliance with `settings` (YAML) over the kit's own, and waits until it serves.
    ///
    /// # Errors
    /// The daemons cannot be built or started, or do not become ready within [`PATIENCE`].
    pub fn start(settings: &str) -> anyhow::Result<Self> {
        Self::start_prepared(settings, |_| Ok(()))
    }

    /// As [`Appliance::start`], with files of the test's own below the `--state` directory it is told.
    ///
    /// # Errors
    /// As [`Appliance::start`], and those of `prepare`.
    pub fn start_prepared(
        settings: &str,
        prepare: impl FnOnce(&Path) -> std::io::Result<()>,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("kvm-testkit-").tempdir()?;
        // Started by root, the daemons run as users of their own.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let mut command = Command::new(binaries()?.join("kvmd-supervisor"));
        command.arg("--state").arg(dir.path().join("state")).args([
            "--https-port",
            "0",
            "--http-port",
            "0",
            "--print-url",
        ]);
        std::fs::create_dir(dir.path().join("state"))?;
        prepare(&dir.path().join("state"))?;
        for (name, text) in [("fakes.yaml", FAKES), ("settings.yaml", settings)] {
            std::fs::write(dir.path().join(name), text)?;
            command.arg("--config").arg(dir.path().join(name));
        }
        let log = std::fs::File::create(dir.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut supervisor = command.spawn().context("kvmd-supervisor does not start")?;
        let url = url_of(&mut supervisor);
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        let mut appliance = Self { dir, supervisor, url: String::new() };
        appliance.url = url.with_context(|| format!("the appliance said:\n{log}"))?;
        Ok(appliance)
    }

    /// The `--state` directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// What the daemons logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The supervisor's process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.supervisor.id()
    }

    /// A running process of the appliance by command name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<Process> {
        let short: String = name.chars().take(15).collect();
        descendants(self.pid()).into_iter().find(|process| process.name == short && process.state != 'Z')
    }

    /// `GET` on the unix socket, with the factory password.
    ///
    /// # Errors
    /// The socket cannot be reached, or the answer is not HTTP.
    pub fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.request("GET", path, &[("X-KVMD-User", "admin"), ("X-KVMD-Passwd", "admin")], b"")
    }

    /// `POST` on the unix socket, with the factory password.
    ///
    /// # Errors
    /// The socket cannot be reached, or the answer is not HTTP.
    pub fn post(&self, path: &str, body: &[u8]) -> anyhow::Result<Answer> {
        self.request("POST", path, &[("X-KVMD-User", "admin"), ("X-KVMD-Passwd", "admin")], body)
    }

    /// Any request on the unix socket, with exactly these headers (and `Host`, `Content-Length`, `Connection`).
    ///
    /// # Errors
    /// The socket cannot be reached, or the answer is not HTTP.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        http::request(&self.state().join("run/kvmd.sock"), method, path, headers, body)
    }

    /// Asks it to stop as a terminal does, and waits.
    ///
    /// # Errors
    /// It does not stop within [`PATIENCE`], or ends with a failure, or leaves a process behind.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let tree = descendants(self.pid());
        process::interrupt(self.pid())?;
        let status = wait_for("the supervisor to end", || self.supervisor.try_wait().ok().flatten())?;
        ensure!(status.success(), "the supervisor ended with {status}");
        let left: Vec<_> = tree.into_iter().filter(Process::is_alive).collect();
        ensure!(left.is_empty(), "these are left: {left:?}");
        Ok(())
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if matches!(self.supervisor.try_wait(), Ok(None)) {
            let _ = process::interrupt(self.pid());
            if wait_for("the supervisor to end", || self.supervisor.try_wait().ok().flatten()).is_err() {
                let _ = self.supervisor.kill();
                let _ = self.supervisor.wait();
            }
        }
    }
}

/// Waits until `condition` gives something.
///
/// # Errors
/// It gave nothing for [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited {} s for {what}", PATIENCE.as_secs());
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a condition of another process, which cannot wake us"
        )]
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Says why a test does nothing here. Where everything has to run (`KVMD_TEST_REQUIRE` is set, as `scripts/test` does when root
/// started it), that is a failure.
///
/// # Panics
/// Then.
#[expect(clippy::print_stdout, reason = "this is a test's own way to fail and to speak")]
pub fn skip(why: &str) {
    assert!(std::env::var_os("KVMD_TEST_REQUIRE").is_none(), "cannot run here: {why}");
    println!("skipped: {why}");
}

/// The line with the URL; the rest of the output is read away, so that the supervisor never waits for us.
fn url_of(supervisor: &mut Child) -> anyhow::Result<String> {
    let mut lines = BufReader::new(supervisor.stdout.take().context("no output")?).lines();
    let url = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("http"));
    std::thread::spawn(move || lines.for_each(drop));
    url.map(|url| url.trim_end_matches('/').to_owned())
        .context("kvmd-supervisor ended without printing a URL")
}

/// The directory of the daemons' programs, built once per test process.
fn binaries() -> anyhow::Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn build() -> anyhow::Result<PathBuf> {
    // The laboratory takes those built last: what it builds is forgotten at its end.
    if !lab::here() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--quiet", "-p", "supervisor", "-p", "api", "-p", "streamer", "-p", "ctl"])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
            .status()?;
        ensure!(status.success(), "the daemons do not build");
    }
    // This program lies in <target>/debug/deps, the daemons two steps above it.
    let exe = std::env::current_exe()?;
    Ok(exe.ancestors().nth(2).context("not run by cargo")?.to_owned())
}
