//! The target machine when it is a QEMU: its command from the settings, and our own hand on its keyboard.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use config::Config;
use tokio_util::sync::CancellationToken;
use vm::{DiskFormat, Machine, Qmp};

use crate::account::Accounts;
use crate::{file, kvm};

/// Longest time for making the target let go: every key there is, in small batches, a quarter of a second with
/// a target that answers. The next kvmd waits for it, and has to be back within 2 s of the end of the last one.
const LET_GO: Duration = Duration::from_millis(800);

/// How often a target that does not answer yet is asked.
const ASK: Duration = Duration::from_millis(50);
/// Longest pause between attempts to reach the monitor: a target is back sooner than after the usual ones.
const RETRY: Duration = Duration::from_millis(200);

/// What the machine's description takes from the settings.
fn machine(config: &Config, qemu: PathBuf, accel: vm::Accel, disk: Option<(PathBuf, DiskFormat)>) -> Machine {
    let settings = &config.vm;
    let (disk, disk_format) = disk.unzip();
    let mut extra: Vec<OsString> = vec!["-smp".into(), settings.cpus.to_string().into()];
    if let Some(size) = &settings.display.resolution {
        for (name, value) in [("xres", size.width), ("yres", size.height)] {
            extra.extend(["-global".into(), format!("VGA.{name}={value}").into()]);
        }
    }
    extra.extend(settings.extra_args.iter().map(OsString::from));
    Machine {
        qemu,
        accel,
        memory_mb: settings.memory,
        disk,
        disk_format: disk_format.unwrap_or_default(),
        run_dir: settings.sockets.clone(),
        extra,
        ..Machine::default()
    }
}

/// The whole command line. What has to be made for it is made in `run`, where only root writes.
///
/// # Errors
///
/// When QEMU is not installed, or the disk cannot be prepared.
pub async fn command(config: &Config, run: &Path, accounts: &Accounts) -> anyhow::Result<Vec<OsString>> {
    let qemu = file::program(&config.vm.qemu)
        .with_context(|| format!("{}: not installed, and vm.enabled wants it", config.vm.qemu))?;
    let accel = match config.vm.accel {
        config::Accel::Kvm => vm::Accel::Kvm,
        config::Accel::Tcg => vm::Accel::Tcg,
        config::Accel::Auto => match kvm::prove(&qemu, run, accounts, config.vm.kvm_probe_timeout).await {
            Ok(()) => vm::Accel::Kvm,
            Err(why) => {
                log::info!("the target runs in software: {why}");
                vm::Accel::Tcg
            }
        },
    };
    let disk = config.vm.disk.as_deref().map(|disk| prepare_disk(config, disk, run, accounts)).transpose()?;
    let machine = machine(config, qemu, accel, disk);
    let mut command = vec![machine.qemu.clone().into_os_string()];
    command.extend(vm::command(&machine));
    Ok(command)
}

/// The disk as the target may use it: a layer over it that is forgotten, or the disk itself.
fn prepare_disk(
    config: &Config,
    disk: &Path,
    run: &Path,
    accounts: &Accounts,
) -> anyhow::Result<(PathBuf, DiskFormat)> {
    let format = DiskFormat::from_name(&config.vm.disk_format)
        .with_context(|| format!("vm.disk_format: {:?} is neither raw nor qcow2", config.vm.disk_format))?;
    let disk = std::path::absolute(disk).with_context(|| disk.display().to_string())?;
    if !disk.exists() {
        bail!("vm.disk: {} does not exist", disk.display());
    }
    if !config.vm.snapshot {
        return Ok((disk, format));
    }
    // Not in the target's own directory: root writes nothing where others may put a link.
    let layer = run.join("disk0.qcow2");
    let Some(qemu_img) = file::program("qemu-img") else {
        log::warn!("qemu-img is not installed: what the target writes to {} stays there", disk.display());
        accounts.give(&disk, accounts.vm.uid, accounts.vm.gid).with_context(|| disk.display().to_string())?;
        return Ok((disk, format));
    };
    let _ = std::fs::remove_file(&layer);
    let made = Command::new(qemu_img)
        .args(["create", "-q", "-f", "qcow2", "-F", format.name(), "-b"])
        .arg(&disk)
        .arg(&layer)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("qemu-img")?;
    if !made.success() {
        bail!("qemu-img could not make a layer over {}: {made}", disk.display());
    }
    accounts.give(&layer, accounts.vm.uid, accounts.vm.gid).with_context(|| layer.display().to_string())?;
    file::set_mode(&layer, 0o660).with_context(|| layer.display().to_string())?;
    Ok((layer, DiskFormat::Qcow2))
}

/// The supervisor's own connection to the target's monitor.
#[derive(Debug, Clone)]
pub struct Hands {
    qmp: Qmp,
}

impl Hands {
    /// Connects, now and whenever the target is there again.
    #[must_use]
    pub fn connect(config: &Config, stop: &CancellationToken) -> Self {
        let machine = Machine { run_dir: config.vm.sockets.clone(), ..Machine::default() };
        let settings = vm::qmp::Settings { retry_max: RETRY, ..vm::qmp::Settings::default() };
        Self { qmp: Qmp::connect_with(machine.socket("supervisor"), settings, stop.child_token()) }
    }

