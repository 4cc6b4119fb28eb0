use super::*;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;

/// 2026-06-01.
const NOW: Duration = Duration::from_secs(1_780_272_000);

fn days(count: u64) -> Duration {
    Duration::from_secs(count * DAY)
}

const VALID_DAYS: u64 = 397;
const RENEW_DAYS: u64 = 30;

fn pair(dir: &tempfile::TempDir) -> Pair {
    Pair::new(dir.path().join("server.crt"), dir.path().join("server.key"))
}

fn wish() -> Wish {
    Wish {
        names: names("pikvm"),
        addresses: vec!["192.0.2.7".parse().unwrap(), "::1".parse().unwrap()],
        days: VALID_DAYS,
        renew_days: RENEW_DAYS,
        extend: false,
    }
}

fn ensured(pair: &Pair, now: Duration) -> Outcome {
    ensure(pair, &wish(), now).unwrap()
}

#[test]
fn the_first_start_makes_a_pair_and_the_next_one_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let pair = pair(&dir);
    assert_eq!(ensured(&pair, NOW), Outcome::Made);
    let made = fs::read(&pair.certificate).unwrap();
    assert!(made.starts_with(b"-----BEGIN CERTIFICATE-----"));
    assert_eq!(fs::metadata(&pair.key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(ensured(&pair, NOW + days(300)), Outcome::Kept);
    assert_eq!(fs::read(&pair.certificate).unwrap(), made);
}

#[test]
fn it_is_renewed_thirty_days_before_it_expires() {
    let dir = tempfile::tempdir().unwrap();
    let pair = pair(&dir);
    ensured(&pair, NOW);
    assert_eq!(ensured(&pair, NOW + days(VALID_DAYS - RENEW_DAYS - 1)), Outcome::Kept);
    assert_eq!(ensured(&pair, NOW + days(VALID_DAYS - RENEW_DAYS + 1)), Outcome::Renewed);
    assert_eq!(ensured(&pair, NOW + days(VALID_DAYS - RENEW_DAYS + 1)), Outcome::Kept);
}

#[test]
fn a_wrong_clock_makes_one_that_is_valid_today_and_is_replaced_when_the_clock_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let pair = pair(&dir);
    assert_eq!(ensured(&pair, Duration::from_secs(60)), Outcome::Made);
    let made: Vec<Made> = serde_json::from_slice(&fs::read(&pair.marker).unwrap()).unwrap();
    assert!(made[0].provisional && made[0].expires > NOW.as_secs());
    assert_eq!(ensured(&pair, Duration::from_secs(120)), Outcome::Kept);
    assert_eq!(ensured(&pair, NOW), Outcome::Renewed);
    // And a clock that falls back later touches nothing.
    assert_eq!(ensured(&pair, Duration::ZERO), Outcome::Kept);
}

#[test]
fn a_person_s_own_certificate_is_never_touched() {
    let dir = tempfile::tempdir().unwrap();
    let pair = pair(&dir);
    ensured(&pair, NOW);
    fs::write(&pair.certificate, "theirs").unwrap();
    fs::write(&pair.key, "theirs too").unwrap();
    assert_eq!(ensured(&pair, NOW + days(10_000)), Outcome::Foreign);
    assert_eq!(fs::read(&pair.certificate).unwrap(), b"theirs");
    fs::remove_file(&pair.key).unwrap();
    let error = ensure(&pair, &wish(), NOW).unwrap_err();
    assert!(matches!(error, Error::Incomplete { ref path } if *path == pair.key), "{error}");
}

