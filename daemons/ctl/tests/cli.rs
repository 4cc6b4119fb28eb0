//! Whole command lines against a state directory.

#![expect(clippy::unwrap_used, reason = "a test may end that way, its helpers too")]

use std::collections::VecDeque;
use std::ffi::OsString;

use ctl::{Console, Exit, run};

/// A state directory, and what is typed at prompts.
struct Shell {
    dir: tempfile::TempDir,
    typed: VecDeque<&'static str>,
    prompts: Vec<Option<String>>,
}

struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

impl Shell {
    fn new(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/override.yaml"), settings).unwrap();
        Self { dir, typed: VecDeque::new(), prompts: Vec::new() }
    }

    fn run(&mut self, line: &str) -> Ran {
        let mut words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        words.extend(["--state".into(), self.dir.path().into()]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (typed, prompts) = (&mut self.typed, &mut self.prompts);
        let mut secret = |prompt: Option<&str>| {
            prompts.push(prompt.map(str::to_owned));
            typed.pop_front().map(str::to_owned).ok_or_else(|| std::io::Error::other("nothing typed"))
        };
        let exit = run(words, &mut Console { out: &mut out, err: &mut err, secret: &mut secret });
        Ran { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }
}

#[test]
fn good_settings_are_good() {
    let ran = Shell::new("").run("kvmctl config check");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Good, "the settings are good\n"));
}

#[test]
fn a_bad_value_ends_every_verb_with_64() {
    let mut shell = Shell::new("kvmd: {streamer: {quality: best}}");
    for line in ["config check", "config show", "config diff", "status", "logs", "passwd list", "totp show"] {
        let ran = shell.run(&format!("kvmctl {line}"));
        assert_eq!(ran.exit as u8, 64, "{line}");
        assert!(ran.err.contains("override.yaml:1: kvmd.streamer.quality: expected"), "{line}: {}", ran.err);
    }
}

#[test]
fn a_check_in_json_has_each_place() {
    let ran = Shell::new("kvmd:\n  streamer: {quality: best}").run("kvmctl config check --json");
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["errors"][0]["line"], 2);
    assert_eq!(json["errors"][0]["key"], "kvmd.streamer.quality");
}

#[test]
fn an_unknown_key_is_told_and_the_settings_are_good() {
    let mut shell = Shell::new("kvmd: {streamer: {qualiti: 5}}");
    let ran = shell.run("kvmctl config check");
    assert_eq!(ran.exit, Exit::Good);
    assert!(ran.err.contains("did you mean \"quality\"?"), "{}", ran.err);
    assert!(shell.run("kvmctl config show").err.contains("kvmctl config check"));
}

#[test]
fn a_check_tells_errors_and_warnings_together() {
    let ran = Shell::new("kvmd: {hid: {tpye: vm, type: serail}}").run("kvmctl config check");
    assert_eq!(ran.exit, Exit::BadSettings);
    assert!(ran.err.contains("kvmd.hid.type: expected one of"), "{}", ran.err);
    assert!(ran.err.contains("warning:") && ran.err.contains("did you mean \"type\"?"), "{}", ran.err);
}

#[test]
fn one_key_can_be_shown() {
    let mut shell = Shell::new("nginx: {https: {port: 1443}}");
    assert_eq!(shell.run("kvmctl config show nginx.https.port").out, "1443\n");
    let json: serde_json::Value =
        serde_json::from_str(&shell.run("kvmctl config show nginx --json").out).unwrap();
    assert_eq!(json["https"]["port"], 1443);
    assert_eq!(shell.run("kvmctl config show nginx.nothing").exit, Exit::Failed);
    assert_eq!(shell.run("kvmctl config diff").out, "nginx.https.port: 1443  # default: 8443\n");
}

#[test]
fn a_line_that_makes_no_sense_ends_with_2() {
    let mut shell = Shell::new("");
    for line in ["kvmctl", "kvmctl nonsense", "kvmctl logs --since yesterday"] {
        assert_eq!(shell.run(line).exit as u8, 2, "{line}");
    }
    assert_eq!(shell.run("kvmctl --help").exit, Exit::Good);
}

