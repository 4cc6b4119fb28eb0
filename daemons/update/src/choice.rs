//! The boot choice: which release starts next, and what every event does to it. Pure.
//!
//! ```text
//!                install ends (set_primary)                    the boot loader starts it
//!   settled ─────────────────────────────▶ pending: trial, ────────────────────────────▶ on trial: tried
//!      ▲  ▲                                 not tried   ◀──────────────────────────────    │  │
//!      │  │                                              an orderly stop in the trial       │  │
//!      │  └───────────────────── found good: it is the primary now ────────────────────────┘  │
//!      └────────── anything else (crash, power, watchdog, not good): the primary starts again ┘
//! ```
//!
//! **Only a trial can fail.** The primary is started as often as it takes: a good release that loses power early, or that
//! a person restarts, is not counted against. There is no counter, so no start of a good release writes anything.

use crate::Slot;

/// What the next start will take, as it is kept on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The release that is known to be good.
    pub primary: Slot,
    /// The release to be tried, if there is one.
    pub trial: Option<Slot>,
    /// The trial was started, and has not ended orderly since.
    pub tried: bool,
    /// A slot that must not be started: half written, or found not good.
    pub bad: Option<Slot>,
}

/// Why a change of the choice is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It would leave no release to start.
    #[error("slot {0} holds the only release known to be good: it is kept")]
    OnlyGood(Slot),
    /// The slot holds nothing that could be started.
    #[error("slot {0} holds no release that could be started")]
    Bad(Slot),
}

/// How the release that runs stands with the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the primary, and nothing is to be tried.
    Settled,
    /// It is the primary, and the other slot is tried at the next start.
    Pending,
    /// It is being tried.
    OnTrial,
    /// It is the primary, and runs because the trial of the other slot ended without a mark.
    FellBack,
    /// It is neither: the boot loader could not load the primary.
    Stranded,
}

impl Choice {
    /// Nothing but a primary.
    #[must_use]
    pub const fn settled(primary: Slot) -> Self {
        Self { primary, trial: None, tried: false, bad: None }
    }

    /// The same with contradictions removed: what is read from a disk may hold any.
    #[must_use]
    pub fn tidy(self) -> Self {
        let bad = self.bad.filter(|bad| *bad != self.primary);
        let trial = self.trial.filter(|trial| *trial != self.primary && Some(*trial) != bad);
        Self { primary: self.primary, trial, tried: self.tried && trial.is_some(), bad }
    }

    /// How the release that runs from `running` stands with it.
    #[must_use]
    pub fn standing(&self, running: Slot) -> Standing {
        match (self.trial, running == self.primary) {
            (None, true) => Standing::Settled,
            (Some(_), true) if self.tried => Standing::FellBack,
            (Some(_), true) => Standing::Pending,
            (Some(_), false) => Standing::OnTrial,
            (None, false) => Standing::Stranded,
        }
    }

    /// What the next start takes, as far as one can say (a trial by `tryboot` needs the firmware to be asked for it).
    #[must_use]
    pub fn next(&self) -> Slot {
        self.trial.filter(|_| !self.tried).unwrap_or(self.primary)
    }

    /// Whether a slot may be started.
    #[must_use]
    pub fn is_good(&self, slot: Slot) -> bool {
        self.bad != Some(slot)
    }

    /// `slot` was written as a whole, or is wanted again: it is tried at the next start. The primary itself: nothing is.
    #[must_use]
    pub fn with_primary(self, slot: Slot) -> Self {
        let bad = self.bad.filter(|bad| *bad != slot);
        Self { trial: Some(slot), tried: false, bad, ..self }.tidy()
    }

    /// `slot` was found good. It becomes the primary if it is the one that runs.
    #[must_use]
    pub fn with_good(self, slot: Slot, running: Slot) -> Self {
        let bad = self.bad.filter(|bad| *bad != slot);
        if slot == running && slot != self.primary {
            return Self { primary: slot, trial: None, tried: false, bad };
        }
        Self { bad, ..self }.tidy()
    }

