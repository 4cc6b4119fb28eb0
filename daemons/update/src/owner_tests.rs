//! The owner on a temporary partition, with a machine that does as it is told. Time is the runtime's and stands still.

use super::*;
use crate::block::{self, Block};
use crate::state::Kind;
use crate::{Boxed, Bundle, Unfit};
use std::sync::Mutex;

/// What the machine is told to do, and what it was asked.
#[derive(Debug)]
struct Script {
    bundle: Result<Bundle, Unfit>,
    install: Result<(), String>,
    /// Whether RAUC changes the boot choice as it should.
    marks: bool,
    probe: Result<(), String>,
    restarts: Vec<bool>,
    restart: Result<(), String>,
    forced: u32,
    again: bool,
    /// How often nobody probes any more, and an installation was stopped.
    probed: u32,
    stopped: u32,
    upload: bool,
    /// The boot choice is out of reach from the first look at the release on.
    hides: bool,
}

struct Fake {
    sel: Sel,
    dir: PathBuf,
    script: Mutex<Script>,
}

impl Fake {
    fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    fn get<T>(&self, read: impl FnOnce(&Script) -> T) -> T {
        read(&self.script.lock().unwrap())
    }
}

impl Machine for Fake {
    fn take_upload(&self) -> Boxed<'_, Result<Option<PathBuf>, String>> {
        let path = self.dir.join("taken.raucb");
        let there = self.get(|script| script.upload);
        Box::pin(async move {
            if there {
                fs::write(&path, "bundle").unwrap();
            }
            Ok(there.then_some(path))
        })
    }

    fn inspect<'a>(&'a self, _: &'a str) -> Boxed<'a, Result<Bundle, Unfit>> {
        Box::pin(async { self.get(|script| script.bundle.clone()) })
    }

    fn install<'a>(&'a self, _: &'a str, progress: mpsc::Sender<Line>) -> Boxed<'a, Result<(), String>> {
        Box::pin(async move {
            let other = self.sel.choice().unwrap().1.primary.other();
            let change = |to: &dyn Fn(Choice) -> Result<Choice, Refused>| {
                self.sel.change(Choice::settled(Slot::A), |choice| to(choice).map_err(Error::from)).unwrap();
            };
            change(&|choice| choice.with_bad(other));
            let line = Line::Progress { percent: 46, message: "Copying image to rootfs.1".to_owned() };
            progress.send(line).await.unwrap();
            self.get(|script| script.install.clone())?;
            if self.get(|script| script.marks) {
                change(&|choice| Ok(choice.with_primary(other)));
            }
            Ok(())
        })
    }

    fn probe(&self) -> Boxed<'_, Result<(), String>> {
        if self.get(|script| script.hides) {
            let _ = fs::rename(self.dir.join("../sel/grub"), self.dir.join("../sel/away"));
        }
        Box::pin(async { self.get(|script| script.probe.clone()) })
    }

    fn probed(&self) -> Boxed<'_, ()> {
        self.set(|script| script.probed += 1);
        Box::pin(async {})
    }

    fn stop_install(&self) -> Boxed<'_, ()> {
        self.set(|script| script.stopped += 1);
        Box::pin(tokio::time::sleep(Duration::from_secs(1)))
    }

    fn try_again(&self) {
        self.set(|script| script.again = true);
    }

    fn forget_try(&self) {
        self.set(|script| script.again = false);
    }

    fn restart(&self, trial: bool) -> Boxed<'_, Result<(), String>> {
        self.set(|script| script.restarts.push(trial));
        Box::pin(async { self.get(|script| script.restart.clone()) })
    }

    fn restart_by_force(&self) -> Boxed<'_, Result<(), String>> {
        self.set(|script| script.forced += 1);
        Box::pin(async { Ok(()) })
    }
}

/// An image on a temporary directory.
struct Image {
    dir: tempfile::TempDir,
    machine: Arc<Fake>,
}

fn bundle(version: &str) -> Bundle {
    Bundle {
        compatible: "kvmd-test".into(),
        version: version.into(),
        description: None,
        parts: vec!["rootfs".into(), "boot".into()],
    }
}

