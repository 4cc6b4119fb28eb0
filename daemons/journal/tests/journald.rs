//! Against a real journald of our own, in a mount namespace of its own. Needs root, `unshare` and systemd-journald;
//! where one is missing, the tests print the reason and return.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking and say why they skip")]

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use journal::{Place, Query, Reader, Records, Settings, SystemJournal};

const JOURNALD: &str = "/lib/systemd/systemd-journald";
/// Not a measure of anything: a test that would otherwise hang fails after this.
const LIMIT: Duration = Duration::from_secs(30);

/// Puts the directories where journald expects them, seen by nobody else.
const SCRIPT: &str = r#"
    set -e
    mount --make-rprivate /
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/systemd/journal /run/log/journal
    mount --bind "$1/sockets" /run/systemd/journal
    mount --bind "$1/log" /run/log/journal
    mount --bind "$1/machine-id" /etc/machine-id
    mount --bind "$1/journald.conf" /etc/systemd/journald.conf
    exec "$2"
"#;

struct Journald {
    dir: tempfile::TempDir,
    child: Child,
}

impl Journald {
    fn start() -> Option<Self> {
        let why = if !nix::unistd::geteuid().is_root() {
            "not root"
        } else if !Path::new(JOURNALD).exists() {
            "no systemd-journald"
        } else if !Path::new("/etc/machine-id").exists() || !Path::new("/etc/systemd/journald.conf").exists()
        {
            "no /etc/machine-id or journald.conf to mount over"
        } else if !Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success())
        {
            "no mount namespaces"
        } else {
            return Some(Self::start_private());
        };
        testkit::skip(why);
        None
    }

    fn start_private() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("sockets")).unwrap();
        fs::create_dir(path("log")).unwrap();
        fs::write(path("machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
        let conf = "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nForwardToSyslog=no\nRateLimitBurst=0\nSyncIntervalSec=1\n";
        fs::write(path("journald.conf"), conf).unwrap();
        let child = Command::new("unshare")
            .args(["-m", "sh", "-c", SCRIPT, "sh"])
            .arg(dir.path())
            .arg(JOURNALD)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let journald = Self { dir, child };
        until("journald opens its socket and a file", || {
            journald.socket().exists() && journald.directory().join("system.journal").exists()
        });
        journald
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("sockets/socket")
    }

    fn directory(&self) -> PathBuf {
        self.dir.path().join("log/0123456789abcdef0123456789abcdef")
    }

    /// The native protocol: text fields as `NAME=value`, binary ones with a length.
    fn write(&self, identifier: &str, message: &[u8]) {
        let mut datagram = format!("SYSLOG_IDENTIFIER={identifier}\nPRIORITY=6\nMESSAGE\n").into_bytes();
        datagram.extend_from_slice(&(message.len() as u64).to_le_bytes());
        datagram.extend_from_slice(message);
        datagram.push(b'\n');
        UnixDatagram::unbound().unwrap().send_to(&datagram, self.socket()).unwrap();
    }

    fn reader(&self, change: impl FnOnce(&mut Settings)) -> Reader {
        let mut settings =
            Settings { place: Place::Directory(self.dir.path().join("log")), ..Settings::default() };
        change(&mut settings);
        Reader::new(Arc::new(SystemJournal::new(settings)), 4)
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "gave up waiting until {what}");
        std::thread::yield_now();
    }
}

async fn next(records: &mut Records) -> String {
    let record = tokio::time::timeout(LIMIT, records.next()).await.unwrap().unwrap().unwrap();
    format!("{} {}", record.unit, record.message)
}

const ALL: Query = Query { since: Duration::ZERO, follow: false };
const FOLLOW: Query = Query { since: Duration::ZERO, follow: true };

/// Everything there is, in order.
async fn everything(reader: &Reader, query: Query) -> Vec<String> {
    let mut records = reader.read(query).await.unwrap();
    let mut found = Vec::new();
    while let Some(record) = records.next().await {
        let record = record.unwrap();
        found.push(format!("{} {}", record.unit, record.message));
    }
    found
}

/// Follows until this record has come; records written before it are then in the journal.
async fn settle(reader: &Reader, last: &str) {
    let mut records = reader.read(FOLLOW).await.unwrap();
    while next(&mut records).await != last {}
}

