//! The supervisor as a process, with children that only pretend: this test program itself behind small scripts.
//!
//! Time-outs here are for hangs. The one bound that is a promise, "back within 2 s of a kill", is checked on the
//! supervisor's own dates where it can be (`service`), and here generously.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says by a panic what is wrong, and prints figures for those who look"
)]

#[path = "processes/child.rs"]
mod child;
#[path = "processes/started.rs"]
mod started;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use client::supervisor::{Answer, Request, ServiceState};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use started::{Started, is_root, wait_for};

/// Not a test: what the scripts run.
#[test]
fn pretend_to_be_a_daemon() {
    if let Ok(role) = std::env::var("PRETEND") {
        child::run(&role);
    }
}

#[test]
fn the_url_is_printed_when_kvmd_is_ready_and_sigterm_leaves_nothing() {
    let mut started = Started::new("good");
    assert!(started.url().starts_with("https://127.0.0.1:"), "{}", started.url());
    let status = started.status();
    assert!(status.ready);
    assert_eq!(started.state("kvmd"), ServiceState::Ready);
    assert_eq!(started.state("kvmd-streamer"), ServiceState::Stopped);
    let pid = started.pid("kvmd").unwrap();
    assert_eq!(started.stop(), Some(0));
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    let left: Vec<_> = std::fs::read_dir(started.state_dir().join("run/notify")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!started.state_dir().join("run/supervisor.sock").exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(started.state_dir().to_str().unwrap()));
}

#[test]
fn twenty_kills_in_a_row_and_the_listening_socket_never_closes() {
    let started = Started::new("good");
    started.ask(&Request::StartStreamer);
    for name in ["kvmd", "kvmd-streamer"] {
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            let old = wait_for(name, || started.pid(name));
            kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
            let began = Instant::now();
            // Queued while nobody serves, never refused.
            let connection = TcpStream::connect(started.address()).unwrap();
            wait_for(name, || started.pid(name).filter(|pid| *pid != old));
            longest = longest.max(began.elapsed());
            drop(connection);
        }
        println!("{name}: back after {longest:?} at most");
        wait_for("readiness", || (started.state(name) == ServiceState::Ready).then_some(()));
        let service = started.service(name);
        assert_eq!(service.restarts, 20);
        assert_eq!(service.last_end.as_deref(), Some("killed by SIGKILL"));
    }
    assert_eq!(started.zombies(), Vec::<i32>::new());
    assert_eq!(started.served(), "kvmd", "the queue is served by the last kvmd");
}

#[test]
fn children_have_nothing_they_should_not() {
    let started = Started::new("good");
    started.ask(&Request::StartStreamer);
    wait_for("the streamer", || (started.state("kvmd-streamer") == ServiceState::Ready).then_some(()));
    for (name, uid, names) in
        [("kvmd", 960, "https:http:kvmd:ring:tls-cert:tls-key"), ("kvmd-streamer", 961, "ring:streamer")]
    {
        let pid = started.pid(name).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).unwrap();
            line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(field("NoNewPrivs"), ["1"]);
        assert_eq!(field("Umask"), ["0027"]);
        if is_root() && nix::unistd::User::from_name(name).unwrap().is_none() {
            for set in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
                assert_eq!(field(set), ["0000000000000000"], "{name} {set}");
            }
            assert_eq!(field("Uid"), vec![uid.to_string(); 4]);
            assert_eq!(field("Gid"), vec![uid.to_string(); 4]);
        }
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environ: Vec<_> = environ.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let value = |name: &str| {
            environ.iter().find_map(|line| line.strip_prefix(&format!("{name}="))).map(str::to_owned)
        };
        assert_eq!(value("LISTEN_PID"), Some(pid.to_string()));
        assert_eq!(value("LISTEN_FDNAMES").as_deref(), Some(names));
        assert_eq!(value("SECRET_OF_THE_SUPERVISOR"), None);
        let notify = value("NOTIFY_SOCKET").unwrap();
        assert!(notify.ends_with(&format!("/run/notify/{name}")), "not the supervisor's own: {notify}");
        assert_eq!(value("WATCHDOG_PID"), None);
        // Standard streams, what was passed, and what the child opened itself; nothing of the supervisor's.
        for number in 3..3 + names.split(':').count() {
            assert!(std::fs::read_link(format!("/proc/{pid}/fd/{number}")).is_ok(), "{name}: {number}");
        }
        let null = std::fs::read_link(format!("/proc/{pid}/fd/0")).unwrap();
        assert_eq!(null.to_str(), Some("/dev/null"));
        assert_eq!(started.strays(pid), Vec::<String>::new());
    }
}

