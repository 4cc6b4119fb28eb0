//! The third ring: real processes on fakes.

use testkit::{Appliance, descendants, wait_for};

#[test]
fn an_appliance_starts_serves_and_leaves_nothing_behind() {
    let appliance = Appliance::start("").unwrap();
    let answer = appliance.get("/info?fields=auth").unwrap();
    assert_eq!(answer.status, 200, "{}", appliance.log());
    assert_eq!(
        answer.json().unwrap(),
        serde_json::json!({"ok": true, "result": {"auth": {"enabled": true}}})
    );
    appliance.stop().unwrap();
}

#[test]
fn children_run_as_users_of_their_own_without_rights() {
    if !nix::unistd::Uid::effective().is_root() {
        testkit::skip("only root can give children users of their own");
        return;
    }
    let appliance = Appliance::start("kvmd: {streamer: {forever: true}}").unwrap();
    let mut users = std::collections::HashSet::new();
    for name in ["kvmd", "kvmd-streamer"] {
        let child = wait_for(name, || appliance.child(name)).unwrap();
        let uids = child.status("Uid").unwrap();
        assert!(!uids.split_whitespace().any(|uid| uid == "0"), "{name} runs as {uids}");
        users.insert(uids);
        assert_eq!(child.status("NoNewPrivs").as_deref(), Some("1"), "{name}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(child.status(set).as_deref(), Some("0000000000000000"), "{name}: {set}");
        }
    }
    assert_eq!(users.len(), 2, "each has its own user");
}

#[test]
fn a_daemon_that_died_comes_back_and_leaves_no_zombie() {
    let appliance = Appliance::start("").unwrap();
    for _ in 0..5 {
        let old = wait_for("kvmd", || appliance.child("kvmd")).unwrap();
        old.kill().unwrap();
        // The request waits in the queue of the listening socket, which is the supervisor's.
        assert_eq!(appliance.get("/info?fields=auth").unwrap().status, 200);
        assert!(appliance.child("kvmd").is_some_and(|new| new.pid != old.pid));
    }
    wait_for("the zombies to be reaped", || {
        descendants(appliance.pid()).iter().all(|process| process.state != 'Z').then_some(())
    })
    .unwrap();
}

#[test]
fn a_bad_setting_stops_the_start_and_says_where() {
    let error = format!("{:#}", Appliance::start("kvmd:\n  streamer:\n    quality: 200\n").unwrap_err());
    assert!(error.contains("settings.yaml:3") && error.contains("kvmd.streamer.quality"), "{error}");
}

#[test]
fn without_https_no_certificate_is_needed() {
    let appliance = Appliance::start("nginx: {https: {enabled: false}}").unwrap();
    assert_eq!(appliance.get("/info?fields=auth").unwrap().status, 200, "{}", appliance.log());
    appliance.stop().unwrap();
}