#[test]
fn a_daemon_that_is_not_there_ends_with_69() {
    let mut shell = Shell::new("");
    // So that the log is not looked for in this machine's journal.
    std::fs::create_dir(shell.dir.path().join("journal")).unwrap();
    for line in ["kvmctl status", "kvmctl restart kvmd", "kvmctl logs"] {
        assert_eq!(shell.run(line).exit as u8, 69, "{line}");
    }
}

#[test]
fn a_user_lives_from_add_to_del() {
    let mut shell = Shell::new("");
    shell.typed.extend(["first", "first"]);
    assert_eq!(shell.run("kvmctl passwd add jane").exit, Exit::Good);
    assert_eq!(shell.prompts, [Some("Password: ".to_owned()), Some("Repeat: ".to_owned())]);
    assert_eq!(shell.run("kvmctl passwd list").out, "jane\n");
    let before = shell.file("var/kvmd/htpasswd");
    assert!(before.starts_with("jane:{SSHA512}"), "{before}");

    shell.typed.push_back("second");
    assert_eq!(shell.run("kvmctl passwd set -i jane").exit, Exit::Good);
    assert_eq!(shell.prompts.last(), Some(&None));
    assert_ne!(shell.file("var/kvmd/htpasswd"), before);

    assert_eq!(shell.run("kvmctl role set jane viewer").exit, Exit::Good);
    assert_eq!(shell.run("kvmctl totp init --user jane").exit, Exit::Good);
    assert_eq!(shell.run("kvmctl passwd del jane").exit, Exit::Good);
    assert_eq!(shell.run("kvmctl passwd list").out, "");
    let left = ["roles", "totp.users"].map(|name| shell.file(&format!("var/kvmd/{name}")));
    assert_eq!(left, ["", ""], "whoever comes later by this name has nothing of theirs");
}

#[test]
fn passwords_that_differ_change_nothing() {
    let mut shell = Shell::new("");
    shell.typed.extend(["one", "other"]);
    assert_eq!(shell.run("kvmctl passwd add jane").exit, Exit::Failed);
    assert!(!shell.dir.path().join("var/kvmd/htpasswd").exists());
}

#[test]
fn nobody_is_asked_for_a_password_in_vain() {
    let mut shell = Shell::new("");
    for line in ["passwd set ghost", "passwd add BAD:NAME"] {
        assert_eq!(shell.run(&format!("kvmctl {line}")).exit, Exit::Failed);
    }
    assert!(shell.prompts.is_empty());
}

#[test]
fn the_names_of_pikvms_tools_work() {
    let mut shell = Shell::new("");
    shell.typed.push_back("secret");
    assert_eq!(shell.run("/usr/bin/kvmd-htpasswd add -i -q jane").exit, Exit::Good);
    assert_eq!(shell.run("kvmd-htpasswd list").out, "jane\n");
    assert_eq!(shell.run("kvmd-totp init -n box").exit, Exit::Good);
}

#[test]
fn a_secret_lives_from_init_to_del() {
    let mut shell = Shell::new("");
    assert_eq!(shell.run("kvmctl totp show").exit, Exit::Failed);
    let made = shell.run("kvmctl totp init --name box").out;
    assert!(made.contains("otpauth://totp/PiKVM:box?secret="), "{made}");
    assert_eq!(shell.run("kvmctl totp show --name box").out, made);
    assert_eq!(shell.run("kvmctl totp init").exit, Exit::Failed);
    assert_eq!(shell.run("kvmctl totp init --force").exit, Exit::Good);
    assert_ne!(shell.run("kvmctl totp show --name box").out, made);
    assert_eq!(shell.run("kvmctl totp del").exit, Exit::Good);
    assert_eq!(shell.file("var/kvmd/totp.secret"), "");
}