#[test]
fn the_key_is_root_s_and_the_control_socket_is_not_everybody_s() {
    let started = Started::new("good");
    let state = started.state_dir();
    let mode = |path: &str| std::fs::metadata(state.join(path)).unwrap().mode() & 0o777;
    assert_eq!(mode("var/tls/server.key"), 0o600);
    assert_eq!(mode("var/kvmd/htpasswd"), 0o600);
    assert_eq!(mode("run/supervisor.sock"), 0o660);
    assert_eq!(mode("run/kvmd.sock"), 0o660);
    assert!(started.log().contains("password \"admin\""), "the first password is said:\n{}", started.log());
    assert_eq!(
        started.ask(&Request::Restart { service: "nobody".into() }),
        Answer::Unknown { service: "nobody".into() }
    );
}

#[test]
fn a_child_that_never_gets_ready_is_a_visible_crash_loop() {
    let started = Started::without_url("crash");
    wait_for("a crash loop", || (started.state("kvmd") == ServiceState::CrashLoop).then_some(()));
    let service = started.service("kvmd");
    assert_eq!(service.last_end.as_deref(), Some("exit status 7"));
    assert!(service.restarts >= 5);
    assert!(!started.status().ready);
}

#[test]
fn a_program_that_is_missing_is_named() {
    let started = Started::without_url("missing");
    let end = wait_for("an end", || started.service("kvmd").last_end);
    assert!(end.contains("cannot be started") && end.contains("No such file"), "{end}");
}

#[test]
fn a_child_that_falls_silent_is_replaced() {
    let started = Started::with_settings("silent", "supervisor: {deadlines: {watchdog: 1}}\n");
    let end = wait_for("the watchdog", || started.service("kvmd").last_end);
    assert!(end.starts_with("watchdog"), "{end}");
}

#[test]
fn a_child_that_never_stops_talking_starves_nobody() {
    let mut started = Started::new("flood");
    started.ask(&Request::StartStreamer);
    wait_for("the streamer", || (started.state("kvmd-streamer") == ServiceState::Ready).then_some(()));
    let began = Instant::now();
    for _ in 0..100 {
        assert!(started.status().ready);
    }
    println!("a hundred answers during the flood took {:?}", began.elapsed());
    let old = started.pid("kvmd").unwrap();
    kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
    wait_for("another kvmd", || started.pid("kvmd").filter(|pid| *pid != old));
    assert_eq!(started.stop(), Some(0));
}

#[test]
fn children_stop_in_reverse_order_and_a_deaf_one_is_killed_with_its_family() {
    let mut started = Started::with_settings("deaf", "supervisor: {deadlines: {stop: 0.5}}\n");
    started.ask(&Request::StartStreamer);
    wait_for("the streamer", || (started.state("kvmd-streamer") == ServiceState::Ready).then_some(()));
    let family = started.descendants();
    assert!(family.len() >= 4, "kvmd and its child, the streamer and its child: {family:?}");
    assert_eq!(started.stop(), Some(0));
    let log = started.log();
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("no {text:?} in\n{log}"));
    assert!(at("kvmd-streamer does not stop: killed") < at("kvmd does not stop: killed"));
    for pid in family {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left");
    }
}

#[test]
fn an_orphan_is_adopted_and_reaped() {
    let started = Started::new("orphans");
    wait_for("five orphans' ends", || (started.log().matches("an orphan ended").count() == 5).then_some(()));
    assert_eq!(started.zombies(), Vec::<i32>::new());
    assert_eq!(started.state("kvmd"), ServiceState::Ready);
}