    /// `slot` must not be started: it is about to be written, or was found not good.
    ///
    /// # Errors
    ///
    /// [`Refused::OnlyGood`] for the primary.
    pub fn with_bad(self, slot: Slot) -> Result<Self, Refused> {
        if slot == self.primary {
            return Err(Refused::OnlyGood(slot));
        }
        Ok(Self { bad: Some(slot), ..self }.tidy())
    }

    /// A person wants the other slot's release: tried like a new one, so that one that does not work comes back.
    ///
    /// # Errors
    ///
    /// [`Refused::Bad`] when it must not be started.
    pub fn with_rollback(self, running: Slot) -> Result<Self, Refused> {
        let wanted = running.other();
        if !self.is_good(wanted) {
            return Err(Refused::Bad(wanted));
        }
        Ok(self.with_primary(wanted))
    }

    /// The release at `running` has started. On x86 the boot loader has said so already.
    #[must_use]
    pub fn with_start(self, running: Slot) -> Self {
        Self { tried: self.tried || self.trial == Some(running), ..self }.tidy()
    }

    /// The release at `running` ends orderly: a trial goes on at the next start.
    #[must_use]
    pub fn with_orderly_end(self, running: Slot) -> Self {
        Self { tried: self.tried && self.trial != Some(running), ..self }.tidy()
    }

    /// The trial is over without success.
    #[must_use]
    pub fn with_failed_trial(self) -> Self {
        Self { trial: None, tried: false, bad: self.trial.or(self.bad), ..self }.tidy()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn slot() -> impl Strategy<Value = Slot> {
        prop_oneof![Just(Slot::A), Just(Slot::B)]
    }

    pub(crate) fn choice() -> impl Strategy<Value = Choice> {
        let maybe = || proptest::option::of(slot());
        (slot(), maybe(), any::<bool>(), maybe())
            .prop_map(|(primary, trial, tried, bad)| Choice { primary, trial, tried, bad }.tidy())
    }

    /// What the boot loader does with it: marks the trial, and says which slot starts.
    pub(crate) fn start(choice: Choice) -> (Choice, Slot) {
        match choice.trial.filter(|_| !choice.tried) {
            Some(trial) => (Choice { tried: true, ..choice }, trial),
            None => (choice, choice.primary),
        }
    }

    #[test]
    fn an_update_is_tried_once_and_then_kept() {
        let old = Choice::settled(Slot::A);
        let written = old.with_bad(Slot::B).unwrap();
        assert_eq!(written.next(), Slot::A, "half written");
        let pending = written.with_primary(Slot::B);
        assert_eq!((pending.standing(Slot::A), pending.next()), (Standing::Pending, Slot::B));
        let (tried, running) = start(pending);
        assert_eq!((running, tried.standing(running)), (Slot::B, Standing::OnTrial));
        assert_eq!(tried.with_good(running, running), Choice::settled(Slot::B));
    }

    #[test]
    fn a_trial_without_a_mark_is_not_started_again() {
        let (tried, _) = start(Choice::settled(Slot::A).with_primary(Slot::B));
        let (after, running) = start(tried);
        assert_eq!((running, after.standing(running)), (Slot::A, Standing::FellBack));
        let told = after.with_failed_trial();
        assert_eq!((told.standing(Slot::A), told.bad), (Standing::Settled, Some(Slot::B)));
    }

    #[test]
    fn a_persons_own_restart_goes_on_with_the_trial() {
        let (tried, running) = start(Choice::settled(Slot::A).with_primary(Slot::B));
        let (again, running) = start(tried.with_orderly_end(running));
        assert_eq!((running, again.standing(running)), (Slot::B, Standing::OnTrial));
    }

    #[test]
    fn the_release_that_runs_cannot_be_written_over_by_marking_it_bad() {
        let choice = Choice::settled(Slot::A).with_primary(Slot::B);
        assert_eq!(choice.with_bad(Slot::A), Err(Refused::OnlyGood(Slot::A)));
        let (tried, _) = start(choice);
        assert_eq!(tried.with_bad(Slot::A), Err(Refused::OnlyGood(Slot::A)), "in a trial it is the way back");
    }

    #[test]
    fn going_back_is_a_trial_too_and_never_to_a_broken_release() {
        let choice = Choice::settled(Slot::B);
        assert_eq!(choice.with_rollback(Slot::B).unwrap().next(), Slot::A);
        assert_eq!(choice.with_bad(Slot::A).unwrap().with_rollback(Slot::B), Err(Refused::Bad(Slot::A)));
        let (tried, running) = start(choice.with_primary(Slot::A));
        let back = tried.with_rollback(running).unwrap();
        assert_eq!(back.next(), Slot::B, "out of a trial it is the primary");
        assert_eq!(back.trial, None);
    }

    #[derive(Debug, Clone)]
    enum Event {
        Install(bool),
        Good,
        NotGood,
        OrderlyRestart,
        Crash,
        Rollback,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            any::<bool>().prop_map(Event::Install),
            Just(Event::Good),
            Just(Event::NotGood),
            Just(Event::OrderlyRestart),
            Just(Event::Crash),
            Just(Event::Rollback),
        ]
    }

