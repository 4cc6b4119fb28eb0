//! Tests of the card's wishes.

use super::*;
use crate::system::Root;
use crate::tool::Tools;
use proptest::prelude::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDx1ymMWm9ZBVEjKJSm3rXGz1Z4FVMuq5Gf6D4xj3q1X me";
const HASH: &str = "{SSHA512}WBoekxidz/sJt4wcdukOgClmzKzuI9Sk5FOD/vDuLfd3F6cUZQEHX07uXoscBRoIyf38B9ziGtnGENshuHaYjjAxMjM0NTY3ODlhYmNkZWY=";

#[test]
fn everything_a_card_may_ask_for_is_read() {
    let text = format!(
        "user: jane\npassword_hash: '{HASH}'\nssh_keys:\n  - {KEY}\nssh_password_login: false\nhostname: Rack-7\n\
         timezone: Europe/Berlin\nnetwork:\n  eth0: dhcp\n  eth1: {{address: 192.168.1.5/24, gateway: 192.168.1.1, dns: [1.1.1.1]}}\n  \
         wlan0: {{ssid: Net, psk: 01234567, country: DE}}\n"
    );
    let wish = parse(&text).unwrap();
    assert_eq!(wish.owner, Some(("jane".to_owned(), Secret(HASH.to_owned()))));
    assert_eq!((wish.hostname.as_deref(), wish.timezone.as_deref()), (Some("rack-7"), Some("Europe/Berlin")));
    assert_eq!((wish.ssh_keys, wish.ssh_password_login), (Some(vec![KEY.to_owned()]), Some(false)));
    let network = wish.network.unwrap();
    let fixed = network.interfaces[1].fixed.as_ref().unwrap();
    assert_eq!((fixed.address.to_string().as_str(), fixed.prefix, fixed.dns.len()), ("192.168.1.5", 24, 1));
    let wifi = network.interfaces[2].wifi.as_ref().unwrap();
    assert_eq!(wifi.psk.0, "01234567", "text, not a number");
    assert_eq!(parse("").unwrap(), Wish::default());
    let nested = format!("ssh:\n  keys:\n    - {KEY}\n  password_login: true\n");
    let wish = parse(&nested).unwrap();
    assert_eq!((wish.ssh_keys, wish.ssh_password_login), (Some(vec![KEY.to_owned()]), Some(true)));
}

#[test]
fn one_wrong_thing_is_said_with_its_line_and_without_secrets() {
    for (text, why) in [
        ("hostname: a\nnonsense: 1\n", "kvm.yaml:2: nonsense: unknown key"),
        ("password_hash: hush-hush\n", "kvm.yaml:1: password_hash: expected a hash"),
        ("password_hash: \"$6$a$hush:hush\"\n", "kvm.yaml:1: password_hash"),
        ("user: jane\n", "expected a password_hash beside it"),
        ("user: Jane\npassword_hash: \"{SHA}x\"\n", "kvm.yaml:1: The user name"),
        ("hostname: a b\n", "kvm.yaml:1: hostname: expected"),
        ("hostname: a\nhostname: b\n", "kvm.yaml:2: hostname: given twice"),
        ("timezone: ../x\n", "kvm.yaml:1: timezone: expected"),
        ("ssh_keys: [hush]\n", "kvm.yaml:1: ssh_keys: expected"),
        ("ssh_password_login: yes\n", "kvm.yaml:1: ssh_password_login: expected true or false"),
        ("network:\n  eth0: static\n", "kvm.yaml:2: network: expected dhcp"),
        ("network:\n  eth0: {address: 1.2.3.4}\n", "kvm.yaml:2: address: expected"),
        ("network:\n  eth0: {gateway: 1.2.3.4}\n", "kvm.yaml:2: network: gateway and dns need"),
        ("network:\n  wlan0: {ssid: x, psk: hush}\n", "psk: expected 8 to 63"),
        ("network:\n  wlan0: {psk: hush-hush}\n", "kvm.yaml:2: network: psk and country need"),
        ("network:\n  eth0: {adress: 1.2.3.4/8}\n", "kvm.yaml:2: adress: unknown key"),
        ("- a\n", "kvm.yaml:1: the file: expected keys"),
        ("a: [\n", "not YAML"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(why), "{text:?}: {error}");
        assert!(!error.contains("hush"), "{error}");
    }
}