#[test]
fn the_streamer_comes_and_goes_on_demand() {
    let started = Started::new("good");
    assert_eq!(started.ask(&Request::StartStreamer), Answer::Done);
    wait_for("the streamer", || (started.state("kvmd-streamer") == ServiceState::Ready).then_some(()));
    assert_eq!(started.ask(&Request::StartStreamer), Answer::Done);
    assert_eq!(started.ask(&Request::StopStreamer), Answer::Done);
    wait_for("its end", || (started.state("kvmd-streamer") == ServiceState::Stopped).then_some(()));
    let old = started.pid("kvmd").unwrap();
    assert_eq!(started.ask(&Request::Restart { service: "kvmd".into() }), Answer::Done);
    wait_for("another kvmd", || started.pid("kvmd").filter(|pid| *pid != old));
    assert_eq!(started.service("kvmd").restarts, 0, "asked for, not a crash");
    assert_eq!(started.ask(&Request::RemountMsd { rw: true }), Answer::Done);
}

#[test]
fn killing_the_supervisor_kills_its_children_and_the_next_one_starts_over_the_leavings() {
    let mut started = Started::new("good");
    let family = started.descendants();
    started.kill();
    for pid in family {
        wait_for("the child's end", || (!started::alive(pid)).then_some(()));
    }
    let again = started.again();
    assert_eq!(again.state("kvmd"), ServiceState::Ready);
}

#[test]
fn it_is_init_in_a_pid_namespace() {
    if !is_root() {
        return testkit::skip("only root can make a PID namespace");
    }
    let mut started = Started::as_init("orphans");
    assert_eq!(started.status().pid, 1);
    wait_for("five orphans' ends", || (started.log().matches("an orphan ended").count() == 5).then_some(()));
    assert_eq!(started.zombies(), Vec::<i32>::new());
    started.ask(&Request::Stop);
    assert_eq!(started.wait(), Some(0));
}

#[test]
fn when_kvmd_dies_the_supervisor_releases_every_key_and_button_of_the_target() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    // A target that is only a script; its monitor is the test's.
    let settings = "vm: {enabled: true, accel: tcg, qemu: BIN/qemu}\n";
    let mut started = Started::unready("good", settings);
    let sockets = started.state_dir().join("run/vm");
    wait_for("the target's process", || started.log().contains("vm is started").then_some(()));
    assert!(!started.log().contains("vm is ready"), "nobody answers yet");
    let monitor = vm::fake::Monitor::listen(&sockets.join("qmp-supervisor.sock")).unwrap();
    started.read_url();
    assert_eq!(started.state("vm"), ServiceState::Ready);
    kill(Pid::from_raw(started.pid("kvmd").unwrap()), Signal::SIGKILL).unwrap();
    wait_for("the next kvmd", || (started.log().matches("kvmd is ready").count() == 2).then_some(()));
    let log = started.log();
    let released = log.find("every key and button").unwrap_or_else(|| panic!("no release in\n{log}"));
    let again = log.rfind("kvmd is started").unwrap();
    assert!(released < again, "the next kvmd came before the last key was up:\n{log}");
    let sent: Vec<_> =
        monitor.commands().into_iter().filter(|(name, _)| name == "input-send-event").collect();
    let text = serde_json::to_string(&sent).unwrap();
    for held in ["shift", "ctrl", "meta_l", "left"] {
        assert!(text.contains(&format!("\"{held}\"")), "{held} in {text}");
    }
    assert!(text.contains("\"down\":false") && !text.contains("\"down\":true"));
}

#[test]
fn a_target_that_ends_at_once_is_a_crash_loop_and_nothing_is_called_ready() {
    let settings =
        "supervisor: {crash_loop: {first_delay: 0.01}}\nvm: {enabled: true, accel: tcg, qemu: BIN/qemu}\n";
    let mut started = Started::prepared_with("good", settings, |dir| {
        std::fs::write(dir.join("bin/qemu"), "#!/bin/sh\nexit 3\n").unwrap();
    });
    started.wait_for_control();
    wait_for("a crash loop", || (started.state("vm") == ServiceState::CrashLoop).then_some(()));
    wait_for("kvmd", || (started.state("kvmd") == ServiceState::Ready).then_some(()));
    let service = started.service("vm");
    assert_eq!(service.last_end.as_deref(), Some("exit status 3"));
    assert!((5..10).contains(&service.restarts), "{service:?}");
    assert!(!started.status().ready);
    assert_eq!(started.stop(), Some(0));
    assert_eq!(started.rest_of_output(), "", "no URL");
}