    proptest! {
        /// The disk holds a release in each slot or not; whatever happens in whatever order, what starts is whole, and
        /// what is kept was found good.
        #[test]
        fn what_starts_is_whole_and_what_is_kept_was_good(events in proptest::collection::vec(event(), 0..40)) {
            let mut whole = [true, false];
            let mut good = [true, false];
            let at = |slot: Slot| usize::from(slot == Slot::B);
            let mut choice = Choice::settled(Slot::A).with_bad(Slot::B).unwrap();
            let mut running = Slot::A;
            for event in events {
                match event {
                    Event::Install(finishes) => {
                        let target = running.other();
                        let Ok(begun) = choice.with_bad(target) else {
                            prop_assert_eq!(choice.standing(running), Standing::OnTrial);
                            continue;
                        };
                        choice = begun;
                        (whole[at(target)], good[at(target)]) = (finishes, false);
                        if finishes {
                            choice = choice.with_primary(target);
                        } else {
                            (choice, running) = start(choice);
                        }
                    }
                    Event::Good => {
                        good[at(running)] = true;
                        choice = choice.with_good(running, running);
                    }
                    Event::NotGood => if choice.standing(running) == Standing::OnTrial {
                        good[at(running)] = false;
                        choice = choice.with_failed_trial();
                        (choice, running) = start(choice);
                    },
                    Event::OrderlyRestart => (choice, running) = start(choice.with_orderly_end(running)),
                    Event::Crash => {
                        (choice, running) = start(choice);
                        if choice.standing(running) == Standing::FellBack {
                            choice = choice.with_failed_trial();
                        }
                    }
                    Event::Rollback => if let Ok(back) = choice.with_rollback(running) {
                        (choice, running) = start(back);
                    },
                }
                choice = choice.with_start(running);
                prop_assert_eq!(choice, choice.tidy());
                prop_assert!(whole[at(running)], "a half written slot runs");
                prop_assert!(whole[at(choice.next())], "a half written slot is next");
                prop_assert!(good[at(choice.primary)], "the primary was never found good");
                prop_assert_ne!(choice.standing(running), Standing::Stranded);
            }
        }

        #[test]
        fn a_trial_that_crashes_is_followed_by_the_primary(choice in choice()) {
            let (tried, first) = start(choice);
            let (_, second) = start(tried);
            prop_assert!(second == choice.primary);
            prop_assert!(first == choice.primary || choice.trial == Some(first));
        }
    }
}
