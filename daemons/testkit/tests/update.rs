//! The third ring: updates with real processes, on a state directory that looks like an image, with a `rauc` that only pretends.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says by a panic what is wrong")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use testkit::{Answer, Appliance, wait_for};

const ADMIN: [(&str, &str); 2] = [("X-KVMD-User", "admin"), ("X-KVMD-Passwd", "admin")];

/// Prints what its files say, and changes the boot choice as RAUC has it changed.
const RAUC: &str = r##"#!/bin/sh
here=$(dirname "$0")
case $1 in
info)
    cat "$here/refusal" >&2 2>/dev/null && exit 1
    cat "$here/info" ;;
install)
    cat "$3" "$2" >"$here/installed" 2>/dev/null
    stat -c '%u %a' "$2" >"$here/owner"
    printf 'installing\n  0%% Installing\n 46%% Copying image to rootfs.1\n'
    if [ -e "$here/failure" ]; then echo "LastError: $(cat "$here/failure")"; exit 1; fi
    cp "$here/tried" "$here/../boot/sel/grub/grubenv"
    printf '100%% Installing done.\n' ;;
esac
"##;

const INFO: &str =
    r#"{"compatible":"kvmd-test","version":"0.2.0","images":[{"rootfs":{"size":1}},{"boot":{"size":1}}]}"#;

fn grubenv(primary: &str, trial: &str, tried: &str) -> String {
    let text =
        format!("# GRUB Environment Block\nkvmd_primary={primary}\nkvmd_trial={trial}\nkvmd_tried={tried}\n");
    format!("{text:#<1024}")
}

/// Makes the state directory an image whose slot `slot` runs, with that boot choice.
fn image(state: &Path, slot: &str, choice: &str) -> std::io::Result<()> {
    for dir in ["boot/sel/grub", "data/etc/a", "data/etc/b", "lib", "fake"] {
        fs::create_dir_all(state.join(dir))?;
    }
    fs::write(state.join("cmdline"), format!("quiet kvmd.slot={slot} rauc.slot={slot}\n"))?;
    fs::write(state.join("boot/sel/grub/grubenv"), choice)?;
    fs::write(
        state.join("lib/release"),
        "VERSION=0.1.0\nBOARD=test\nCOMPATIBLE=kvmd-test\nBUILD=x\nFLOOR=0.1.0\n",
    )?;
    let fake = state.join("fake");
    fs::write(fake.join("tried"), grubenv("a", "b", "0"))?;
    fs::write(fake.join("info"), INFO)?;
    fs::write(fake.join("rauc"), RAUC)?;
    fs::set_permissions(fake.join("rauc"), fs::Permissions::from_mode(0o755))
}

