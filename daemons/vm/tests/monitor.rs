//! The monitor client and the actions against the fake machine, on a paused clock.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use vm::fake::Monitor;
use vm::{Error, Qmp, RunState, input, media, power};

struct Bench {
    monitor: Monitor,
    qmp: Qmp,
    dir: TempDir,
    _stop: DropGuard,
}

async fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap_or_else(|error| unreachable!("{error}"));
    let path = dir.path().join("qmp.sock");
    let monitor = Monitor::listen(&path).unwrap_or_else(|error| unreachable!("{error}"));
    let stop = CancellationToken::new();
    let qmp = Qmp::connect(path, stop.clone());
    reach(&qmp, &RunState::Running).await;
    Bench { monitor, qmp, dir, _stop: stop.drop_guard() }
}

async fn reach(qmp: &Qmp, wanted: &RunState) {
    let mut state = qmp.run_state();
    let reached = tokio::time::timeout(Duration::from_secs(60), state.wait_for(|now| now == wanted)).await;
    assert!(reached.is_ok(), "the state stays {:?} instead of {wanted:?}", *qmp.run_state().borrow());
}

fn names(commands: &[(String, Value)]) -> Vec<&str> {
    commands.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_run_state_follows_the_machine() {
    let b = bench().await;
    power::off_hard(&b.qmp).await.unwrap();
    reach(&b.qmp, &RunState::Paused).await;
    power::on(&b.qmp).await.unwrap();
    reach(&b.qmp, &RunState::Running).await;
    b.monitor.power_off();
    reach(&b.qmp, &RunState::Shutdown).await;
    power::on(&b.qmp).await.unwrap();
    reach(&b.qmp, &RunState::Running).await;
    assert_eq!(
        names(&b.monitor.commands()),
        ["stop", "system_reset", "cont", "system_reset", "cont"],
        "a start is a reset first"
    );
}

#[tokio::test(start_paused = true)]
async fn buttons_that_make_no_sense_now_do_nothing() {
    let b = bench().await;
    power::on(&b.qmp).await.unwrap();
    b.monitor.power_off();
    power::off_acpi(&b.qmp).await.unwrap();
    power::reset(&b.qmp).await.unwrap();
    assert_eq!(names(&b.monitor.commands()), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn without_a_machine_a_command_fails_at_once_and_clearly() {
    let dir = tempfile::tempdir().unwrap();
    let qmp = Qmp::connect(dir.path().join("none.sock"), CancellationToken::new());
    assert_eq!(qmp.execute::<Value>("stop", Value::Null).await, Err(Error::Unreachable));
    assert_eq!(*qmp.run_state().borrow(), RunState::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_comes_later_or_again_is_found() {
    let mut b = bench().await;
    assert_eq!(b.qmp.connections(), 1);
    b.monitor.hang_up();
    reach(&b.qmp, &RunState::Unreachable).await;
    reach(&b.qmp, &RunState::Running).await;
    assert_eq!(b.qmp.connections(), 2);
    let path = b.dir.path().join("qmp.sock");
    drop(b.monitor);
    reach(&b.qmp, &RunState::Unreachable).await;
    b.monitor = Monitor::listen(&path).unwrap();
    reach(&b.qmp, &RunState::Running).await;
    assert_eq!(b.qmp.execute::<Value>("stop", Value::Null).await, Ok(json!({})));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_goes_silent_is_unreachable_and_its_command_timed_out() {
    let b = bench().await;
    b.monitor.set_silent(true);
    assert_eq!(power::off_hard(&b.qmp).await, Err(Error::Timeout("stop".into())));
    reach(&b.qmp, &RunState::Unreachable).await;
    assert_eq!(power::off_hard(&b.qmp).await, Err(Error::Unreachable));
    b.monitor.set_silent(false);
    reach(&b.qmp, &RunState::Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_command_cut_off_by_the_end_of_the_machine_is_lost_not_refused() {
    let b = bench().await;
    b.monitor.set_silent(true);
    let qmp = b.qmp.clone();
    let waiting = tokio::spawn(async move { qmp.execute::<Value>("cont", Value::Null).await });
    b.monitor.wait_commands(1).await;
    b.monitor.hang_up();
    assert_eq!(waiting.await.unwrap(), Err(Error::Lost("cont".into())));
}

#[tokio::test(start_paused = true)]
async fn an_endless_line_ends_the_connection_instead_of_filling_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let qmp = Qmp::connect(&path, CancellationToken::new());
    let (mut peer, _) = listener.accept().await.unwrap();
    let sent = async { while peer.write_all(&[b'x'; 65536]).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(3600), sent).await.expect("the client should have hung up");
    let (mut again, _) = listener.accept().await.unwrap();
    again.write_all(b"{\"QMP\": {}}\n").await.unwrap();
    let mut first = [0; 1];
    again.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"{");
    drop(qmp);
}

#[tokio::test(start_paused = true)]
async fn a_thread_may_send_input_too() {
    let b = bench().await;
    let qmp = b.qmp.clone();
    let events = [input::Event::key(30, true).unwrap(), input::Event::key(30, false).unwrap()];
    tokio::task::spawn_blocking(move || input::send_blocking(&qmp, &events)).await.unwrap().unwrap();
    let commands = b.monitor.commands();
    assert_eq!(names(&commands), ["input-send-event"]);
    assert_eq!(commands[0].1["events"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(start_paused = true)]
async fn release_all_leaves_no_key_and_no_button_down() {
    let b = bench().await;
    input::release_all(&b.qmp).await.unwrap();
    let sent = b.monitor.commands();
    let events: Vec<&Value> = sent.iter().flat_map(|(_, a)| a["events"].as_array().unwrap()).collect();
    assert!(events.iter().all(|event| event["data"]["down"] == false));
    let keys = events.iter().filter(|event| event["type"] == "key").count();
    assert_eq!((keys, events.len()), (126, 131));
    let first = events.iter().find(|event| event["type"] == "key").unwrap();
    assert_eq!(first["data"]["key"]["data"], "ctrl", "modifiers come first");
    assert!(sent.iter().skip(1).all(|(_, a)| a["events"].as_array().unwrap().len() <= 5));
}

#[tokio::test(start_paused = true)]
async fn discs_and_flash_drives_go_in_and_out() {
    let b = bench().await;
    media::insert_cd(&b.qmp, Path::new("/srv/a b.iso")).await.unwrap();
    media::plug_flash(&b.qmp, Path::new("/srv/f.img"), true).await.unwrap();
    let state = media::state(&b.qmp).await.unwrap();
    assert_eq!(state.cd.as_deref(), Some("/srv/a b.iso"));
    assert_eq!(state.flash, Some(("/srv/f.img".into(), true)));
    media::eject_cd(&b.qmp).await.unwrap();
    media::unplug_flash(&b.qmp).await.unwrap();
    assert_eq!(media::state(&b.qmp).await.unwrap(), media::Media::default());
    let commands = b.monitor.commands();
    assert_eq!(names(&commands)[3..], ["eject", "device_del", "blockdev-del"]);
    assert_eq!(commands[0].1["read-only-mode"], "read-only");
}

#[tokio::test(start_paused = true)]
async fn unplugging_nothing_is_fine_and_so_is_clearing_up_after_a_half_done_plug() {
    let b = bench().await;
    media::unplug_flash(&b.qmp).await.unwrap();
    b.monitor.refuse("device_add", "no bus");
    b.monitor.refuse("blockdev-del", "busy");
    let refused = media::plug_flash(&b.qmp, Path::new("/srv/f.img"), false).await;
    assert!(matches!(refused, Err(Error::Refused { description, .. }) if description == "no bus"));
    b.monitor.accept_all();
    media::unplug_flash(&b.qmp).await.unwrap();
    media::plug_flash(&b.qmp, Path::new("/srv/f.img"), false).await.unwrap();
    assert_eq!(b.monitor.flash(), Some(("/srv/f.img".into(), false)));
}

#[tokio::test(start_paused = true)]
async fn a_failed_plug_lets_go_of_the_image() {
    let b = bench().await;
    b.monitor.refuse("device_add", "no bus");
    assert!(media::plug_flash(&b.qmp, Path::new("/srv/f.img"), true).await.is_err());
    assert_eq!(names(&b.monitor.commands()), ["blockdev-add", "device_add", "blockdev-del"]);
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_not_text_is_refused_here() {
    use std::os::unix::ffi::OsStrExt;
    let b = bench().await;
    let path = Path::new(std::ffi::OsStr::from_bytes(b"/srv/\xff.iso"));
    assert_eq!(media::insert_cd(&b.qmp, path).await, Err(Error::Path(path.to_owned())));
    assert!(b.monitor.commands().is_empty());
}