    /// Waits until the target's monitor answers. Asked anew, not seen in the state: that may still be the
    /// predecessor's.
    pub async fn answers(&self) {
        while self.qmp.execute::<serde_json::Value>("query-status", serde_json::Value::Null).await.is_err() {
            tokio::time::sleep(ASK).await;
        }
    }

    /// Releases every key and button. Ends within [`LET_GO`]: a target that does not answer until then keeps
    /// nobody waiting, and releases that came later would tear keys out of the hands of the next `kvmd`.
    pub async fn let_go(&self) {
        let mut last = None;
        let trying = async {
            while let Err(error) = vm::input::release_all(&self.qmp).await {
                last = Some(error);
                tokio::time::sleep(ASK).await;
            }
        };
        match tokio::time::timeout(LET_GO, trying).await {
            Ok(()) => log::info!("every key and button of the target is released"),
            Err(_) => {
                let why = last.map_or_else(|| "no answer in time".to_owned(), |error| error.to_string());
                log::warn!("keys of the target cannot be released: {why}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hands(dir: &Path) -> (Hands, PathBuf) {
        let mut config = Config::defaults(&config::Layout::under_with_share(dir, None));
        config.vm.sockets = dir.to_owned();
        let socket = Machine { run_dir: dir.to_owned(), ..Machine::default() }.socket("supervisor");
        (Hands::connect(&config, &CancellationToken::new()), socket)
    }

    #[tokio::test(start_paused = true)]
    async fn letting_go_waits_for_the_monitor() {
        let dir = tempfile::tempdir().unwrap();
        let (hands, socket) = hands(dir.path());
        let going = tokio::spawn(async move { hands.let_go().await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        let monitor = vm::fake::Monitor::listen(&socket).unwrap();
        going.await.unwrap();
        let released = monitor.commands().iter().filter(|(name, _)| name == "input-send-event").count();
        assert!(released > 20, "{released} batches");
    }

    #[tokio::test(start_paused = true)]
    async fn letting_go_of_a_target_that_is_gone_ends_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let (hands, _) = hands(dir.path());
        let began = tokio::time::Instant::now();
        hands.let_go().await;
        assert!(began.elapsed() <= LET_GO + ASK);
    }

    #[tokio::test]
    async fn the_settings_reach_the_command_line() {
        let layout = config::Layout::under_with_share(Path::new("/s"), None);
        let mut config = Config::defaults(&layout);
        config.vm.memory = 384;
        config.vm.cpus = 2;
        config.vm.accel = config::Accel::Tcg;
        config.vm.qemu = "/bin/sh".to_owned();
        config.vm.extra_args = vec!["-snapshot".to_owned()];
        let command = command(&config, Path::new("/s/run"), &crate::account::tests::found()).await.unwrap();
        let text: Vec<_> = command.iter().map(|part| part.to_string_lossy()).collect();
        assert_eq!(text[0], "/bin/sh");
        for pair in [["-m", "384"], ["-smp", "2"], ["-accel", "tcg"]] {
            assert!(text.windows(2).any(|have| have == pair), "{pair:?} in {text:?}");
        }
        assert!(text.iter().any(|part| part.contains("/s/run/vm/qmp-supervisor.sock")));
        assert_eq!(text.last().unwrap(), "-snapshot");
    }

    #[tokio::test]
    async fn a_disk_without_a_layer_has_the_format_of_the_settings() {
        let dir = tempfile::tempdir().unwrap();
        let layout = config::Layout::under_with_share(dir.path(), None);
        let mut config = Config::defaults(&layout);
        let disk = dir.path().join("disk.img");
        std::fs::write(&disk, [0; 512]).unwrap();
        config.vm.accel = config::Accel::Tcg;
        config.vm.qemu = "/bin/sh".to_owned();
        config.vm.snapshot = false;
        config.vm.disk = Some(disk);
        for format in ["raw", "qcow2"] {
            config.vm.disk_format = format.to_owned();
            let command = command(&config, dir.path(), &crate::account::tests::found()).await.unwrap();
            let start = format!("driver={format},node-name=disk0-image");
            assert!(command.iter().any(|part| part.to_string_lossy().starts_with(&start)), "{command:?}");
        }
        config.vm.disk_format = "abacus".to_owned();
        let error = command(&config, dir.path(), &crate::account::tests::found()).await.unwrap_err();
        assert!(error.to_string().contains("vm.disk_format"), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_installed_is_named() {
        let layout = config::Layout::under_with_share(Path::new("/s"), None);
        let mut config = Config::defaults(&layout);
        config.vm.qemu = "qemu-system-abacus".to_owned();
        let error = command(&config, Path::new("/s/run"), &crate::account::tests::found()).await.unwrap_err();
        assert!(error.to_string().contains("qemu-system-abacus"), "{error}");
    }
}