#[test]
fn a_marked_partition_is_mounted_read_only_and_remounted_on_request() {
    if !is_root() {
        return testkit::skip("only root can mount");
    }
    let with_fstab = |dir: &std::path::Path| {
        let etc = dir.join("state/etc");
        std::fs::create_dir_all(&etc).unwrap();
        let target = dir.join("state/var/msd");
        let line = format!("none {} tmpfs ro,X-kvmd.otgmsd-user=kvmd 0 0\n", target.display());
        std::fs::write(etc.join("fstab"), line).unwrap();
    };
    let mut started = Started::with_files("good", with_fstab);
    let options = |started: &Started| {
        let text = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let target = started.state_dir().join("var/msd");
        let line = text.lines().find(|line| line.split(' ').nth(1) == target.to_str()).map(str::to_owned);
        line.map(|line| line.split(' ').nth(3).unwrap().to_owned())
    };
    wait_for("the mount", || (started.state("storage") == ServiceState::Ready).then_some(()));
    let now = options(&started).unwrap();
    for option in ["ro", "nosuid", "nodev", "noexec", "nosymfollow"] {
        assert!(now.split(',').any(|have| have == option), "{option} in {now}");
    }
    for rw in [true, false] {
        assert_eq!(started.ask(&Request::RemountMsd { rw }), Answer::Done);
        let msd = started.status().msd;
        assert_eq!((msd.mounted, msd.rw), (true, rw));
        let now = options(&started).unwrap();
        assert!(now.starts_with(if rw { "rw," } else { "ro," }), "{now}");
        assert!(now.contains("noexec") && now.contains("nosymfollow"), "{now}");
    }
    // A killed supervisor leaves the mount to the next one, which takes it over and lets it go at its end.
    assert_eq!(started.ask(&Request::RemountMsd { rw: true }), Answer::Done);
    started.kill();
    let mut again = started.again();
    wait_for("the mount", || (again.state("storage") == ServiceState::Ready).then_some(()));
    assert!(options(&again).unwrap().starts_with("ro,"));
    assert_eq!(again.stop(), Some(0));
    assert_eq!(options(&again), None);
}

#[test]
fn our_own_journald_keeps_its_mounts_to_itself_and_the_drive_s_is_seen_by_everybody() {
    let installed = std::path::Path::new("/usr/lib/systemd/systemd-journald").exists();
    if !is_root() || !installed || life::journal_answers(life::JOURNAL) {
        return;
    }
    let settings = "supervisor: {journald: {start: true}}\n";
    let mut started = Started::prepared_with("good", settings, |dir| {
        let etc = dir.join("state/etc");
        std::fs::create_dir_all(&etc).unwrap();
        let target = dir.join("state/var/msd");
        let line = format!("none {} tmpfs ro,X-kvmd.otgmsd-user=kvmd 0 0\n", target.display());
        std::fs::write(etc.join("fstab"), line).unwrap();
    });
    started.read_url();
    assert_eq!(started.status().journal, client::supervisor::Journal::Own, "{}", started.log());
    wait_for("the mount", || (started.state("storage") == ServiceState::Ready).then_some(()));
    let mounts = || std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(mounts().contains(started.state_dir().join("var/msd").to_str().unwrap()), "{}", mounts());
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    let pid = |name: &str| started.pid(name).unwrap().to_string();
    assert_eq!(namespace(&pid("kvmd")), namespace("self"));
    assert_ne!(namespace(&pid("journald")), namespace("self"));
    // It answers to everybody, again after its death too, and not at the machine's place.
    let socket = started.state_dir().join("run/journal/socket");
    assert!(life::journal_answers(&socket));
    let old = started.pid("journald").unwrap();
    kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
    wait_for("another journald", || started.pid("journald").filter(|pid| *pid != old));
    wait_for("its socket", || life::journal_answers(&socket).then_some(()));
    assert!(!life::journal_answers(life::JOURNAL));
    assert_eq!(started.stop(), Some(0));
    assert!(!mounts().contains(started.state_dir().to_str().unwrap()), "{}", mounts());
    assert!(!socket.exists());
}

