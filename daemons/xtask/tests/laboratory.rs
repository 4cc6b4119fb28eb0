//! The laboratory from outside: it ends as its command ends, and leaves nothing.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the helpers of these tests fail as the tests do"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The laboratory's command line, or nothing where its kernel has not been built.
fn lab() -> Option<Command> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/lab-kernel");
    let output = Command::new(script).arg("--path").output().unwrap();
    let kernel = String::from_utf8(output.stdout).unwrap();
    if !output.status.success() {
        println!("skipped: {}", String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    let mut lab = Command::new(env!("CARGO_BIN_EXE_xtask"));
    lab.args(["lab", "--kernel", kernel.trim(), "--timeout", "120"])
        .env_remove("KVMD_LAB_WITHOUT")
        .stdin(Stdio::null());
    Some(lab)
}

fn sh(mut lab: Command, script: &str) -> Output {
    lab.args(["--", "sh", "-c", script]).output().unwrap()
}

/// Processes with that word on their command line, except for us.
fn left(word: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let words =
        lines.filter(|line| line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes()));
    words.map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
}

#[test]
fn it_ends_as_the_command_ends() {
    for (script, code) in
        [("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
    {
        let Some(lab) = lab() else { return };
        let output = sh(lab, script);
        assert_eq!(output.status.code(), Some(code), "{script}: {output:?}");
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
    let Some(mut lab) = lab() else { return };
    assert_eq!(lab.arg("there-is-no-such-program").output().unwrap().status.code(), Some(127));
}

#[test]
fn output_and_errors_arrive_whole_and_apart() {
    let Some(lab) = lab() else { return };
    let output = sh(lab, "seq 100000; printf 'a\\r\\n\\001\\377' >&2; sleep 1000 &");
    let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert!(output.stdout == expected.as_bytes(), "{} bytes", output.stdout.len());
    assert_eq!(output.stderr, b"a\r\n\x01\xff");
}

#[test]
fn what_is_written_is_forgotten_except_where_it_is_wanted() {
    let (kept, lost) = (tempfile::tempdir_in("/var/tmp").unwrap(), tempfile::tempdir_in("/var/tmp").unwrap());
    let Some(mut lab) = lab() else { return };
    lab.arg("--write").arg(kept.path());
    let script = format!(
        "echo a > {0}/a && echo b > {1}/b && cat {0}/a {1}/b",
        kept.path().display(),
        lost.path().display()
    );
    let output = sh(lab, &script);
    assert_eq!(output.stdout, b"a\nb\n", "{output:?}");
    assert_eq!(fs::read(kept.path().join("a")).unwrap(), b"a\n");
    assert_eq!(fs::read_dir(lost.path()).unwrap().count(), 0);
}

#[test]
fn a_kernel_that_dies_is_an_error_with_its_last_words() {
    let Some(mut lab) = lab() else { return };
    let output = lab.args(["--append", "init=/nonexistent", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("kernel: ") && said.contains("does not boot"), "{said}");
}

#[test]
fn a_command_that_takes_too_long_is_an_error() {
    let Some(mut lab) = lab() else { return };
    let output = lab.args(["--timeout", "3", "sleep", "1000"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
}

#[test]
fn killed_it_leaves_no_process() {
    for signal in ["-KILL", "-TERM", "-INT"] {
        let Some(mut lab) = lab() else { return };
        let mark = format!("mark={}{signal}", std::process::id());
        lab.args(["--append", &mark, "--", "sh", "-c", "echo up; sleep 1000 & sleep 1000"]);
        let mut child = lab.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        assert!(left(&mark).len() > 1, "the kernel is not found by its mark");
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        child.wait().unwrap();
        // After a SIGKILL the keeper still has to notice; nobody can tell us when it did.
        let began = Instant::now();
        while !left(&mark).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", left(&mark));
            std::thread::yield_now();
        }
    }
}