#[test]
fn an_address_that_comes_after_the_first_start_gets_into_the_certificate_once() {
    let dir = tempfile::tempdir().unwrap();
    let pair = pair(&dir);
    let before = Wish { addresses: vec!["127.0.0.1".parse().unwrap()], ..wish() };
    assert_eq!(ensure(&pair, &before, NOW).unwrap(), Outcome::Made);
    let may = Wish { extend: true, ..before.clone() };
    let link_local = Wish { addresses: vec!["fe80::1".parse().unwrap()], ..may.clone() };
    assert_eq!(ensure(&pair, &may, NOW).unwrap(), Outcome::Kept);
    assert_eq!(ensure(&pair, &link_local, NOW).unwrap(), Outcome::Kept, "that alone is no reason");
    assert_eq!(ensure(&pair, &wish(), NOW).unwrap(), Outcome::Kept, "not twice in a run");
    let after = Wish { extend: true, ..wish() };
    assert_eq!(ensure(&pair, &after, NOW).unwrap(), Outcome::Extended);
    assert_eq!(ensure(&pair, &after, NOW).unwrap(), Outcome::Kept);
    let fewer = Wish { addresses: vec!["::1".parse().unwrap()], ..after.clone() };
    assert_eq!(ensure(&pair, &fewer, NOW).unwrap(), Outcome::Kept, "fewer addresses are no reason either");
    let renamed = Wish { names: names("other"), ..after };
    assert_eq!(ensure(&pair, &renamed, NOW).unwrap(), Outcome::Extended);
    fs::write(&pair.certificate, "theirs").unwrap();
    fs::write(&pair.key, "theirs too").unwrap();
    assert_eq!(ensure(&pair, &Wish { extend: true, ..wish() }, NOW).unwrap(), Outcome::Foreign);
}

#[test]
fn a_marker_without_names_is_an_earlier_release_s() {
    let dir = tempfile::tempdir().unwrap();
    let pair = pair(&dir);
    ensured(&pair, NOW);
    let text = fs::read_to_string(&pair.marker).unwrap();
    let mut made: serde_json::Value = serde_json::from_str(&text).unwrap();
    made[0].as_object_mut().unwrap().remove("alternatives").unwrap();
    fs::write(&pair.marker, made.to_string()).unwrap();
    assert_eq!(ensured(&pair, NOW), Outcome::Kept);
    assert_eq!(ensure(&pair, &Wish { extend: true, ..wish() }, NOW).unwrap(), Outcome::Extended);
}

#[test]
fn a_power_cut_at_any_step_is_repaired_by_the_next_start() {
    for step in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let pair = pair(&dir);
        ensured(&pair, NOW);
        let read =
            |pair: &Pair| [&pair.marker, &pair.key, &pair.certificate].map(|path| fs::read(path).unwrap());
        let old = read(&pair);
        let old_made: Vec<Made> = serde_json::from_slice(&old[0]).unwrap();
        let late = NOW + days(VALID_DAYS);
        ensured(&pair, late);
        let new = read(&pair);
        let new_made: Vec<Made> = serde_json::from_slice(&new[0]).unwrap();
        // Put back what had not been written at that step.
        let both: Vec<Made> = old_made.into_iter().chain(new_made).collect();
        fs::write(&pair.marker, serde_json::to_vec(&both).unwrap()).unwrap();
        fs::write(&pair.key, if step >= 1 { &new[1] } else { &old[1] }).unwrap();
        fs::write(&pair.certificate, if step >= 2 { &new[2] } else { &old[2] }).unwrap();
        if step >= 3 {
            fs::write(&pair.marker, &new[0]).unwrap();
        }
        let outcome = ensured(&pair, late);
        let expected = [Outcome::Renewed, Outcome::Made, Outcome::Kept, Outcome::Kept];
        assert_eq!(outcome, expected[step]);
        assert_eq!(ensured(&pair, late), Outcome::Kept);
    }
}

#[test]
fn names_are_the_host_s_and_no_nonsense() {
    assert_eq!(names("kvm.example.org"), ["kvm.example.org", "kvm.local", "localhost"]);
    assert_eq!(names("localhost"), ["localhost", "localhost.local"]);
    assert_eq!(names("(none)"), ["localhost"]);
}

proptest! {
    #[test]
    fn no_host_name_keeps_us_from_making_a_certificate(host in ".*") {
        let names = names(&host);
        prop_assert!(names.contains(&"localhost".to_owned()));
        prop_assert!(CertificateParams::new(names).is_ok());
    }
}
