//! What each verb does, seen by another one.

use crate::appliance::{Appliance, kvmctl, wait_for};
use ctl::Exit;
use serde_json::json;
use std::{io::Write as _, net::TcpListener};

#[test]
fn power_is_pressed_and_seen() {
    let appliance = Appliance::start();
    assert!(appliance.here("atx state").good().starts_with("power "));
    appliance.here("atx on --wait").good();
    wait_for("the light", || appliance.there("atx state").good().starts_with("power on").then_some(()));
    appliance.there("atx off-hard --wait").good();
    wait_for("the dark", || appliance.here("atx state").good().starts_with("power off").then_some(()));
    appliance.here("atx click reset").good();
    appliance.here("atx click reset").ends(Exit::Failed, "AtxIsBusyError: ");
    assert_eq!(appliance.here("--json atx state").json()["enabled"], true);
}

#[test]
fn keys_and_the_mouse_are_told_and_what_is_wrong_is_named() {
    let appliance = Appliance::start();
    for line in [
        "hid state",
        "hid type hello --enter --slow",
        "hid key KeyA",
        "hid key ShiftLeft --only press",
        "hid key ShiftLeft --only release",
        "hid shortcut ControlLeft AltLeft Delete",
        "hid mouse move -32768 0",
        "hid mouse relative -5 7",
        "hid mouse click",
        "hid mouse click right --only press",
        "hid mouse wheel -3",
        "hid params --jiggler on",
        "hid reset",
        "hid inactivity",
    ] {
        appliance.here(line).good();
    }
    assert_eq!(appliance.here("hid state --json").json()["jiggler"]["active"], true);
    appliance.here("hid connect").good();
    assert!(appliance.here("hid keymaps").good().contains("en-us  (default)\n"));
    appliance.here("hid key Nonsense").ends(Exit::Failed, "ValidatorError: ");
    appliance.here("hid params").ends(Exit::Usage, "--jiggler");
    appliance.here("hid type --strict -k en-us 日").ends(Exit::Failed, "cannot type 日");
    let check = appliance.here("hid type --check -k en-us 日本日");
    assert_eq!(check.exit, Exit::NotReady);
    assert!(check.out.contains("日 (U+65E5), 2 times, first at 0\n"), "{}", check.out);
    assert_eq!(appliance.here("hid type --check abc").good(), "en-us types all of it\n");
    assert!(appliance.here("holder show").good().contains("everybody may type"));
    appliance.here("holder take 1").ends(Exit::Failed, "ValidatorError: ");
}

#[test]
fn an_image_goes_in_is_lent_and_comes_back() {
    let appliance = Appliance::start();
    let file = appliance.path("disk.img");
    std::fs::write(&file, vec![7; 4096]).unwrap();
    let upload = format!("msd upload {}", file.display());
    let told = appliance.there(&upload).good();
    assert!(told.starts_with("disk.img: 4.1 kB, SHA-256 "), "{told}");
    appliance.there(&upload).ends(Exit::Failed, "MsdImageExistsError: ");
    appliance.there(&format!("{upload} --name b.img --prefix sub --unchecked")).good();
    assert_eq!(appliance.here("msd list").good(), "disk.img   4.1 kB\nsub/b.img  4.1 kB\n");
    appliance.here("msd params --image disk.img --cdrom off --rw off").good();
    appliance.here("msd connect").good();
    assert!(
        appliance
            .here("msd state")
            .good()
            .starts_with("drive    disk.img, stick, read-only, lent to the target\n")
    );
    appliance.here("msd remove disk.img").ends(Exit::Failed, "MsdConnectedError: ");
    appliance.here("msd disconnect").good();
    let back = appliance.path("back.img");
    let download = format!("msd download disk.img {}", back.display());
    appliance.there(&download).good();
    assert_eq!(std::fs::read(&back).unwrap(), vec![7; 4096]);
    appliance.there(&download).ends(Exit::Failed, "--force");
    appliance.there(&format!("{download} --force --compress zstd")).good();
    assert!(std::fs::read(&back).unwrap().starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), "a frame of zstd");
    let missing = format!("msd download none {}", appliance.path("none").display());
    appliance.there(&missing).ends(Exit::Failed, "MsdUnknownImageError: ");
    assert!(!appliance.path("none").exists() && !appliance.path("none.part").exists());
    appliance.here("msd remove disk.img").good();
    appliance.here("msd remove disk.img").ends(Exit::Failed, "MsdUnknownImageError: ");
    appliance.here("msd reset").good();
}

/// A web server that gives this body to whoever comes, and says that it is so long.
fn source(body: &'static [u8], length: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = std::io::BufReader::new(stream.try_clone().unwrap());
            while std::io::BufRead::read_line(&mut head, &mut String::new()).is_ok_and(|count| count > 2) {}
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(&[answer.as_bytes(), body].concat());
        }
    });
    format!("http://{address}/web.iso")
}

