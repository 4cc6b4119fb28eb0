//! The third ring: how an appliance gets its owner, with real processes.

#![expect(clippy::unwrap_used, reason = "a test may end that way, its helpers too")]

use testkit::{Answer, Appliance};

const CLAIMABLE: &str = "kvmd: {auth: {claim: 'true', usc: {kvmd_users: []}}}";
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// What stands on the card; none when nothing does.
fn code(appliance: &Appliance) -> Option<String> {
    let text = std::fs::read_to_string(appliance.state().join("boot/sel/claim-code.txt")).ok()?;
    text.trim_end().rsplit(' ').next().map(str::to_owned)
}

fn claim(appliance: &Appliance, body: &str) -> Answer {
    appliance.request("POST", "/system/claim", &[FORM], body.as_bytes()).unwrap()
}

fn error(answer: &Answer) -> String {
    answer.error().unwrap_or_default()
}

/// Who asks counts by what is shown: root is nobody here, by the settings.
fn check(appliance: &Appliance, headers: &[(&str, &str)]) -> Answer {
    appliance.request("GET", "/auth/check", headers, b"").unwrap()
}

#[test]
fn whoever_reads_the_console_becomes_the_owner_and_is_signed_in() {
    let appliance = Appliance::start(CLAIMABLE).unwrap();
    let shown = appliance.request("GET", "/system/claim", &[], b"").unwrap().json().unwrap();
    assert_eq!(shown["result"]["claimed"], false);
    assert_eq!(
        error(&check(&appliance, &[("X-KVMD-User", "admin"), ("X-KVMD-Passwd", "admin")])),
        "NotClaimedError"
    );

    let code = code(&appliance).unwrap();
    assert!(!appliance.log().contains(&code), "the code is in no log");
    assert!(!shown.to_string().contains(&code), "nor is it told");
    let weak = claim(&appliance, &format!("code={code}&passwd=password1"));
    assert_eq!((weak.status, error(&weak).as_str()), (400, "ValidatorError"));
    let renamed = claim(&appliance, &format!("code={code}&passwd=correct+horse&hostname=kvm"));
    assert_eq!((renamed.status, error(&renamed).as_str()), (400, "NotImageError"), "not this computer");
    let claimed = claim(&appliance, &format!("code={code}&user=jane&passwd=correct+horse&language=zh-CN"));
    assert_eq!(claimed.status, 200, "{}", appliance.log());

    let cookie = claimed.header("Set-Cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(check(&appliance, &[("Cookie", &cookie)]).status, 200);
    let password = [("X-KVMD-User", "jane"), ("X-KVMD-Passwd", "correct horse")];
    assert_eq!(check(&appliance, &password).status, 200);
    assert_eq!(check(&appliance, &[]).status, 401);
    assert!(!appliance.state().join("boot/sel/claim-code.txt").exists());
    let again = claim(&appliance, &format!("code={code}&passwd=correct+horse"));
    assert_eq!((again.status, error(&again).as_str()), (409, "AlreadyClaimedError"));

    // Who has chosen no language is offered that one.
    let told = || appliance.request("GET", "/system/claim", &[], b"").unwrap().json().unwrap();
    assert_eq!(told()["result"], serde_json::json!({"claimed": true, "language": "zh-CN"}));
    let chosen = |headers: &[(&str, &str)], name: &str| {
        appliance.request("POST", &format!("/system/language?name={name}"), headers, b"").unwrap().status
    };
    assert_eq!((chosen(&[], "en"), chosen(&password, "xx"), chosen(&password, "en")), (401, 400, 200));
    assert_eq!(told()["result"]["language"], "en");

    // A kvmd that starts again still has its owner and the owner's session.
    appliance.child("kvmd").unwrap().kill().unwrap();
    assert_eq!(check(&appliance, &[("Cookie", &cookie)]).status, 200);
    assert!(!appliance.log().contains("correct horse"));
    appliance.stop().unwrap();
}

#[test]
fn a_card_s_password_claims_it_and_the_card_is_wiped() {
    let appliance = Appliance::start_prepared(CLAIMABLE, |state| {
        let hash = auth::hash::ssha512("correct horse").map_err(std::io::Error::other)?;
        std::fs::create_dir_all(state.join("boot/sel"))?;
        std::fs::write(state.join("boot/sel/kvm.yaml"), format!("user: jane\npassword_hash: \"{hash}\"\n"))
    })
    .unwrap();
    let password = [("X-KVMD-User", "jane"), ("X-KVMD-Passwd", "correct horse")];
    assert_eq!(check(&appliance, &password).status, 200, "{}", appliance.log());
    let left = std::fs::read_dir(appliance.state().join("boot/sel")).unwrap().count();
    assert_eq!(left, 0, "neither the wish nor a code");
    appliance.stop().unwrap();
}

#[test]
fn what_only_an_image_has_is_refused_elsewhere() {
    let appliance = Appliance::start("").unwrap();
    let shown = appliance.get("/system").unwrap().json().unwrap();
    assert_eq!((&shown["result"]["image"], &shown["result"]["claimed"]), (&false.into(), &true.into()));
    for (path, body) in [
        ("/system/hostname?name=kvm", ""),
        ("/system/timezone?name=Europe/Berlin", ""),
        ("/system/ssh_keys", ""),
        ("/system/ssh_password_login?enabled=1", ""),
        ("/system/network", "{\"interfaces\": []}"),
        ("/system/network/confirm", ""),
        ("/system/network/undo", ""),
        ("/system/reboot", ""),
        ("/system/factory_reset?confirm=1", ""),
    ] {
        let answer = appliance.post(path, body.as_bytes()).unwrap();
        assert_eq!((answer.status, error(&answer).as_str()), (400, "NotImageError"), "{path}");
    }
    let unsure = appliance.post("/system/factory_reset", b"").unwrap();
    assert_eq!(error(&unsure), "ValidatorError", "it is asked for twice");
    appliance.stop().unwrap();
}

#[test]
fn wrong_codes_are_refused_and_then_not_even_looked_at() {
    let appliance = Appliance::start(CLAIMABLE).unwrap();
    let guess = || claim(&appliance, "code=AAAA-AAAA&passwd=correct+horse");
    let mut refusals = 0;
    let throttled = loop {
        let answer = guess();
        if answer.status == 429 {
            break answer;
        }
        assert_eq!((answer.status, error(&answer).as_str()), (403, "ForbiddenError"));
        refusals += 1;
        assert!(refusals < 1000, "nothing stops guessing");
    };
    assert_eq!(error(&throttled), "ClaimThrottledError");
    assert!(refusals >= 5, "who mistypes may try again");
    // The right one waits like any other, and is taken when its time comes.
    let code = code(&appliance).unwrap();
    let taken = testkit::wait_for("the next try", || {
        let answer = claim(&appliance, &format!("code={code}&passwd=correct+horse"));
        (answer.status != 429).then_some(answer.status)
    });
    assert_eq!(taken.unwrap(), 200);
    appliance.stop().unwrap();
}
