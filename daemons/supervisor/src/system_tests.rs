//! Tests of the system's wishes, below a root of their own, with programs that only pretend.

use super::*;
use crate::tool::Job;
use client::system::{Fixed, Interface, Secret};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use tokio::sync::mpsc;

/// An image's root, its system, and the programs that are asked for.
struct Image {
    dir: tempfile::TempDir,
    system: System,
    ran: mpsc::Receiver<String>,
}

impl Image {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for path in ["usr/lib/kvmd", "usr/share/zoneinfo", "etc", "data", "boot/sel", "run/kvmd-boot"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        std::fs::write(dir.path().join("usr/lib/kvmd/release"), "VERSION=1.2.3\nBOARD=rpi4\n").unwrap();
        std::fs::write(dir.path().join("usr/share/zoneinfo/UTC"), "TZif2").unwrap();
        let layout = Layout { state: None, ..Layout::under_with_share(&dir.path().join("kept"), None) };
        let (tools, jobs) = Tools::new();
        let (tell, ran) = mpsc::channel(64);
        tokio::spawn(pretend(jobs, tell));
        let system = System::new(Root::new(dir.path()), &layout, &Config::defaults(&layout), tools);
        Self { dir, system, ran }
    }

    async fn ask(&self, ask: Ask) -> Told {
        match self.system.answer(ask).await {
            Answer::System { told } => told,
            other => unreachable!("{other:?}"),
        }
    }

    async fn state(&self) -> State {
        match self.ask(Ask::Show).await {
            Told::State { state } => *state,
            other => unreachable!("{other:?}"),
        }
    }

    fn text(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.dir.path().join(path)).ok()
    }

    /// The programs asked for since the last time.
    fn ran(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.ran.try_recv().ok()).collect()
    }
}

/// Runs nothing, and says that all went well.
async fn pretend(mut jobs: mpsc::Receiver<Job>, tell: mpsc::Sender<String>) {
    while let Some(job) = jobs.recv().await {
        let words: Vec<_> =
            job.launch.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let line = words.join(" ");
        let _ = tell.send(line.rsplit_once('/').map_or(line.clone(), |(_, name)| name.to_owned())).await;
        let _ = job.end.send(Ok(WaitStatus::Exited(Pid::from_raw(1), 0)));
    }
}

fn network(address: &str) -> Network {
    let fixed = Fixed { address: address.parse().unwrap(), prefix: 24, gateway: None, dns: Vec::new() };
    Network { interfaces: vec![Interface { name: "eth0".into(), fixed: Some(fixed), wifi: None }] }
}

/// Whether the programs that are only pretended are installed here.
fn programs() -> bool {
    let there = ["networkctl", "systemctl"].iter().all(|name| file::program(name).is_some());
    if !there {
        testkit::skip("systemd is not installed");
    }
    there
}