impl Image {
    fn new(loader: Loader) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let boot = dir.path().join("sel");
        fs::create_dir_all(boot.join("grub")).unwrap();
        for slot in ["a", "b"] {
            fs::create_dir_all(dir.path().join("etc").join(slot)).unwrap();
        }
        match loader {
            Loader::Grub => {
                let values = [("kvmd_primary", "a"), ("kvmd_trial", "none"), ("kvmd_tried", "0")];
                fs::write(boot.join("grub/grubenv"), Block::new(block::GRUB).with(&values).render()).unwrap();
            }
            Loader::Firmware => {
                fs::write(boot.join("autoboot.txt"), crate::autoboot::render(Slot::A)).unwrap();
            }
        }
        let script = Script {
            bundle: Ok(bundle("0.2.0")),
            install: Ok(()),
            marks: true,
            probe: Ok(()),
            restarts: Vec::new(),
            restart: Ok(()),
            forced: 0,
            again: false,
            probed: 0,
            stopped: 0,
            upload: true,
            hides: false,
        };
        let sel = Sel::new(&boot);
        let machine = Fake { sel, dir: dir.path().join("dir"), script: Mutex::new(script) };
        let image = Self { dir, machine: Arc::new(machine) };
        image.runs("a", "0.1.0");
        image
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The release that runs from now on.
    fn runs(&self, slot: &str, version: &str) {
        fs::write(self.path("cmdline"), format!("quiet kvmd.slot={slot} rauc.slot={slot}\n")).unwrap();
        let facts = format!("VERSION={version}\nBOARD=test\nCOMPATIBLE=kvmd-test\nBUILD=x\nFLOOR=0.1.0\n");
        fs::write(self.path("release"), facts).unwrap();
    }

    fn settings(&self) -> Settings {
        Settings {
            boot: self.path("sel"),
            cmdline: self.path("cmdline"),
            release: self.path("release"),
            etc: self.path("etc"),
            dir: self.path("dir"),
            failure: self.path("boot-failure"),
            deadline: Duration::from_secs(120),
            up: Duration::ZERO,
        }
    }

    async fn start(&self) -> Update {
        Update::start(self.settings(), self.machine.clone()).await.unwrap().unwrap()
    }

    /// Installs a release, and waits until it is ready to be tried.
    async fn install(&self) -> Update {
        let update = self.start().await;
        update.install(Source::Upload).await.unwrap();
        phase(&update, is_ready).await;
        update
    }

    /// One whose new release GRUB has started: it is on trial when a supervisor begins.
    async fn on_trial() -> Self {
        let image = Self::new(Loader::Grub);
        image.install().await;
        assert_eq!(image.grub(), Slot::B);
        image.runs("b", "0.2.0");
        image
    }

    fn choice(&self) -> Choice {
        self.machine.sel.choice().unwrap().1
    }

    /// What GRUB does at a start: the slot that starts.
    fn grub(&self) -> Slot {
        let (choice, slot) = crate::choice::tests::start(self.choice());
        self.machine.sel.change(choice, |_| Ok::<_, Error>(choice)).unwrap();
        slot
    }

    fn settled(&self, slot: &str) -> bool {
        self.path("etc").join(slot).join(".settled").exists()
    }
}

async fn phase(update: &Update, wanted: impl Fn(&Phase) -> bool) -> State {
    let mut watch = update.watch();
    let found =
        tokio::time::timeout(Duration::from_secs(3600), watch.wait_for(|state| wanted(&state.phase))).await;
    match found {
        Ok(state) => state.unwrap().clone(),
        Err(_) => panic!("it stays {:?}", update.watch().borrow().phase),
    }
}

fn is_ready(phase: &Phase) -> bool {
    matches!(phase, Phase::Ready { .. })
}

