//! Uploads over breaks: of the network, and of kvmctl itself.

use crate::appliance::{Appliance, kvmctl, wait_for};
use crate::between::{Between, Fate};
use ctl::Exit;
use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
};

const SIZE: usize = 6 << 20;
const PART: usize = 2 << 20;

fn image(appliance: &Appliance) -> (PathBuf, Vec<u8>) {
    let bytes: Vec<u8> = (0..SIZE).map(|i| u8::try_from((i * 31 + i / 253) % 256).unwrap()).collect();
    let path = appliance.path("big.iso");
    std::fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

/// What has arrived of the image that is not whole, once the drive is free again.
fn arrived(appliance: &Appliance) -> u64 {
    wait_for("the drive to be free", || {
        let state = appliance.here("msd state --json").json();
        let image = &state["storage"]["images"]["big.iso"];
        (state["busy"] == false).then(|| {
            assert_eq!(image["complete"], false, "{state}");
            image["written"].as_u64().unwrap()
        })
    })
}

fn is_there(appliance: &Appliance, bytes: &[u8]) {
    appliance.here(&format!("msd download big.iso {}", appliance.path("back.iso").display())).good();
    assert!(std::fs::read(appliance.path("back.iso")).unwrap() == bytes, "what is read is what was written");
}

#[test]
fn an_upload_goes_on_where_a_killed_kvmctl_left_it() {
    let appliance = Appliance::start();
    let (path, bytes) = image(&appliance);
    let network = Between::start(appliance.address, Fate::Stalls(PART));
    let mut killed = Command::new(env!("CARGO_BIN_EXE_kvmctl"))
        .args(appliance.flags(network.address))
        .args(["msd", "upload"])
        .arg(&path)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("some of it to arrive", || {
        let state = appliance.here("msd state --json").json();
        state["storage"]["uploading"]["written"].as_u64().filter(|written| *written > 0)
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    let written = arrived(&appliance);
    assert!(written > 0 && written <= u64::try_from(PART).unwrap(), "{written}");

    let mut again = appliance.flags(network.address);
    again.extend(["msd", "upload"].map(OsString::from));
    again.push(path.into());
    let ran = kvmctl(&again);
    assert!(ran.err.contains(&format!("going on at byte {written} of {SIZE}")), "{ran:?}");
    assert!(ran.good().contains("big.iso: 6.3 MB, SHA-256 "));
    let uploads = network.uploads();
    assert_eq!(uploads.len(), 2);
    assert!(!uploads[0].to_ascii_lowercase().contains("content-range"));
    assert!(uploads[1].contains(&format!("bytes {written}-{}/{SIZE}", SIZE - 1)), "{}", uploads[1]);
    is_there(&appliance, &bytes);
}

#[test]
fn an_upload_goes_on_by_itself_when_the_network_broke() {
    let appliance = Appliance::start();
    let (path, bytes) = image(&appliance);
    let network = Between::start(appliance.address, Fate::Breaks(PART));
    let mut line = appliance.flags(network.address);
    line.extend(["msd", "upload", "--json"].map(OsString::from));
    line.push(path.into());
    let ran = kvmctl(&line);
    assert!(ran.err.contains("it broke off: kvmd at http"), "{ran:?}");
    let told = ran.json();
    assert_eq!((&told["image"]["name"], &told["image"]["written"]), (&"big.iso".into(), &SIZE.into()));
    assert_eq!(network.uploads().len(), 2);
    is_there(&appliance, &bytes);
}

#[test]
fn an_upload_whose_last_word_was_lost_is_done() {
    let appliance = Appliance::start();
    let (path, bytes) = image(&appliance);
    let network = Between::start(appliance.address, Fate::Unanswered);
    let mut line = appliance.flags(network.address);
    line.extend(["msd", "upload"].map(OsString::from));
    line.push(path.into());
    let ran = kvmctl(&line);
    assert!(ran.err.contains("it broke off: "), "{ran:?}");
    assert!(ran.good().starts_with("big.iso: 6.3 MB, SHA-256 "));
    assert_eq!(network.uploads().len(), 1, "nothing is sent again");
    is_there(&appliance, &bytes);
}

#[test]
fn another_file_of_the_same_name_does_not_become_its_other_half_unchecked_either() {
    let appliance = Appliance::start();
    let (path, mut bytes) = image(&appliance);
    half(&appliance, &bytes);
    bytes[0] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    // Nor when the first try is lost before the appliance knows of it.
    let network = Between::start(appliance.address, Fate::Vanishes);
    let mut line = appliance.flags(network.address);
    line.extend(["msd", "upload", "--unchecked"].map(OsString::from));
    line.push(path.into());
    let ran = kvmctl(&line);
    assert!(ran.err.contains("it broke off: ") && !ran.err.contains("going on"), "{ran:?}");
    ran.good();
    assert_eq!(network.uploads().len(), 2);
    is_there(&appliance, &bytes);
}

/// The first part of one file, as a sender left it that then lost interest.
fn half(appliance: &Appliance, bytes: &[u8]) {
    let part = appliance.path("part");
    std::fs::write(&part, &bytes[..PART]).unwrap();
    let range = format!("Content-Range: bytes 0-{}/{SIZE}", PART - 1);
    let line = ["api", "POST", "/msd/write", "image=big.iso", "-H", &range, "-b", part.to_str().unwrap()];
    let mut words: Vec<OsString> = line.into_iter().map(OsString::from).collect();
    words.extend(appliance.flags(appliance.address));
    kvmctl(&words).good();
    assert_eq!(arrived(appliance), u64::try_from(PART).unwrap());
}

#[test]
fn another_file_of_the_same_name_does_not_become_its_other_half() {
    let appliance = Appliance::start();
    let (path, mut bytes) = image(&appliance);
    half(&appliance, &bytes);
    bytes[0] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let upload = format!("msd upload {}", path.display());
    appliance.here(&upload).ends(Exit::Failed, "ValidatorError: ");
    let state = appliance.here("msd state --json").json();
    assert_eq!(state["storage"]["images"]["big.iso"]["complete"], false);
    appliance.here(&format!("{upload} --restart")).good();
    is_there(&appliance, &bytes);
}

#[test]
fn an_upload_shows_its_password_once_and_leaves_no_session_also_after_a_failure() {
    let appliance = Appliance::start();
    let (path, bytes) = image(&appliance);
    let network = Between::start(appliance.address, Fate::Breaks(PART));
    let mut line = appliance.flags(network.address);
    line.extend(["msd", "upload"].map(OsString::from));
    line.push(path.into());
    kvmctl(&line).good();
    let heads: Vec<String> = network.uploads().iter().map(|head| head.to_ascii_lowercase()).collect();
    assert_eq!(heads.len(), 2);
    for head in heads {
        assert!(head.contains("cookie: auth_token=") && !head.contains("x-kvmd-passwd"), "{head}");
    }
    is_there(&appliance, &bytes);
    assert_eq!(appliance.here("session list").good(), "");
    let token = appliance.there("session login").good();
    kvmctl(&line).ends(Exit::Failed, "MsdImageExistsError: ");
    assert_eq!(
        appliance.here("session list").good().lines().count(),
        1,
        "another one of the user stays: {token}"
    );
    std::fs::write(appliance.path("password"), "wrong").unwrap();
    kvmctl(&line).ends(Exit::Refused, "ForbiddenError: ");
}