#[tokio::test(start_paused = true)]
async fn network_settings_go_back_after_their_trial_and_stay_when_they_are_confirmed() {
    if !programs() {
        return;
    }
    let mut image = Image::new();
    let file = "etc/systemd/network/10-kvmd-eth0.network";
    assert_eq!(image.ask(Ask::TryNetwork { network: network("10.0.0.2") }).await, Told::Done);
    assert_eq!(image.ran(), ["networkctl reload"]);
    assert!(image.state().await.network_trial_ms.is_some());
    assert!(image.text(file).unwrap().contains("10.0.0.2"));
    tokio::time::sleep(Duration::from_secs(NETWORK_TRIAL_S - 1)).await;
    // A second try has a time of its own, and goes back to what was before the first.
    assert_eq!(image.ask(Ask::TryNetwork { network: network("10.0.0.3") }).await, Told::Done);
    tokio::time::sleep(Duration::from_secs(NETWORK_TRIAL_S - 1)).await;
    assert!(image.text(file).unwrap().contains("10.0.0.3"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(image.text(file), None);
    assert_eq!(image.state().await.network_trial_ms, None);
    assert!(matches!(image.ask(Ask::ConfirmNetwork).await, Told::Invalid { .. }));

    assert_eq!(image.ask(Ask::TryNetwork { network: network("10.0.0.4") }).await, Told::Done);
    assert_eq!(image.ask(Ask::ConfirmNetwork).await, Told::Done);
    image.ran();
    tokio::time::sleep(Duration::from_secs(2 * NETWORK_TRIAL_S)).await;
    assert!(image.text(file).unwrap().contains("10.0.0.4"));
    assert_eq!(image.ran(), Vec::<String>::new());
    assert!(matches!(image.ask(Ask::UndoNetwork).await, Told::Invalid { .. }));
}

#[tokio::test]
async fn a_trial_that_nobody_ended_is_over_at_the_next_start() {
    if !programs() {
        return;
    }
    let mut image = Image::new();
    assert_eq!(image.ask(Ask::TryNetwork { network: network("10.0.0.2") }).await, Told::Done);
    image.ran();
    // The power went; the same disk, another run.
    image.system.first();
    image.system.clone().catch_up().await;
    assert_eq!(image.text("etc/systemd/network/10-kvmd-eth0.network"), None);
    assert_eq!(image.ran(), ["networkctl reload", "systemctl --no-block try-reload-or-restart ssh.service"]);
    assert!(image.text("etc/hostname").unwrap().starts_with("kvm-"));
}

#[tokio::test]
async fn a_reset_leaves_its_mark_where_the_next_start_looks() {
    if !programs() {
        return;
    }
    let mut image = Image::new();
    for (drive, text) in [(false, "settings\n"), (true, "drive\n")] {
        for file in [preseed::FILE, preseed::ERROR_FILE] {
            std::fs::write(image.dir.path().join("boot/sel").join(file), "password_hash: hush").unwrap();
        }
        assert_eq!(image.ask(Ask::FactoryReset { drive }).await, Told::Done);
        assert_eq!(image.text("data/.factory-reset").as_deref(), Some(text));
        assert_eq!(image.ran(), ["systemctl --no-block reboot"]);
        let left = std::fs::read_dir(image.dir.path().join("boot/sel")).unwrap().count();
        assert_eq!(left, 0, "a wish that was refused is forgotten, too");
    }
    // What is kept in memory only forgets the mark.
    std::fs::write(image.dir.path().join("run/kvmd-boot/data-lost"), "").unwrap();
    assert_eq!(image.ask(Ask::FactoryReset { drive: false }).await, Told::Done);
    assert_eq!(image.text("boot/sel/factory-reset").as_deref(), Some("settings\n"));
    assert!(image.state().await.data_lost);
}

#[tokio::test]
async fn names_and_keys_are_set_and_shown_and_nonsense_is_refused() {
    let image = Image::new();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDx1ymMWm9ZBVEjKJSm3rXGz1Z4FVMuq5Gf6D4xj3q1X me";
    for ask in [
        Ask::SetHostname { name: "Rack-7".into() },
        Ask::SetTimezone { name: "UTC".into() },
        Ask::SetSshKeys { keys: vec![key.into()] },
    ] {
        assert_eq!(image.ask(ask).await, Told::Done);
    }
    assert_eq!(image.text("etc/hostname").as_deref(), Some("rack-7\n"));
    let state = image.state().await;
    assert_eq!((state.timezone.as_str(), state.ssh.keys.as_slice()), ("UTC", &[key.to_owned()][..]));
    assert_eq!(state.release.unwrap().version, "1.2.3");
    for ask in [
        Ask::SetHostname { name: "a b".into() },
        Ask::SetTimezone { name: "Europe/Nowhere".into() },
        Ask::SetTimezone { name: "../../etc/hostname".into() },
        Ask::SetSshKeys { keys: vec!["nonsense".into()] },
        Ask::TryNetwork { network: network("127.0.0.1") },
    ] {
        assert!(matches!(image.ask(ask.clone()).await, Told::Invalid { .. }), "{ask:?}");
    }
}

#[tokio::test]
async fn a_run_that_is_no_image_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::under_with_share(dir.path(), None);
    let system = System::new(Root::new("/"), &layout, &Config::defaults(&layout), Tools::new().0);
    system.first();
    for ask in [
        Ask::SetHostname { name: "never".into() },
        Ask::SetTimezone { name: "UTC".into() },
        Ask::SetSshKeys { keys: Vec::new() },
        Ask::AllowSshPassword { on: true },
        Ask::TryNetwork { network: Network::default() },
        Ask::ConfirmNetwork,
        Ask::UndoNetwork,
        Ask::Reboot,
        Ask::FactoryReset { drive: true },
        Ask::CheckClaim { code: Secret(String::new()) },
    ] {
        assert_eq!(system.answer(ask.clone()).await, Answer::System { told: Told::NotImage }, "{ask:?}");
    }
}

#[test]
fn a_release_and_a_slot_are_read_as_they_were_written() {
    let read = release("VERSION=1.2.3\nBOARD=\"rpi4\"\nBUILD=abc\nFLOOR=1.0.0\n");
    assert_eq!((read.version.as_str(), read.board.as_str(), read.build.as_str()), ("1.2.3", "rpi4", "abc"));
    assert_eq!(slot("quiet kvmd.slot=b rw\n").as_deref(), Some("b"));
    for none in ["quiet", "kvmd.slot=", "kvmd.slot=c", "xkvmd.slot=a"] {
        assert_eq!(slot(none), None, "{none}");
    }
    let stages = stages("kernel 1.5\ninitramfs=2.25\nnonsense\nbad -1\n");
    let stages: Vec<_> = stages.iter().map(|stage| (stage.name.as_str(), stage.at_ms)).collect();
    assert_eq!(stages, [("kernel", 1500), ("initramfs", 2250)]);
}

#[tokio::test]
async fn a_stage_of_the_start_is_noted_once_and_said_on_the_console() {
    let image = Image::new();
    let write = |path: &str, text: &str| {
        let path = image.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let stages = "run/kvmd-boot/stages";
    write("dev/console", "");
    image.system.stage("supervisor");
    assert_eq!(image.text(stages), None, "where the initramfs noted nothing, nothing is");
    write(stages, "systemd=4.10\n");
    write("proc/uptime", "5.50 9.00\n");
    image.system.stage("supervisor");
    write("proc/uptime", "99.00 9.00\n");
    image.system.stage("supervisor");
    assert_eq!(image.text(stages).as_deref(), Some("systemd=4.10\nsupervisor=5.50\n"));
    assert_eq!(image.text("dev/console").as_deref(), Some("kvmd-boot: supervisor after 5.50 s\r\n"));
}