/// An image's root with a card, and the layout of what it keeps.
fn image() -> (tempfile::TempDir, System, Layout, Config) {
    let dir = tempfile::tempdir().unwrap();
    for path in ["usr/lib/kvmd", "usr/share/zoneinfo/Europe", "boot/sel", "dev", "etc"] {
        fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    fs::write(dir.path().join("usr/lib/kvmd/release"), "VERSION=1\n").unwrap();
    fs::write(dir.path().join("usr/share/zoneinfo/Europe/Berlin"), "TZif2").unwrap();
    fs::write(dir.path().join("dev/console"), "").unwrap();
    let layout = Layout { state: None, ..Layout::under_with_share(&dir.path().join("kept"), None) };
    let config = Config::defaults(&layout);
    let system = System::new(Root::new(dir.path()), &layout, &config, Tools::new().0);
    (dir, system, layout, config)
}

#[test]
fn a_card_sets_an_appliance_up_and_is_wiped() {
    let (dir, system, layout, config) = image();
    let card = dir.path().join("boot/sel");
    fs::write(card.join(ERROR_FILE), "of last time").unwrap();
    let text = format!(
        "password_hash: '{HASH}'\nssh_keys: [{KEY}]\nhostname: rack-7\ntimezone: Europe/Berlin\nnetwork: {{eth0: {{address: 10.0.0.2/8}}}}\n"
    );
    fs::write(card.join(FILE), text).unwrap();
    // Another name of the same file sees what is left of its bytes.
    fs::hard_link(card.join(FILE), dir.path().join("bytes")).unwrap();
    let accounts = crate::account::tests::found();
    apply(&system, &layout, &config, &accounts);
    assert!(auth::htpasswd::has_users(&config.kvmd.auth.internal.file));
    assert_eq!(fs::read(layout.kvmd_state().join("totp.secret")).unwrap(), b"", "no codes are asked for");
    let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
    assert_eq!(read("etc/hostname"), "rack-7\n");
    assert_eq!(read("root/.ssh/authorized_keys"), format!("{KEY}\n"));
    assert!(read("etc/systemd/network/10-kvmd-eth0.network").contains("Address=10.0.0.2/8"));
    assert_eq!(fs::read_dir(&card).unwrap().count(), 0);
    assert!(fs::read(dir.path().join("bytes")).unwrap().iter().all(|byte| *byte == 0));
    // Nothing there is nothing to do.
    apply(&system, &layout, &config, &accounts);
    assert_eq!(fs::read_dir(&card).unwrap().count(), 0);
}

#[test]
fn a_card_that_cannot_be_wiped_is_applied_once_and_again_when_it_was_removed_meanwhile() {
    let (dir, system, layout, config) = image();
    let card = dir.path().join("boot/sel");
    let accounts = crate::account::tests::found();
    let (path, error) = (card.join(FILE), card.join(ERROR_FILE));
    // What was said about it cannot be removed, so it counts as staying there; its own bytes are gone, as on no broken card.
    fs::create_dir(&error).unwrap();
    let start = |hostname: &str| {
        fs::write(&path, "hostname: rack-7\n").unwrap();
        fs::write(dir.path().join("etc/hostname"), hostname).unwrap();
        apply(&system, &layout, &config, &accounts);
        fs::read_to_string(dir.path().join("etc/hostname")).unwrap()
    };
    assert_eq!(start("kvm-1234\n"), "rack-7\n");
    assert!(layout.var.join(STAYS).exists());
    assert_eq!(start("changed-since\n"), "changed-since\n");
    fs::remove_dir(&error).unwrap();
    assert_eq!(start("changed-since\n"), "changed-since\n");
    assert!(!path.exists() && !layout.var.join(STAYS).exists());
    assert_eq!(start("changed-since\n"), "rack-7\n", "somebody put it there again");
}

#[test]
fn a_card_that_was_overwritten_but_not_removed_is_no_mistake() {
    let (dir, system, layout, config) = image();
    let card = dir.path().join("boot/sel");
    fs::write(card.join(FILE), [0; 200]).unwrap();
    apply(&system, &layout, &config, &crate::account::tests::found());
    assert_eq!(fs::read_dir(&card).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(dir.path().join("dev/console")).unwrap(), "");
}

#[test]
fn of_a_card_with_one_mistake_nothing_is_applied() {
    let (dir, system, layout, config) = image();
    let card = dir.path().join("boot/sel");
    for mistake in ["nonsense: 1", "timezone: Europe/Nowhere"] {
        fs::write(card.join(FILE), format!("password_hash: '{HASH}'\nhostname: rack-7\n{mistake}\n"))
            .unwrap();
        apply(&system, &layout, &config, &crate::account::tests::found());
        assert!(!dir.path().join("etc/hostname").exists() && !config.kvmd.auth.internal.file.exists());
        let told = fs::read_to_string(card.join(ERROR_FILE)).unwrap();
        let (key, _) = mistake.split_once(':').unwrap();
        assert!(told.contains(key) && !told.contains("SSHA"), "{told}");
        assert!(card.join(FILE).exists(), "to be put right");
    }
    assert!(fs::read_to_string(dir.path().join("dev/console")).unwrap().contains("Nothing of kvm.yaml"));
}

#[test]
fn a_run_that_is_no_image_takes_a_password_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::under_with_share(dir.path(), None);
    let config = Config::defaults(&layout);
    let system = System::new(Root::new("/"), &layout, &config, Tools::new().0);
    let card = crate::system::card_of(dir.path());
    let accounts = crate::account::tests::found();
    fs::write(card.join(FILE), "hostname: never\n").unwrap();
    apply(&system, &layout, &config, &accounts);
    assert!(fs::read_to_string(card.join(ERROR_FILE)).unwrap().contains("not a system"));
    fs::write(card.join(FILE), format!("password_hash: '{HASH}'\n")).unwrap();
    apply(&system, &layout, &config, &accounts);
    assert!(auth::htpasswd::has_users(&config.kvmd.auth.internal.file));
    assert_eq!(fs::read_dir(&card).unwrap().count(), 0);
}

proptest! {
    #[test]
    fn no_card_panics_and_what_is_read_can_be_used(text in "(?s:[ -~\n]{0,200})") {
        if let Ok(wish) = parse(&text) {
            prop_assert!(wish.network.is_none_or(|network| rule::network(&network).is_ok()));
        }
    }

    #[test]
    fn no_card_that_looks_like_one_panics(
        key in "(user|password_hash|ssh_keys|ssh|hostname|timezone|network)",
        value in "([a-z0-9./:-]{0,20}|\\[[a-z, ]{0,10}\\]|\\{[a-z0-9: ,./]{0,30}\\})",
    ) {
        let _ = parse(&format!("{key}: {value}\n"));
    }
}