#[tokio::test(start_paused = true)]
async fn an_update_is_installed_tried_and_kept() {
    let image = Image::new(Loader::Grub);
    let update = image.start().await;
    phase(&update, |phase| *phase == Phase::Idle).await;
    assert!(image.settled("a"), "what is the primary is settled");
    update.install(Source::Upload).await.unwrap();
    let state = phase(&update, is_ready).await;
    assert_eq!(state.phase, Phase::Ready { version: "0.2.0".into() });
    assert_eq!(state.history.last().unwrap().outcome, Outcome::Installed);
    assert!(!image.path("dir/taken.raucb").exists(), "the bundle is not kept");
    update.restart().await.unwrap();
    assert_eq!(image.machine.get(|script| script.restarts.clone()), [false]);
    update.end().await;

    assert_eq!(image.grub(), Slot::B);
    image.runs("b", "0.2.0");
    let update = image.start().await;
    let state = phase(&update, |phase| *phase == Phase::Trial).await;
    assert_eq!((state.slot, state.kept), (Slot::B, Slot::A));
    assert!(matches!(update.install(Source::Upload).await, Err(Error::OnTrial)));
    let state = phase(&update, |phase| *phase == Phase::Idle).await;
    assert_eq!((state.kept, state.other.as_deref()), (Slot::B, Some("0.1.0")));
    assert_eq!(state.history.last().unwrap().outcome, Outcome::Good);
    assert!(image.settled("b"));
    assert_eq!(image.choice(), Choice::settled(Slot::B));

    // And back, as a trial again.
    update.rollback().await.unwrap();
    assert_eq!(image.grub(), Slot::A);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_never_serves_is_given_up_at_its_deadline_with_the_reason() {
    let image = Image::on_trial().await;
    image.machine.set(|script| script.probe = Err("web: nobody answers".to_owned()));
    let began = tokio::time::Instant::now();
    let update = image.start().await;
    phase(&update, |phase| *phase == Phase::Restarting).await;
    assert!(began.elapsed() <= Duration::from_secs(120) && began.elapsed() >= Duration::from_secs(110));
    assert_eq!(image.machine.get(|script| script.probed), 1, "what was started for that is stopped");
    assert_eq!(image.machine.get(|script| script.restarts.clone()), [false]);
    update.end().await;
    assert!(!image.settled("b"));

    assert_eq!(image.grub(), Slot::A);
    image.runs("a", "0.1.0");
    let update = image.start().await;
    let state = phase(&update, |phase| matches!(phase, Phase::RolledBack { .. })).await;
    let reason = "not good within 120 s: web: nobody answers".to_owned();
    assert_eq!(state.phase, Phase::RolledBack { version: "0.2.0".into(), reason });
    assert_eq!(state.other, None, "nobody goes back to it");
    assert_eq!(state.history.iter().filter(|entry| entry.outcome == Outcome::RolledBack).count(), 1);
    assert!(matches!(update.rollback().await, Err(Error::NoOther)));
    // A better one may come at any time.
    update.install(Source::At("https://x/y.raucb".into())).await.unwrap();
    phase(&update, is_ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_release_that_was_given_up_is_not_tried_again_though_that_could_not_be_written() {
    let image = Image::on_trial().await;
    image.machine.set(|script| (script.probe, script.hides) = (Err("web: nobody answers".to_owned()), true));
    let update = image.start().await;
    phase(&update, |phase| *phase == Phase::Restarting).await;
    fs::rename(image.path("sel/away"), image.path("sel/grub")).unwrap();
    update.end().await;
    assert_eq!(image.grub(), Slot::A);
}

#[tokio::test(start_paused = true)]
async fn a_good_release_whose_settings_cannot_be_marked_is_kept_once_they_can() {
    let image = Image::on_trial().await;
    let mark = image.path("etc/b/.settled");
    std::os::unix::fs::symlink("/nowhere/settled", &mark).unwrap();
    let update = image.start().await;
    assert!(update.mark_good().await.is_err());
    assert_eq!(image.choice().primary, Slot::A, "else the settings of b would be replaced at its next start");
    fs::remove_file(&mark).unwrap();
    phase(&update, |phase| *phase == Phase::Idle).await;
    assert!(image.settled("b"));
    assert_eq!(image.choice().primary, Slot::B);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_crashes_is_given_up_with_what_is_known() {
    for (told, reason) in [
        (None, "it ended without having proved itself: a crash, a hang, or the power failed"),
        (Some("b it did not start: no system\n"), "it did not start: no system"),
        (
            Some("a an old story\n"),
            "it ended without having proved itself: a crash, a hang, or the power failed",
        ),
    ] {
        let image = Image::new(Loader::Grub);
        image.install().await;
        assert_eq!(image.grub(), Slot::B);
        if let Some(told) = told {
            fs::write(image.path("boot-failure"), told).unwrap();
        }
        assert_eq!(image.grub(), Slot::A);
        let update = image.start().await;
        let state = phase(&update, |phase| matches!(phase, Phase::RolledBack { .. })).await;
        assert_eq!(state.phase, Phase::RolledBack { version: "0.2.0".into(), reason: reason.into() });
        assert_eq!(image.choice().trial, None);
        drop(update);
        // It is still told after the next start, and counted once.
        let state = phase(&image.start().await, |phase| matches!(phase, Phase::RolledBack { .. })).await;
        assert_eq!(state.history.iter().filter(|entry| entry.outcome == Outcome::RolledBack).count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_trial_runs_from_the_start_of_the_machine_not_of_each_supervisor() {
    for (up, least, most) in [(100, 80, 90), (4000, 80, 90), (10, 100, 110)] {
        let image = Image::on_trial().await;
        image.machine.set(|script| script.probe = Err("web: nobody answers".to_owned()));
        let settings = Settings { up: Duration::from_secs(up), ..image.settings() };
        let began = tokio::time::Instant::now();
        let update = Update::start(settings, image.machine.clone()).await.unwrap().unwrap();
        phase(&update, |phase| *phase == Phase::Restarting).await;
        assert!((least..=most).contains(&began.elapsed().as_secs()), "{up}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_was_given_up_in_our_place_is_told_with_its_reason() {
    let image = Image::on_trial().await;
    // Its supervisor never lives; `kvmctl boot give-up` does this.
    let failed = |choice: Choice| Ok::<_, Error>(choice.with_failed_trial());
    image.machine.sel.change(Choice::settled(Slot::A), failed).unwrap();
    fs::write(image.path("boot-failure"), "b its supervisor was silent\n").unwrap();
    assert_eq!(image.grub(), Slot::A);
    image.runs("a", "0.1.0");
    let reason = "its supervisor was silent".to_owned();
    let told = Phase::RolledBack { version: "0.2.0".into(), reason };
    let state = image.start().await.watch().borrow().clone();
    assert_eq!((&state.phase, state.other), (&told, None));
    // Once in the history, and for ever on the page.
    let state = image.start().await.watch().borrow().clone();
    assert_eq!(state.phase, told);
    assert_eq!(state.history.iter().filter(|entry| entry.outcome == Outcome::RolledBack).count(), 1);
    // What was said of a start long ago is no news of another one.
    fs::write(image.path("boot-failure"), "b an old story\n").unwrap();
    image.install().await;
    assert!(!image.path("boot-failure").exists());
}

#[tokio::test(start_paused = true)]
async fn an_installation_that_nobody_hears_of_any_more_is_stopped_and_told() {
    let image = Image::new(Loader::Grub);
    let update = image.start().await;
    phase(&update, |phase| *phase == Phase::Idle).await;
    assert_eq!(image.machine.get(|script| script.stopped), 0);
    for (whole, outcome) in [(false, Outcome::Failed), (true, Outcome::Installed)] {
        fs::write(image.path("dir/installing"), "0.3.0").unwrap();
        if whole {
            let ends = |choice: Choice| Ok::<_, Error>(choice.with_primary(Slot::B));
            image.machine.sel.change(Choice::settled(Slot::A), ends).unwrap();
        }
        let update = image.start().await;
        assert!(matches!(update.install(Source::Upload).await, Err(Error::Busy)));
        let state = phase(&update, |phase| !matches!(phase, Phase::Installing { .. })).await;
        let wanted = if whole { Phase::Ready { version: "0.3.0".into() } } else { Phase::Idle };
        assert_eq!((state.phase, state.problem.is_some()), (wanted, !whole));
        let last = state.history.last().unwrap();
        assert_eq!((last.outcome, last.version.as_str()), (outcome, "0.3.0"));
        assert!(!image.path("dir/installing").exists());
    }
    assert_eq!(image.machine.get(|script| script.stopped), 2);
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_does_not_come_is_not_waited_for_for_ever() {
    let image = Image::new(Loader::Firmware);
    let update = image.install().await;
    update.restart().await.unwrap();
    assert!(image.choice().tried);
    let state = phase(&update, is_ready).await;
    assert!(!image.choice().tried, "nothing of it was tried");
    assert!(state.problem.unwrap().reason.contains("restart"));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_was_given_up_does_not_run_on_where_an_orderly_restart_is_not_to_be_had() {
    for (asked, least) in [(Err("systemctl: no end".to_owned()), 0), (Ok(()), RESTART.as_secs())] {
        let image = Image::on_trial().await;
        image.machine.set(|script| {
            (script.probe, script.restart) = (Err("web: nobody answers".to_owned()), asked);
        });
        let update = image.start().await;
        phase(&update, |phase| *phase == Phase::Restarting).await;
        let began = tokio::time::Instant::now();
        while image.machine.get(|script| script.forced) == 0 {
            assert!(began.elapsed() < 2 * RESTART);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!((least..=least + 2).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        assert_eq!(image.machine.get(|script| script.restarts.clone()), [false]);
        assert_eq!(update.watch().borrow().phase, Phase::Restarting);
        assert_eq!(image.grub(), Slot::A);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_goes_on_to_its_end_after_a_restart_that_did_not_come() {
    for good in [true, false] {
        let image = Image::on_trial().await;
        let probe = if good { Ok(()) } else { Err("web: nobody answers".to_owned()) };
        image.machine.set(|script| script.probe = probe);
        let update = image.start().await;
        phase(&update, |phase| *phase == Phase::Trial).await;
        update.restart().await.unwrap();
        let outcome = |state: &State| state.history.last().map(|entry| entry.outcome);
        let wanted = if good { Outcome::Good } else { Outcome::RolledBack };
        let mut watch = update.watch();
        let found = watch.wait_for(|state| outcome(state) == Some(wanted));
        tokio::time::timeout(Duration::from_secs(3600), found).await.unwrap().unwrap();
        assert_eq!(image.machine.get(|script| script.forced), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_said_for_a_restart_that_did_not_come_is_taken_back() {
    let image = Image::new(Loader::Firmware);
    image.install().await.restart().await.unwrap();
    image.runs("b", "0.2.0");
    let update = image.start().await;
    update.end().await;
    assert!(image.machine.get(|script| script.again), "the machine may be restarting");
    // It was only the supervisor.
    let update = image.start().await;
    assert!(!image.machine.get(|script| script.again));
    image.machine.set(|script| script.again = true);
    phase(&update, |phase| *phase == Phase::Idle).await;
    assert!(!image.machine.get(|script| script.again), "the next restart is of a release that is kept");
}

#[tokio::test(start_paused = true)]
async fn a_persons_own_restart_in_a_trial_is_no_failure() {
    let image = Image::on_trial().await;
    image.machine.set(|script| script.probe = Err("not yet".to_owned()));
    let update = image.start().await;
    phase(&update, |phase| *phase == Phase::Trial).await;
    update.end().await;
    assert_eq!(image.grub(), Slot::B, "it is tried again");
    image.machine.set(|script| script.probe = Ok(()));
    let update = image.start().await;
    phase(&update, |phase| *phase == Phase::Idle).await;
    assert_eq!(image.choice().primary, Slot::B);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_only_started_again_goes_on_with_the_trial() {
    let image = Image::on_trial().await;
    let update = image.start().await;
    phase(&update, |phase| *phase == Phase::Trial).await;
    update.end().await;
    assert!(!image.choice().tried);
    let update = image.start().await;
    phase(&update, |phase| *phase == Phase::Trial).await;
    assert!(image.choice().tried, "from here on a crash counts again");
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_installed_is_refused_and_everything_stays() {
    let image = Image::new(Loader::Grub);
    let update = image.start().await;
    phase(&update, |phase| *phase == Phase::Idle).await;
    for (found, kind) in [
        (Err(Unfit::Signature("x".into())), Kind::Signature),
        (Err(Unfit::NoBundle("x".into())), Kind::Bundle),
        (Ok(Bundle { compatible: "kvmd-rpi4".into(), ..bundle("0.2.0") }), Kind::Board),
        (Ok(bundle("0.0.9")), Kind::Version),
    ] {
        image.machine.set(|script| script.bundle = found);
        let error = update.install(Source::Upload).await.unwrap_err();
        assert_eq!(error.problem().kind, kind, "{error}");
        let state = phase(&update, |phase| *phase == Phase::Idle).await;
        assert_eq!(state.problem.unwrap().kind, kind);
        assert_eq!(state.history.last().unwrap().outcome, Outcome::Refused);
        assert!(!image.path("dir/taken.raucb").exists());
        assert_eq!(image.choice(), Choice::settled(Slot::A));
    }
    image.machine.set(|script| script.upload = false);
    assert!(matches!(update.install(Source::Upload).await, Err(Error::NoUpload)));
}

#[tokio::test(start_paused = true)]
async fn an_install_that_fails_halfway_leaves_a_slot_nobody_starts() {
    let image = Image::new(Loader::Grub);
    fs::create_dir_all(image.path("dir")).unwrap();
    fs::write(image.path("dir/slot-b"), "0.0.5\n").unwrap();
    let update = image.start().await;
    let state = phase(&update, |phase| *phase == Phase::Idle).await;
    assert_eq!(state.other.as_deref(), Some("0.0.5"));
    image.machine.set(|script| script.install = Err("corrupt payload".to_owned()));
    update.install(Source::Upload).await.unwrap();
    let mut watch = update.watch();
    let state =
        watch.wait_for(|state| state.problem.is_some() && state.phase == Phase::Idle).await.unwrap().clone();
    assert_eq!((state.problem.unwrap().kind, state.other), (Kind::Failed, None));
    assert_eq!(image.choice().next(), Slot::A);
    assert!(matches!(update.rollback().await, Err(Error::NoOther)));
    // RAUC that says it is done, without having changed the choice, is not believed.
    image.machine.set(|script| (script.install, script.marks) = (Ok(()), false));
    update.install(Source::Upload).await.unwrap();
    watch.wait_for(|state| state.history.len() == 2).await.unwrap();
    assert_eq!(update.watch().borrow().history[1].outcome, Outcome::Failed);
}

#[tokio::test(start_paused = true)]
async fn an_update_that_waits_can_be_forgotten() {
    let image = Image::new(Loader::Grub);
    let update = image.install().await;
    update.rollback().await.unwrap();
    phase(&update, |phase| *phase == Phase::Idle).await;
    assert_eq!(image.grub(), Slot::A);
    assert!(image.machine.get(|script| script.restarts.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_pis_firmware_is_asked_for_the_trial_and_a_trial_that_ends_is_noticed() {
    let image = Image::new(Loader::Firmware);
    image.install().await;
    // A restart that nobody asked us for: the firmware tries nothing, and nothing has failed.
    let update = image.start().await;
    phase(&update, is_ready).await;
    update.restart().await.unwrap();
    assert_eq!(image.machine.get(|script| script.restarts.clone()), [true]);
    assert!(image.choice().tried);
    // The trial panics; the firmware starts the primary.
    let update = image.start().await;
    phase(&update, |phase| matches!(phase, Phase::RolledBack { .. })).await;
    // One is restarted by a person before it has proved itself.
    update.install(Source::Upload).await.unwrap();
    phase(&update, is_ready).await;
    update.restart().await.unwrap();
    image.runs("b", "0.2.0");
    image.machine.set(|script| script.probe = Err("not yet".to_owned()));
    let update = image.start().await;
    phase(&update, |phase| *phase == Phase::Trial).await;
    update.end().await;
    assert!(image.machine.get(|script| script.again) && !image.choice().tried);
    image.runs("a", "0.1.0");
    image.machine.set(|script| script.probe = Ok(()));
    let update = image.start().await;
    // The next one is good: from then on the firmware starts it by itself.
    update.install(Source::Upload).await.unwrap();
    phase(&update, is_ready).await;
    update.restart().await.unwrap();
    image.runs("b", "0.2.0");
    let update = image.start().await;
    phase(&update, |phase| *phase == Phase::Idle).await;
    assert_eq!(crate::autoboot::primary(&fs::read(image.path("sel/autoboot.txt")).unwrap()), Some(Slot::B));
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_does_not_load_is_replaced_by_what_runs_once_it_is_good() {
    let image = Image::new(Loader::Grub);
    // GRUB could not load slot a, and took b.
    image.runs("b", "0.0.9");
    let update = image.start().await;
    phase(&update, |phase| *phase == Phase::Idle).await;
    assert_eq!(image.choice().primary, Slot::B);
    // One that is not good either is not restarted for ever.
    let image = Image::new(Loader::Grub);
    image.runs("b", "0.0.9");
    image.machine.set(|script| script.probe = Err("web: nobody answers".to_owned()));
    let update = image.start().await;
    let mut watch = update.watch();
    watch.wait_for(|state| state.problem.is_some()).await.unwrap();
    assert!(image.machine.get(|script| script.restarts.is_empty()));
}

#[tokio::test]
async fn where_nothing_says_which_slot_runs_there_is_no_image() {
    let image = Image::new(Loader::Grub);
    fs::write(image.path("cmdline"), "root=/dev/sda1\n").unwrap();
    assert!(Update::start(image.settings(), image.machine.clone()).await.unwrap().is_none());
}
