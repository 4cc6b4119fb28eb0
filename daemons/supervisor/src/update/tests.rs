//! What is let through to RAUC, and RAUC's words as a child says them.

use super::*;
use crate::tool::Job;
use nix::sys::wait::WaitStatus;
use std::os::unix::fs::PermissionsExt;
use update::{Phase, State};

#[test]
fn only_addresses_of_the_web_and_whole_paths_reach_rauc() {
    let url = |url: &str| source(wire::Source::Url { url: url.to_owned() });
    for good in ["https://host/x@y.raucb", "http://[::1]:8080/x", "http://10.0.0.1/a?b=c@d"] {
        assert_eq!(url(good), Ok(Source::At(good.to_owned())));
    }
    let long = format!("https://{}", "x".repeat(LONGEST_URL));
    for bad in [
        "",
        "--conf=/x",
        "/etc/shadow",
        "file:///etc/shadow",
        "https://",
        "https:// x",
        "https://-x",
        "ftp://x/y",
        "https://x/\n",
        "https://user:secret@host/x.raucb",
        "https://user@host?x",
        &long,
    ] {
        assert!(url(bad).is_err(), "{bad}");
    }
    let file = |path: &str| source(wire::Source::File { path: path.to_owned() });
    assert_eq!(file("/tmp/x.raucb"), Ok(Source::At("/tmp/x.raucb".to_owned())));
    assert!(file("-x").is_err());
}

/// A machine whose systemd is asked in that directory, whose supervisor gives these answers, and that has had a controller or not.
fn hands(dir: &Path, answers: Vec<Answer>) -> Hands {
    let path = dir.join("supervisor.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (from, mut to) = stream.split();
            let _: Option<client::supervisor::Request> =
                client::line::read(&mut tokio::io::BufReader::new(from)).await.unwrap();
            client::line::write(&mut to, &answer).await.unwrap();
        }
    });
    let (tools, _) = Tools::new();
    Hands {
        rauc: Rauc { program: "rauc".to_owned(), tools: tools.clone() },
        probe: Probe {
            supervisor: client::supervisor::Supervisor::new(&path),
            web: None,
            certificate: PathBuf::new(),
            has_gadget: true,
            streamer: PathBuf::new(),
            data_lost: PathBuf::new(),
            had_controller: dir.join("has-controller"),
        },
        uploads: PathBuf::new(),
        dir: dir.to_owned(),
        reboot: Vec::new(),
        ours: false,
        reboot_argument: dir.join("reboot-param"),
        tools,
    }
}

fn gadget(controller: Option<&str>) -> Answer {
    let gadget = serde_json::json!({
        "name": "kvmd", "controller": controller, "state": "configured", "connected": true, "bios_safe": false,
        "endpoints": 9, "used": 4, "fault": null, "functions": [],
    });
    Answer::Gadget { gadget: Some(serde_json::from_value(gadget).unwrap()) }
}

#[tokio::test]
async fn a_release_that_has_lost_the_usb_controller_is_not_good() {
    let dir = tempfile::tempdir().unwrap();
    let none = || Answer::Gadget { gadget: None };
    let answers = vec![gadget(None), none(), gadget(Some("dwc2")), gadget(None), none()];
    let probe = hands(dir.path(), answers).probe;
    probe.gadget().await.unwrap();
    probe.gadget().await.unwrap();
    std::fs::write(dir.path().join("has-controller"), "").unwrap();
    probe.gadget().await.unwrap();
    for _ in 0..2 {
        assert_eq!(probe.gadget().await.unwrap_err(), "there is no USB controller any more");
    }
}

fn kept_after(phase: Phase) -> (watch::Sender<State>, watch::Receiver<State>) {
    let release = "VERSION=0.2.0\nBOARD=test\nCOMPATIBLE=kvmd-test\n";
    let release = update::Release::parse(release).unwrap();
    let (slot, kept) = (update::Slot::B, update::Slot::A);
    watch::channel(State { release, slot, kept, other: None, phase, problem: None, history: Vec::new() })
}

#[tokio::test(start_paused = true)]
async fn whether_there_is_a_usb_controller_is_remembered_of_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("has-controller");
    let probe = hands(dir.path(), vec![gadget(Some("dwc2")), gadget(None)]).probe;
    let (state, states) = kept_after(Phase::Trial);
    let remembers = tokio::spawn(probe.clone().remember(states.clone()));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!mark.exists(), "not of one that is on trial");
    state.send_modify(|state| (state.kept, state.phase) = (state.slot, Phase::Idle));
    remembers.await.unwrap();
    assert!(mark.exists());
    probe.remember(states).await;
    assert!(!mark.exists(), "the card is in a machine without one now");
}

#[tokio::test]
async fn only_our_own_word_to_the_firmware_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let hands = hands(dir.path(), Vec::new());
    let path = dir.path().join("reboot-param");
    hands.forget_try();
    hands.try_again();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), TRYBOOT);
    hands.forget_try();
    assert!(!path.exists());
    std::fs::write(&path, "a person's").unwrap();
    hands.try_again();
    hands.forget_try();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a person's");
}