#[tokio::test]
async fn records_of_our_daemons_come_back_in_order_and_made_safe() {
    let Some(journald) = Journald::start() else { return };
    let reader = journald.reader(|settings| settings.max_message_bytes = 100);
    journald.write("kvmd", b"first");
    journald.write("sshd", b"not ours");
    journald.write("kvmd-streamer", b"two\nlines\x1b[0m");
    journald.write("kvmd-new", "x".repeat(20_000).as_bytes());
    journald.write("kvmd", b"last");
    settle(&reader, "kvmd.service last").await;
    let found = everything(&reader, ALL).await;
    let long = format!("kvmd-new.service {}…", "x".repeat(97));
    assert_eq!(
        found,
        ["kvmd.service first", "kvmd-streamer.service two\\nlines\\u{1b}[0m", &long, "kvmd.service last"]
    );
}

#[tokio::test]
async fn seeking_leaves_out_what_is_older() {
    let Some(journald) = Journald::start() else { return };
    let reader = journald.reader(|_| {});
    journald.write("kvmd", b"old");
    settle(&reader, "kvmd.service old").await;
    let mut records = reader.read(FOLLOW).await.unwrap();
    let old_us = records.next().await.unwrap().unwrap().time_us;
    // A second later by the clock the journal writes, however long that takes.
    let age = move || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        now.saturating_sub(Duration::from_micros(old_us))
    };
    until("the record is old", || age() > Duration::from_millis(1_500));
    journald.write("kvmd", b"new");
    settle(&reader, "kvmd.service new").await;
    let since = |since| Query { since, follow: false };
    let just_younger = age().saturating_sub(Duration::from_millis(200));
    assert_eq!(everything(&reader, since(just_younger)).await, ["kvmd.service new"]);
    for far in [3_600, 999_999_999, u64::MAX] {
        assert_eq!(everything(&reader, since(Duration::from_secs(far))).await.len(), 2, "{far}");
    }
}

#[tokio::test]
async fn following_delivers_new_records_and_skips_strangers() {
    let Some(journald) = Journald::start() else { return };
    journald.write("kvmd", b"before");
    let reader = journald.reader(|_| {});
    let mut records = reader.read(FOLLOW).await.unwrap();
    assert_eq!(next(&mut records).await, "kvmd.service before");
    for n in 0..20 {
        journald.write("other", b"noise");
        journald.write("kvmd-supervisor", n.to_string().as_bytes());
        let start = Instant::now();
        assert_eq!(next(&mut records).await, format!("kvmd-supervisor.service {n}"));
        println!("new record after {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn fields_the_journal_vouches_for_keep_out_who_only_claims_a_name() {
    let Some(journald) = Journald::start() else { return };
    journald.write("kvmd", b"written by this test, as root");
    settle(&journald.reader(|_| {}), "kvmd.service written by this test, as root").await;
    let mine = std::env::current_exe().unwrap();
    let by_uid = |uid| journald.reader(move |settings| settings.uids = vec![uid]);
    let by_program = |program: &Path| {
        let program = program.to_owned();
        journald.reader(move |settings| settings.programs = vec![program])
    };
    assert_eq!(everything(&by_uid(0), ALL).await.len(), 1);
    assert_eq!(everything(&by_uid(4_242), ALL).await.len(), 0);
    assert_eq!(everything(&by_program(&mine), ALL).await.len(), 1);
    assert_eq!(everything(&by_program(Path::new("/usr/bin/kvmd")), ALL).await.len(), 0);
}

#[tokio::test]
async fn a_dropped_follower_gives_its_place_back() {
    let Some(journald) = Journald::start() else { return };
    let reader = Reader::new(
        Arc::new(SystemJournal::new(Settings {
            place: Place::Directory(journald.dir.path().join("log")),
            ..Settings::default()
        })),
        1,
    );
    let start = Instant::now();
    for _ in 0..3 {
        let records = loop {
            match reader.read(FOLLOW).await {
                Err(journal::Error::Busy) => tokio::task::yield_now().await,
                other => break other.unwrap(),
            }
            assert!(start.elapsed() < LIMIT, "the place never came back");
        };
        drop(records);
    }
}