#[test]
fn an_image_is_fetched_and_a_source_that_breaks_off_is_told() {
    let appliance = Appliance::start();
    let (whole, cut) = (source(b"an image", 8), source(b"an image", 80));
    let told = appliance.here(&format!("msd fetch {whole} --probe --json")).json();
    assert_eq!(told["remote"]["size"], 8);
    assert!(appliance.here(&format!("msd fetch {whole}")).good().starts_with("web.iso: 8 B, SHA-256 "));
    let lines = appliance.here(&format!("msd fetch {whole} --name other --json")).good();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["result"]["image"]["written"], 8);
    appliance.here(&format!("msd fetch {cut} --name cut")).ends(Exit::Failed, "ClientPayloadError: ");
    wait_for("what is left of it", || {
        appliance.here("msd list").good().contains("incomplete: 10 % of 80 B").then_some(())
    });
    appliance.here("msd fetch ftp://host/x").ends(Exit::Failed, "ValidatorError: ");
}

#[test]
fn the_screen_switches_and_channels_are_asked() {
    let appliance = Appliance::start();
    assert!(appliance.here("streamer state").good().contains("features.quality"));
    appliance.here("streamer params --quality 50").good();
    let params = appliance.here("streamer state --json").json()["params"].clone();
    assert_eq!(params["quality"], 50);
    let file = appliance.path("x.jpg");
    let snapshot = format!("streamer snapshot {} --width 100", file.display());
    appliance.here(&snapshot).ends(Exit::NotReady, "UnavailableError: ");
    assert!(!file.exists(), "nothing is written of what did not come");
    appliance.here("streamer ocr --area 0 0 100 20").ends(Exit::NotReady, "UnavailableError: ");
    for line in [
        "streamer languages",
        "streamer media",
        "streamer forget",
        "gpio state",
        "switch state",
        "switch next",
    ] {
        appliance.here(line).good();
    }
    appliance.here("gpio switch none on").ends(Exit::Failed, "GpioChannelNotFoundError: ");
    appliance.here("gpio pulse none --delay 0.1").ends(Exit::Failed, "GpioChannelNotFoundError: ");
    appliance.here("switch colors active=00FF00:40:0000 beacon=default").good();
    appliance.here("switch colors active").ends(Exit::Usage, "ROLE=COLOR");
    appliance.here("switch beacon on").ends(Exit::Usage, "--port");
    appliance.here("switch beacon on --port 1.2").good();
    let edid = appliance.path("edid");
    let default = appliance.here("switch state --json").json()["edids"]["all"]["default"]["data"].clone();
    std::fs::write(&edid, default.as_str().unwrap()).unwrap();
    let id = appliance.here(&format!("switch edids create desk {}", edid.display())).good();
    let id = id.trim();
    assert_eq!(appliance.here("switch edids list").good().matches(&format!("{id}  desk\n")).count(), 1);
    appliance
        .here(&format!("switch port-params 0 --edid {id} --name left --dummy on --power-delay 0.7"))
        .good();
    appliance.here(&format!("switch edids change {id} --name door")).good();
    appliance.here(&format!("switch edids remove {id}")).good();
    appliance.here(&format!("switch edids remove {id}")).ends(Exit::Failed, "SwitchUnknownEdidError: ");
}

#[test]
fn what_is_changed_stands_in_the_audit_log_with_who_did_it() {
    let appliance = Appliance::start();
    let token = appliance.here("token create ci operator --scopes hid").good();
    let file = appliance.path("token");
    std::fs::write(&file, &token).unwrap();
    let url = format!("http://{}", appliance.address);
    let by_token = |line: &str| {
        let flags = ["--url", &url, "--insecure", "--token-file", file.to_str().unwrap()];
        kvmctl(&flags.into_iter().chain(line.split(' ')).collect::<Vec<_>>())
    };
    by_token("hid reset").good();
    by_token("atx on").ends(Exit::Refused, "ForbiddenError: Forbidden: this token is not for atx");
    let lines = appliance.there("audit --limit 50").good();
    assert!(lines.contains("  token ci from 127.0.0.1  POST /hid/reset  200\n"), "{lines}");
    let records = appliance.there("audit --json --after 0").json()["records"].clone();
    assert!(records.as_array().unwrap().iter().any(|record| record["path"] == "/tokens"), "{records}");
    assert!(appliance.here("token list").good().contains("ci"));
    appliance.here("token revoke ci").good();
    by_token("hid state").ends(Exit::Refused, "ForbiddenError");
}