#[tokio::test]
async fn a_computer_that_only_plays_an_image_is_not_restarted_by_force() {
    let dir = tempfile::tempdir().unwrap();
    let refused = hands(dir.path(), Vec::new()).restart_by_force().await.unwrap_err();
    assert!(refused.contains("plays an image"), "{refused}");
}

#[tokio::test]
async fn the_streamer_is_let_go_after_the_health_check() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("asked.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (from, mut to) = stream.split();
        let asked: Option<client::supervisor::Request> =
            client::line::read(&mut tokio::io::BufReader::new(from)).await.unwrap();
        client::line::write(&mut to, &Answer::Done).await.unwrap();
        asked
    });
    let mut probe = hands(dir.path(), Vec::new()).probe;
    probe.supervisor = client::supervisor::Supervisor::new(&path);
    probe.rest().await;
    assert_eq!(asked.await.unwrap(), Some(client::supervisor::Request::HoldStreamer { on: false }));
}

/// Starts jobs as the loop does, without its second program: the command is run directly.
async fn run(mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        let mut fds = job.launch.fds.into_iter().map(|(_, fd)| fd);
        let (out, err) = (fds.next().unwrap(), fds.next().unwrap());
        // The program behind the shell's words, with its output where those put it.
        let mut command = std::process::Command::new(&job.launch.command[4]);
        command.args(&job.launch.command[5..]).stdout(out).stderr(err);
        let status = command.status().unwrap();
        let pid = nix::unistd::Pid::from_raw(1);
        job.end.send(Ok(WaitStatus::Exited(pid, status.code().unwrap()))).unwrap();
    }
}

/// A program called rauc that does what `script` says.
fn pretend(dir: &tempfile::TempDir, script: &str) -> Rauc {
    let path = dir.path().join("rauc");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (tools, jobs) = Tools::new();
    // Waiting for a process blocks: on a thread of its own.
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(jobs));
    });
    Rauc { program: path.to_string_lossy().into_owned(), tools }
}

#[tokio::test]
async fn what_rauc_tells_of_a_bundle_is_read_and_what_it_refuses_too() {
    let dir = tempfile::tempdir().unwrap();
    let good = r#"test "$1 $2 $3" = "info --output-format=json /x" || exit 9
echo 'rauc-Message: Verifying bundle signature...' >&2
echo '{"compatible":"c","version":"1.0","images":[{"rootfs":{}},{"boot":{}}]}'"#;
    let bundle = pretend(&dir, good).info("/x").await.unwrap();
    assert_eq!((bundle.version.as_str(), bundle.parts.len()), ("1.0", 2));
    let foreign = "echo 'signature verification failed: Verify error: self-signed certificate' >&2; exit 1";
    assert!(matches!(pretend(&dir, foreign).info("/x").await, Err(Unfit::Signature(_))));
    assert!(matches!(pretend(&dir, "exit 1").info("/x").await, Err(Unfit::NoBundle(_))));
    assert!(matches!(pretend(&dir, "echo nonsense").info("/x").await, Err(Unfit::NoBundle(_))));
    // One that floods is not read for ever.
    let flood = pretend(&dir, "exec head -c 3000000 /dev/zero");
    assert!(matches!(flood.info("/x").await, Err(Unfit::NoBundle(_))));
}

#[tokio::test]
async fn an_install_tells_how_it_gets_on_and_why_it_fails() {
    let dir = tempfile::tempdir().unwrap();
    let good = "printf 'installing\\n  0%% Installing\\n 46%% Copying image to rootfs.1\\n100%% Installing done.\\n'";
    let (progress, mut steps) = mpsc::channel(16);
    pretend(&dir, good).install("/x", progress).await.unwrap();
    let mut percents = Vec::new();
    while let Some(step) = steps.recv().await {
        if let Line::Progress { percent, .. } = step {
            percents.push(percent);
        }
    }
    assert_eq!(percents, [0, 46, 100]);
    let bad =
        "echo 'LastError: Installation error: Compatible mismatch'; echo 'Installing `x` failed' >&2; exit 1";
    let (progress, _steps) = mpsc::channel(16);
    let why = pretend(&dir, bad).install("/x", progress).await.unwrap_err();
    assert_eq!(why, "Installation error: Compatible mismatch");
    let (progress, _steps) = mpsc::channel(16);
    assert_eq!(pretend(&dir, "exit 3").install("/x", progress).await.unwrap_err(), "rauc: exit status 3");
    // What an address holds for its server alone is on no page.
    let fetches = "echo \"LastError: '$2' or '$3' cannot be fetched\"; exit 1";
    let (progress, _steps) = mpsc::channel(16);
    let place = "https://host/x?token=secret";
    let why = pretend(&dir, fetches).install(place, progress).await.unwrap_err();
    assert_eq!(why, "'https://host/x' or '' cannot be fetched");
    let why = pretend(&dir, &format!("{{ {fetches}; }} >&2")).info(place).await.unwrap_err();
    assert!(!why.to_string().contains("secret") && why.to_string().contains("https://host/x"), "{why}");
}