#[test]
fn root_makes_the_first_user_without_a_code_and_only_the_first() {
    let mut shell = Shell::new("kvmd: {auth: {claim: 'true'}}");
    shell.typed = ["password1", "password1"].into();
    let weak = shell.run("kvmctl claim");
    assert_eq!(weak.exit, Exit::Failed);
    assert!(weak.err.contains("easy to guess"), "{}", weak.err);
    shell.typed = ["correct horse", "correct horse"].into();
    let ran = shell.run("kvmctl claim jane");
    assert_eq!(ran.exit, Exit::Good, "{}", ran.err);
    assert!(shell.file("var/kvmd/htpasswd").starts_with("jane:{SSHA512}"));
    assert!(ran.err.contains("until the next start"), "no supervisor takes the code away: {}", ran.err);
    let again = shell.run("kvmctl claim");
    assert_eq!(again.exit, Exit::Failed);
    assert!(again.err.contains("an owner already"), "{}", again.err);
}

#[test]
fn a_hash_for_a_card_is_printed_and_nothing_is_written() {
    let mut shell = Shell::new("");
    shell.typed = ["correct horse"].into();
    let ran = shell.run("kvmctl passwd hash -i");
    assert_eq!(ran.exit, Exit::Good, "{}", ran.err);
    assert!(auth::hash::verify(ran.out.trim(), "correct horse"), "{}", ran.out);
    assert!(!shell.dir.path().join("var").exists());
}

#[test]
fn what_a_file_holds_is_looked_at_before_anybody_is_asked() {
    let mut shell = Shell::new("");
    let file = shell.dir.path().join("keys");
    std::fs::write(&file, "no key\n").unwrap();
    let ran = shell.run(&format!("kvmctl system ssh-keys {}", file.display()));
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("ssh_keys: expected public keys"), "{}", ran.err);
    let ran = shell.run("kvmctl system network set /nonexistent");
    assert!(ran.exit == Exit::Failed && ran.err.contains("/nonexistent"), "{}", ran.err);
    shell.typed = ["no"].into();
    let ran = shell.run("kvmctl system factory-reset");
    assert!(ran.exit == Exit::Failed && ran.err.contains("nothing was done"), "{}", ran.err);
    assert_eq!(shell.run("kvmctl system reboot").exit, Exit::Unreachable);
}

#[test]
fn roles_are_given_and_taken_and_told() {
    let mut shell = Shell::new("kvmd: {auth: {role: operator}}");
    shell.typed.extend(["pw", "pw"]);
    assert_eq!(shell.run("kvmctl passwd add jane -i -q").exit, Exit::Good);
    assert_eq!(shell.run("kvmctl role list").out, "jane operator\n");
    assert_eq!(shell.run("kvmctl role set jane viewer").exit, Exit::Good);
    assert_eq!(shell.run("kvmctl role set remote admin").exit, Exit::Good);
    assert_eq!(shell.run("kvmctl role list").out, "jane viewer\nremote admin\n");
    assert_eq!(shell.run("kvmctl role set jane root").exit, Exit::Usage);
    assert_eq!(shell.run("kvmctl role set Jane admin").exit, Exit::Failed);
    assert_eq!(shell.run("kvmctl role unset jane").exit, Exit::Good);
    assert_eq!(shell.run("kvmctl role unset jane").exit, Exit::Failed);
    assert_eq!(shell.run("kvmctl role list").out, "jane operator\nremote admin\n");
}

#[test]
fn a_user_may_have_a_secret_of_their_own() {
    let mut shell = Shell::new("");
    assert_eq!(shell.run("kvmctl totp show --user jane").exit, Exit::Failed);
    let made = shell.run("kvmctl totp init --user jane --name box").out;
    assert!(made.contains("otpauth://totp/PiKVM:jane%40box?secret="), "{made}");
    assert_eq!(shell.run("kvmctl totp show --user jane --name box").out, made);
    assert_eq!(shell.run("kvmctl totp show").exit, Exit::Failed, "it is nobody else's");
    assert_eq!(shell.run("kvmctl totp init --user jane").exit, Exit::Failed);
    assert_eq!(shell.run("kvmctl totp init --user jane --force").exit, Exit::Good);
    assert_ne!(shell.run("kvmctl totp show --user jane --name box").out, made);
    assert_eq!(shell.run("kvmctl totp del --user jane").exit, Exit::Good);
    assert_eq!(shell.run("kvmctl totp del --user jane").exit, Exit::Failed);
}