#[test]
fn sessions_are_opened_told_and_ended() {
    let appliance = Appliance::start();
    let token = appliance.there("session login --expire 600").good();
    assert_eq!(token.trim().len(), 64);
    let sessions = appliance.here("session list --json").json();
    let one = &sessions["sessions"][0];
    assert_eq!(one["user"], "admin", "{sessions}");
    appliance.here(&format!("session end {}", one["id"].as_str().unwrap())).good();
    assert_eq!(appliance.here("sessions list --json").json(), json!({"sessions": []}));
    for _ in 0..2 {
        appliance.there("session login").good();
    }
    assert_eq!(appliance.here("session list").good().lines().count(), 2);
    appliance.there("session logout").good();
    assert_eq!(appliance.here("session list").good(), "");
    appliance.there("session check").good();
    let who = appliance.there("session who --json").json();
    assert_eq!((&who["user"], &who["role"]), (&"admin".into(), &"admin".into()));
    assert_eq!(
        (appliance.there("passwd list").good(), appliance.there("role list").good()),
        ("admin\n".into(), "admin admin\n".into())
    );
    appliance.here("session check").ends(Exit::Refused, "UnauthorizedError");
    appliance.here("session login").ends(Exit::Usage, "--user");
    appliance.here("session end ../../x").ends(Exit::Usage, "not a number");
}

#[test]
fn events_come_as_json_lines_over_every_way() {
    let appliance = Appliance::start();
    let secure = format!("https://{}", appliance.secure);
    let cacert = appliance.path("server.crt");
    for ran in [
        appliance.here("watch --only atx --count 1"),
        appliance.there("watch --only atx,hid -n 2 --stream"),
        kvmctl(&[
            "--url",
            &secure,
            "--cacert",
            cacert.to_str().unwrap(),
            "watch",
            "-n1",
            "--user",
            "admin",
            "--password-file",
            appliance.path("password").to_str().unwrap(),
        ]),
    ] {
        let out = ran.good();
        let events: Vec<serde_json::Value> =
            out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!events.is_empty() && events.iter().all(|event| event["event_type"].is_string()), "{out}");
    }
    let mut nobody = appliance.flags(appliance.address);
    nobody.truncate(3);
    nobody.extend(["watch".into(), "-n1".into()]);
    kvmctl(&nobody).ends(Exit::Refused, "UnauthorizedError");
}

#[test]
fn who_the_appliance_is_must_be_vouched_for() {
    let appliance = Appliance::start();
    let url = format!("https://{}", appliance.secure);
    let password = appliance.path("password");
    let flags = ["--url", &url, "--user", "admin", "--password-file", password.to_str().unwrap()];
    let with = |more: &[&str]| kvmctl(&[&flags[..], more, &["atx", "state"]].concat());
    with(&[]).ends(Exit::Unreachable, "certificate");
    with(&["--insecure"]).good();
    with(&["--cacert", appliance.path("server.crt").to_str().unwrap()]).good();
    let other = Appliance::start();
    with(&["--cacert", other.path("server.crt").to_str().unwrap()]).ends(Exit::Unreachable, "certificate");
    with(&["--cacert", password.to_str().unwrap()]).ends(Exit::Failed, "no certificates");
}

#[test]
fn a_password_goes_nowhere_in_clear_and_a_wrong_one_is_told() {
    let appliance = Appliance::start();
    let url = format!("http://{}", appliance.address);
    let password = appliance.path("wrong");
    std::fs::write(&password, "wrong").unwrap();
    let flags = ["--url", &url, "--user", "admin", "--password-file", password.to_str().unwrap(), "info"];
    kvmctl(&flags).ends(Exit::Usage, "secrets go by https");
    kvmctl(&[&flags[..], &["--insecure"]].concat()).ends(Exit::Refused, "ForbiddenError");
    // Nor those that stand in a body or on the line.
    for line in [&["claim", "--code", "x"][..], &["api", "GET", "/info", "-H", "X-KVMD-Passwd: x"]] {
        kvmctl(&[&["--url", &url], line].concat()).ends(Exit::Usage, "secrets go by https");
    }
    kvmctl(&["--url", "ftp://x", "info"]).ends(Exit::Usage, "https://kvm.local");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    kvmctl(&["--url", &format!("http://{closed}"), "info"]).ends(Exit::Unreachable, "kvmd at http");
}

#[test]
fn any_call_can_be_made_and_any_answer_read() {
    let appliance = Appliance::start();
    let told = appliance.here("api get /info fields=node").json();
    assert!(told["ok"] == true && told["result"]["node"]["host"].is_string(), "{told}");
    assert!(appliance.there("api GET /redfish/v1/Systems").json()["Members"].is_array());
    assert_eq!(appliance.there("api GET /redfish/v1 --raw").json()["Id"], "RootService");
    appliance.here("api POST /atx/power action=nonsense").ends(Exit::Failed, "ValidatorError: ");
    appliance.here("api GET /nonsense").ends(Exit::Failed, "404");
    for line in ["api STEAL /atx", "api GET atx", "api GET /atx?x=1", "api GET /atx x"] {
        assert_eq!(appliance.here(line).exit, Exit::Usage, "{line}");
    }
    assert!(appliance.here("metrics").good().contains("# TYPE pikvm_"));
    assert!(appliance.here("info").good().contains("uptime.parts.hours"));
    assert_eq!(appliance.here("info node auth --json").json().as_object().unwrap().len(), 2);
    appliance.there("logs --seek 5").ends(Exit::Failed, "LogReaderDisabledError: ");
    appliance.there("passwd add jane").ends(Exit::Usage, "on the appliance itself");
}