/// A start over a partition whose device node leads to nothing, with that script as `fsck`.
fn with_broken_card(fsck: &str, seconds: &str) -> Started {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    Started::prepared_with("good", "", |dir| {
        let etc = dir.join("state/etc");
        std::fs::create_dir_all(&etc).unwrap();
        let device = dir.join("card");
        // Loop devices are made on demand; this one nobody has demanded.
        mknod(&device, SFlag::S_IFBLK, Mode::S_IRUSR, makedev(7, 60_000)).unwrap();
        let target = dir.join("state/var/msd");
        let line = format!("{} {} ext4 ro,X-kvmd.otgmsd-user=kvmd 0 0\n", device.display(), target.display());
        std::fs::write(etc.join("fstab"), line).unwrap();
        std::fs::write(dir.join("check-limit"), seconds).unwrap();
        let program = dir.join("path/fsck");
        std::fs::create_dir(dir.join("path")).unwrap();
        std::fs::write(&program, format!("#!/bin/sh\ncd {}\n{fsck}\n", dir.display())).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    })
}

fn remounted(started: &Started, rw: bool) -> Option<String> {
    match started.ask(&Request::RemountMsd { rw }) {
        Answer::Failed { reason } => Some(reason),
        Answer::Done => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_slow_check_of_the_drive_keeps_nobody_waiting_and_a_failed_mount_is_no_drive() {
    if !is_root() {
        return;
    }
    let mut started = with_broken_card("while ! [ -e go ]; do sleep 0.05; done", "600");
    started.read_url();
    assert_eq!(started.state("storage"), ServiceState::Starting);
    assert!(!started.status().msd.rw);
    assert!(remounted(&started, true).unwrap().contains("being checked"));
    std::fs::write(started.state_dir().join("../go"), "").unwrap();
    let why = wait_for("the failure", || started.service("storage").last_end);
    assert!(why.contains("mounting") && why.contains("/card"), "{why}");
    for rw in [true, false] {
        assert_eq!(remounted(&started, rw).as_ref(), Some(&why));
    }
    let msd = started.status().msd;
    assert_eq!((msd.mounted, msd.rw), (false, false));
    let found = std::fs::metadata(started.state_dir().join("var/msd")).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o700), "kvmd must not take it for the drive");
    assert_eq!(started.stop(), Some(0));
}

#[test]
fn a_check_without_end_is_given_up_and_does_not_outlive_us() {
    if !is_root() {
        return;
    }
    let mut started = with_broken_card("sleep 1000 & echo $! > pid; wait", "1");
    started.read_url();
    let why = wait_for("the end of patience", || started.service("storage").last_end);
    assert!(why.contains("took longer than 1 s"), "{why}");
    let pid: i32 =
        std::fs::read_to_string(started.state_dir().join("../pid")).unwrap().trim().parse().unwrap();
    wait_for("the end of the check's family", || (!started::alive(pid)).then_some(()));
    assert_eq!(started.stop(), Some(0));
}

#[test]
fn its_own_parent_hears_of_readiness_life_and_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let heard = |wanted: &str| {
        let mut buffer = [0; 512];
        loop {
            let len =
                socket.recv(&mut buffer).unwrap_or_else(|error| panic!("waiting for {wanted}: {error}"));
            if String::from_utf8_lossy(&buffer[..len]).starts_with(wanted) {
                return String::from_utf8_lossy(&buffer[..len]).into_owned();
            }
        }
    };
    let mut started = Started::as_unit("good", &path);
    heard("READY=1");
    heard("WATCHDOG=1");
    started.ask(&Request::StartStreamer);
    wait_for("its word on the streamer", || heard("STATUS=ready: ").contains("kvmd-streamer").then_some(()));
    assert_eq!(started.stop(), Some(0));
    heard("STOPPING=1");
}

#[test]
fn bad_settings_stop_the_start_with_64() {
    let mut started = Started::unready("good", "vm: {memory: lots}\n");
    assert_eq!(started.wait(), Some(64));
    assert!(started.log().contains("vm"), "{}", started.log());
}

#[test]
fn a_port_in_use_is_said() {
    let first = Started::new("good");
    let port = first.address().rsplit(':').next().unwrap().to_owned();
    let mut second = Started::at_port("good", &port);
    assert_eq!(second.wait(), Some(1));
    let log = second.log();
    assert!(log.contains(&format!("127.0.0.1:{port}")), "{log}");
    assert_eq!(log.matches("os error 98").count(), 1, "the reason is said once: {log}");
}

impl Started {
    /// Who answers at the listening socket.
    fn served(&self) -> String {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.write_all(b"who?").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}