/// Where the pretended programs leave what they were asked; known before the state directory is.
fn appliance(slot: &str, choice: &str, more: &str) -> (Appliance, tempfile::TempDir) {
    let link = tempfile::tempdir().unwrap();
    fs::set_permissions(link.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let place = link.path().join("state");
    let restarted = link.path().join("restarted");
    let settings = format!(
        "{{supervisor: {{update: {{rauc: {}/fake/rauc, reboot: [touch, {}]}}}}, kvmd: {{update: {{health_deadline: 20}}}}}}",
        place.display(),
        restarted.display()
    );
    let settings =
        if more.is_empty() { settings } else { settings.replace("kvmd: {", &format!("kvmd: {{{more}, ")) };
    let appliance = Appliance::start_prepared(&settings, |state| {
        std::os::unix::fs::symlink(state, &place)?;
        image(state, slot, choice)
    });
    (appliance.unwrap(), link)
}

fn post(appliance: &Appliance, path: &str, body: &[u8]) -> Answer {
    appliance.request("POST", &format!("/system/update{path}"), &ADMIN, body).unwrap()
}

fn state(appliance: &Appliance) -> Value {
    let answer = appliance.request("GET", "/system/update", &ADMIN, b"").unwrap();
    answer.json().unwrap()["result"].clone()
}

fn wait(appliance: &Appliance, wanted: &str) -> Value {
    wait_for(wanted, || Some(state(appliance)).filter(|state| state["state"] == wanted))
        .unwrap_or_else(|why| panic!("{why}: {}\n{}", state(appliance), appliance.log()))
}

fn choice(appliance: &Appliance) -> String {
    let block = fs::read_to_string(appliance.state().join("boot/sel/grub/grubenv")).unwrap();
    block.trim_end_matches('#').lines().skip(1).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_bundle_is_uploaded_installed_and_waits_for_the_restart() {
    let (appliance, place) = appliance("a", &grubenv("a", "none", "0"), "");
    assert_eq!(state(&appliance)["state"], "idle");
    assert_eq!(post(&appliance, "/install", b"").error().as_deref(), Some("UpdateNothingError"));
    let uploaded = post(&appliance, "/upload", b"abc");
    assert_eq!(uploaded.status, 200, "{}", appliance.log());
    assert_eq!(
        uploaded.json().unwrap()["result"]["upload"]["sha256"],
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(state(&appliance)["upload"]["complete"], true);
    let installed = post(&appliance, "/install", b"");
    assert_eq!(installed.status, 200, "{:?}", installed.error());
    let ready = wait(&appliance, "ready");
    assert_eq!(
        (&ready["version"], &ready["upload"], &ready["error"]),
        (&json!("0.2.0"), &Value::Null, &Value::Null)
    );
    assert_eq!(ready["history"][0]["outcome"], "installed");
    let fake = appliance.state().join("fake");
    assert_eq!(fs::read(fake.join("installed")).unwrap(), b"abc", "what was uploaded is what is installed");
    let own = nix::unistd::Uid::effective();
    assert_eq!(
        fs::read_to_string(fake.join("owner")).unwrap(),
        format!("{own} 600\n"),
        "and nobody else's any more"
    );
    assert!(!appliance.state().join("var/update/taken.raucb").exists());
    assert_eq!(post(&appliance, "/reboot", b"").status, 200);
    wait_for("the restart", || place.path().join("restarted").exists().then_some(())).unwrap();
    // Somebody thinks better of it.
    appliance.stop().unwrap();
}

#[test]
fn what_is_refused_says_why_and_changes_nothing() {
    let before = grubenv("a", "none", "0");
    let (appliance, _place) = appliance("a", &before, "");
    let fake = appliance.state().join("fake");
    let refusal = "signature verification failed: Verify error: unable to get local issuer certificate";
    fs::write(fake.join("refusal"), refusal).unwrap();
    assert_eq!(post(&appliance, "/upload", b"abc").status, 200);
    let refused = post(&appliance, "/install", b"");
    assert_eq!((refused.status, refused.error().as_deref()), (400, Some("UpdateSignatureError")));
    assert_eq!(state(&appliance)["error"]["error"], "UpdateSignatureError");
    fs::remove_file(fake.join("refusal")).unwrap();
    for (info, class) in [
        (INFO.replace("kvmd-test", "kvmd-rpi4"), "UpdateBoardError"),
        (INFO.replace("0.2.0", "0.0.9"), "UpdateVersionError"),
        ("nonsense".to_owned(), "UpdateBundleError"),
    ] {
        fs::write(fake.join("info"), info).unwrap();
        let refused = post(&appliance, "/install?url=https%3A%2F%2Fhost%2Fx.raucb", b"");
        assert_eq!((refused.status, refused.error().as_deref()), (400, Some(class)));
    }
    let odd = post(&appliance, "/install?url=file%3A%2F%2F%2Fetc%2Fshadow", b"");
    assert_eq!((odd.status, odd.error().as_deref()), (400, Some("ValidatorError")));
    assert!(!fake.join("owner").exists(), "rauc was never asked to install");
    // One that is let in, and fails while it is written.
    fs::write(fake.join("info"), INFO).unwrap();
    fs::write(fake.join("failure"), "Installation error: corrupt payload").unwrap();
    assert_eq!(post(&appliance, "/install?url=https%3A%2F%2Fhost%2Fx.raucb", b"").status, 200);
    let failed =
        wait_for("the failure", || Some(state(&appliance)).filter(|state| state["state"] == "idle")).unwrap();
    assert_eq!(
        failed["error"],
        json!({"error": "UpdateError", "error_msg": "Installation error: corrupt payload"})
    );
    assert_eq!(fs::read_to_string(appliance.state().join("boot/sel/grub/grubenv")).unwrap(), before);
    appliance.stop().unwrap();
}

#[test]
fn a_release_that_serves_is_kept() {
    let (appliance, _place) = appliance("b", &grubenv("a", "b", "1"), "");
    let trial = state(&appliance);
    assert!(trial["trial"] == true || trial["state"] == "idle", "{trial}");
    let kept = wait(&appliance, "idle");
    assert_eq!((&kept["slot"], &kept["kept"], &kept["trial"]), (&json!("b"), &json!("b"), &json!(false)));
    assert_eq!(kept["history"][0]["outcome"], "good");
    assert_eq!(choice(&appliance), "kvmd_primary=b kvmd_trial=none kvmd_tried=0 kvmd_bad=none");
    assert!(appliance.state().join("data/etc/b/.settled").exists());
    // Looking whether video works leaves no streamer running that nobody wants.
    wait_for("the streamer's end", || appliance.child("kvmd-streamer").is_none().then_some(())).unwrap();
    appliance.stop().unwrap();
}

#[test]
fn a_release_without_video_is_given_up_and_the_reason_kept() {
    let (appliance, place) =
        appliance("b", &grubenv("a", "b", "1"), "streamer: {unix: /nonexistent/streamer.sock}");
    wait_for("the restart", || place.path().join("restarted").exists().then_some(())).unwrap();
    assert_eq!(choice(&appliance), "kvmd_primary=a kvmd_trial=none kvmd_tried=0 kvmd_bad=b");
    let history = state(&appliance)["history"].clone();
    assert_eq!(history[0]["outcome"], "rolled_back");
    let reason = history[0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("not good within 20 s: video: "), "{reason}");
    assert!(!appliance.state().join("data/etc/b/.settled").exists());
    appliance.stop().unwrap();
}

#[test]
fn a_trial_that_is_stopped_orderly_goes_on_and_one_that_is_killed_has_failed() {
    let (appliance, _place) =
        appliance("b", &grubenv("a", "b", "1"), "streamer: {unix: /nonexistent/streamer.sock}");
    assert_eq!(state(&appliance)["state"], "trial");
    let block = appliance.state().join("boot/sel/grub/grubenv");
    let keep = tempfile::NamedTempFile::new().unwrap();
    fs::remove_file(keep.path()).unwrap();
    fs::hard_link(&block, keep.path()).or_else(|_| fs::copy(&block, keep.path()).map(drop)).unwrap();
    appliance.stop().unwrap();
    let after = fs::read_to_string(keep.path()).unwrap();
    assert!(after.contains("kvmd_trial=b\nkvmd_tried=0\n"), "{after}");

    let (appliance, _place) = self::appliance("a", &grubenv("a", "b", "1"), "");
    let back = wait(&appliance, "rolled_back");
    assert!(
        back["rolled_back"]["reason"].as_str().unwrap().contains("without having proved itself"),
        "{back}"
    );
    assert!(appliance.log().contains("rolled back") || back["history"][0]["outcome"] == "rolled_back");
    appliance.stop().unwrap();
}

#[test]
fn a_run_that_is_no_image_says_so() {
    let appliance = Appliance::start("{}").unwrap();
    for (method, path) in
        [("GET", ""), ("POST", "/upload"), ("POST", "/install"), ("POST", "/reboot"), ("POST", "/rollback")]
    {
        let body: &[u8] = if path == "/upload" { b"abc" } else { b"" };
        let answer = appliance.request(method, &format!("/system/update{path}"), &ADMIN, body).unwrap();
        assert_eq!((answer.status, answer.error().as_deref()), (400, Some("NotImageError")), "{path}");
    }
    assert!(!appliance.state().join("var/kvmd/update").exists());
    appliance.stop().unwrap();
}
