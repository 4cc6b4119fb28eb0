//! Lines and nodes on the laboratory's kernel: what a killed `kvmd` leaves, and who may open what.
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use config::{Args, Config};
use gpio::chip::{CONSUMER, Settings as Chip};
use gpio::line::{Output, Outputs};
use gpio::{Marks, PinUse};
use supervisor::account::Accounts;
use supervisor::lines::Lines;
use supervisor::nodes::Nodes;
use testkit::lab::{GpioSim, inside, wait_for};

const LIMIT: Duration = Duration::from_secs(30);
const POWER: u32 = 23;
const BOTH: u32 = 20;
const SWITCH: u32 = 21;
const BUTTON: u32 = 26;

fn config(text: &str) -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/override.yaml"), text).unwrap();
    let config = config::load(&Args { state: Some(dir.path().to_owned()), ..Args::default() }).unwrap().0;
    (dir, config)
}

fn panel(sim: &GpioSim) -> (tempfile::TempDir, Config) {
    config(&format!(
        "kvmd:\n  atx: {{type: gpio, device: {0}}}\n  gpio:\n    drivers: {{__gpio__: {{device: {0}}}}}\n    scheme:\n\
         \x20     both: {{pin: {BOTH}, mode: output}}\n\
         \x20     switch: {{pin: {SWITCH}, mode: output, pulse: false}}\n\
         \x20     button: {{pin: {BUTTON}, mode: output, switch: false}}\n",
        sim.node().display()
    ))
}

fn button_lines(sim: &GpioSim) -> Outputs {
    atx::GpioSettings { device: sim.node().to_owned(), ..atx::GpioSettings::default() }.switches()
}

fn switch_lines(sim: &GpioSim) -> Outputs {
    let pin = |offset: u32| PinUse::Output { pin: offset.to_string(), initial: None };
    gpio::chip::outputs(&Chip { device: sim.node().to_owned() }, &[BOTH, SWITCH, BUTTON].map(pin))
        .unwrap()
        .unwrap()
}

fn take(handed: &mut Vec<(String, OwnedFd)>, name: &str) -> OwnedFd {
    let at = handed.iter().position(|(have, _)| have == name);
    assert!(at.is_some(), "{name:?} among {handed:?}");
    handed.remove(at.unwrap()).1
}

/// Not a test of its own: stands for a `kvmd` that is killed. It drives everything that was handed over high.
#[test]
#[ignore = "a process for others to kill"]
fn holder() {
    let sim = GpioSim::open().unwrap();
    let buttons = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let switches = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
    button_lines(&sim).shared(buttons).set(POWER, true).unwrap();
    let mut switches = switch_lines(&sim).shared(switches);
    for line in [BOTH, SWITCH, BUTTON] {
        switches.set(line, true).unwrap();
    }
    loop {
        std::thread::park();
    }
}

fn start_holder(buttons: OwnedFd, switches: OwnedFd) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holder", "--ignored", "--nocapture"])
        .stdin(buttons)
        .stdout(switches)
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_kvmd_leaves_buttons_and_pulses_at_rest_and_switches_as_they_were() {
    if !inside() {
        return;
    }
    let sim = GpioSim::open().unwrap();
    let (_dir, config) = panel(&sim);
    let lines = Lines::new(&config).unwrap().unwrap();
    for pulsed in [true, false] {
        let mut handed = lines.hand_over();
        let marks = Marks::new(take(&mut handed, "pulses"));
        let buttons = take(&mut handed, &button_lines(&sim).descriptor_name("atx"));
        let switches = take(&mut handed, &switch_lines(&sim).descriptor_name("gpio.__gpio__"));
        assert!(handed.is_empty());
        marks.set(pulsed.then_some("both")).unwrap();
        let mut child = start_holder(buttons, switches);
        wait_for("all lines", LIMIT, || {
            [POWER, BOTH, SWITCH, BUTTON].iter().all(|line| sim.level(*line).unwrap())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(sim.level(POWER).unwrap(), "held, so that nothing moves by itself");
        lines.rest();
        let levels = [POWER, BUTTON, BOTH, SWITCH].map(|line| sim.level(line).unwrap());
        assert_eq!(levels, [false, false, !pulsed, true], "pulsed: {pulsed}");
        assert!(marks.get().is_empty());
    }
}

#[test]
fn lines_of_a_chip_that_went_away_are_taken_anew() {
    if !inside() {
        return;
    }
    let sim = GpioSim::open().unwrap();
    let (_dir, config) = panel(&sim);
    let lines = Lines::new(&config).unwrap().unwrap();
    assert_eq!(lines.hand_over().len(), 3);
    let live = Path::new("/sys/kernel/config/gpio-sim/lab/live");
    fs::write(live, "0").unwrap();
    assert_eq!(lines.hand_over().len(), 1, "the marks alone");
    lines.rest();
    fs::write(live, "1").unwrap();
    let sim = GpioSim::open().unwrap();
    let mut handed = lines.hand_over();
    let buttons = take(&mut handed, &button_lines(&sim).descriptor_name("atx"));
    button_lines(&sim).shared(buttons).set(POWER, true).unwrap();
    assert!(sim.level(POWER).unwrap());
}

#[test]
fn lines_that_somebody_else_has_are_left_to_kvmd() {
    if !inside() {
        return;
    }
    let sim = GpioSim::open().unwrap();
    let line = Output { offset: SWITCH, initial: None };
    let mut other = Outputs::new(sim.node().to_owned(), CONSUMER, vec![line]);
    other.take().unwrap();
    let (_dir, config) = panel(&sim);
    let lines = Lines::new(&config).unwrap().unwrap();
    let handed: Vec<_> = lines.hand_over().into_iter().map(|(name, _)| name).collect();
    assert_eq!(handed, [button_lines(&sim).descriptor_name("atx").as_str(), "pulses"]);
}

fn uid(path: &Path) -> u32 {
    fs::metadata(path).unwrap().uid()
}

#[tokio::test]
async fn nodes_are_given_and_given_again_when_they_come_back_and_taken_back_at_the_end() {
    if !inside() {
        return;
    }
    let sim = GpioSim::open().unwrap();
    // By a link, as udev makes them.
    symlink(sim.node().file_name().unwrap(), "/dev/panel").unwrap();
    symlink("/dev/mem", "/dev/trap").unwrap();
    let (_dir, config) = config(
        "kvmd:\n  atx: {type: gpio, device: /dev/panel}\n  gpio:\n    drivers: {d: {type: gpio, device: /dev/trap}}\n\
         \x20   scheme: {a: {driver: d, pin: 1, mode: input}}\n",
    );
    let accounts = Accounts::find(&config.supervisor.users);
    let nodes = Nodes::new(&config, &accounts).unwrap();
    nodes.give();
    let kvmd = accounts.kvmd.uid;
    assert_eq!(uid(sim.node()), kvmd);
    if Path::new("/dev/mem").exists() {
        assert_eq!(uid(Path::new("/dev/mem")), 0, "not every character device is a GPIO chip");
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let watching = tokio::spawn(nodes.clone().watch(stop.clone()));
    let live = Path::new("/sys/kernel/config/gpio-sim/lab/live");
    for _ in 0..3 {
        fs::write(live, "0").unwrap();
        fs::write(live, "1").unwrap();
        let node = GpioSim::open().unwrap().node().to_owned();
        let given = async {
            while !node.exists() || uid(&node) != kvmd {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(LIMIT, given).await.unwrap();
    }
    stop.cancel();
    watching.await.unwrap();
    nodes.close();
    assert_eq!(uid(GpioSim::open().unwrap().node()), 0);
}
