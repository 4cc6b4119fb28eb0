//! What is let through to RAUC, and RAUC's words as a child says them.

use super::*;
use crate::tool::Job;
use nix::sys::wait::WaitStatus;
use std::os::unix::fs::PermissionsExt;

#[test]
fn only_addresses_of_the_web_and_whole_paths_reach_rauc() {
    let url = |url: &str| source(wire::Source::Url { url: url.to_owned() });
    for good in ["https://host/x.raucb", "http://[::1]:8080/x", "http://10.0.0.1/a?b=c"] {
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
        &long,
    ] {
        assert!(url(bad).is_err(), "{bad}");
    }
    let file = |path: &str| source(wire::Source::File { path: path.to_owned() });
    assert_eq!(file("/tmp/x.raucb"), Ok(Source::At("/tmp/x.raucb".to_owned())));
    assert!(file("-x").is_err());
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
}
