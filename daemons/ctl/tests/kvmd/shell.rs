//! What is made for shells and readers, and how the program ends as a shell sees it.

use crate::appliance::{Appliance, kvmctl};
use ctl::Exit;
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_kvmctl")
}

/// Runs the program with these words; standard input is this.
fn run(words: &[&str], set: &[(&str, &str)], input: &str) -> Output {
    let mut child = Command::new(program())
        .args(words)
        .envs(set.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// What bash offers for a line, when it completes with the script of the image.
fn offered(line: &str) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rootfs-overlay/etc/profile.d/kvmctl.sh");
    let bin = PathBuf::from(program());
    let words: Vec<&str> = line.split(' ').collect();
    let ask = format!(
        r#"
        . {}
        COMP_WORDS=({line}) COMP_CWORD={} COMP_LINE="{line}"
        [ ${{#COMP_WORDS[@]}} -gt $COMP_CWORD ] || COMP_WORDS+=("")
        bound() {{ local all=($(complete -p kvmctl)) i; for i in "${{!all[@]}}"; do [ "${{all[i]}}" != -F ] || echo "${{all[i+1]}}"; done; }}
        "$(bound)" kvmctl "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"; code=$?
        # What bash does by itself: 124 says that there is another function now.
        [ $code != 124 ] || "$(bound)" kvmctl "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
        printf '%s\n' "${{COMPREPLY[@]}}"
        "#,
        script.display(),
        words.len() - 1,
    );
    let path = format!("{}:{}", bin.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let done = Command::new("bash").args(["--norc", "-c", &ask]).env("PATH", path).output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_shell_of_the_image_completes_verbs_and_flags() {
    assert!(offered("kvmctl ms").contains(&"msd".to_owned()));
    assert!(offered("kvmctl msd up").contains(&"upload".to_owned()));
    assert!(offered("kvmctl atx click ").contains(&"power-long".to_owned()));
    assert!(offered("kvmctl hid type --str").contains(&"--strict".to_owned()));
}

#[test]
fn where_kvmctl_cannot_be_started_the_shell_does_not_try_for_ever() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rootfs-overlay/etc/profile.d/kvmctl.sh");
    for fails in ["return 1", "return 0"] {
        let ask = format!(". {}; kvmctl() {{ {fails}; }}; _kvmctl_first; echo $?", script.display());
        let done = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        assert_eq!(String::from_utf8(done.stdout).unwrap(), "1\n", "{fails}");
    }
}

#[test]
fn a_disk_that_is_full_at_the_last_byte_is_a_failure() {
    let appliance = Appliance::start();
    let file = appliance.path("x");
    std::fs::write(&file, "without an end of line").unwrap();
    appliance.here(&format!("msd upload {}", file.display())).good();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let done = Command::new(program())
        .args(["--state", appliance.dir.path().to_str().unwrap(), "msd", "download", "x", "-"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(String::from_utf8(done.stderr).unwrap().contains("No space left"));
}

#[test]
fn completions_and_pages_are_made_of_all_verbs() {
    for shell in ["bash", "zsh", "fish"] {
        let script = kvmctl(&["completions", shell]).good();
        for word in ["upload", "set-primary", "token-file", "factory-reset"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(kvmctl(&["completions", "tcsh"]).exit, Exit::Usage);
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    kvmctl(&["man", pages.to_str().unwrap()]).good();
    let page = std::fs::read_to_string(pages.join("kvmctl.1")).unwrap();
    assert!(page.contains(".TH kvmctl 1") && page.contains("Exit codes") && page.contains("KVMCTL_TOKEN"));
    for name in ["kvmctl-msd-upload.1", "kvmctl-hid-mouse-move.1", "kvmctl-system-network-set.1"] {
        let page = std::fs::read_to_string(pages.join(name)).unwrap();
        assert!(page.contains(".TH") && page.contains("\\-\\-url"), "{name}");
    }
}

#[test]
fn a_text_may_be_piped_and_a_picture_too() {
    let appliance = Appliance::start();
    let state = appliance.dir.path().to_str().unwrap();
    let done = run(&["--state", state, "hid", "type", "--json"], &[], "Hello,\nworld\n");
    assert!(done.status.success(), "{done:?}");
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "{}\n");
    let done = run(&["--state", state, "api", "POST", "/hid/print/check", "-b", "-"], &[], "abc");
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(told["result"]["length"], 3);
    let done = run(&["--state", state, "streamer", "snapshot", "-"], &[], "");
    assert_eq!(done.status.code(), Some(3), "there is no streamer here: {done:?}");
    assert!(String::from_utf8(done.stderr).unwrap().starts_with("UnavailableError: "));
}

#[test]
fn the_environment_says_which_appliance_and_who_asks() {
    let appliance = Appliance::start();
    let token = appliance.here("token create looks viewer").good();
    let url = format!("https://{}", appliance.secure);
    let cacert = appliance.path("server.crt");
    let set = [
        ("KVMCTL_URL", url.as_str()),
        ("KVMCTL_TOKEN", token.trim()),
        ("KVMCTL_CACERT", cacert.to_str().unwrap()),
    ];
    let done = run(&["atx", "state"], &set, "");
    assert!(done.status.success(), "{done:?}");
    let done = run(&["atx", "on"], &set, "");
    assert_eq!(done.status.code(), Some(77), "{done:?}");
    assert!(
        String::from_utf8(done.stderr)
            .unwrap()
            .contains("ForbiddenError: Forbidden: this needs the role operator")
    );
    let done = run(&["passwd", "add", "jane"], &set, "");
    assert_eq!(done.status.code(), Some(2), "users are made on the appliance itself: {done:?}");
}
