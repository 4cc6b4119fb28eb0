//! What becomes of the release that runs: how it stands when we begin, and what follows from a judgement.

use std::sync::Arc;
use std::time::Duration;

use crate::history::Outcome;
use crate::state::{Error, Phase};
use crate::{Choice, Settings, Standing, trial};

use super::{Owner, Report};

/// How long after a good release could not be kept that is tried again.
const AGAIN: Duration = Duration::from_secs(10);

impl Owner {
    /// Finds out how the release that runs stands, and what happened before.
    pub(super) async fn begin(&mut self, settings: &Settings) {
        let (slot, other, version) = (self.slot, self.slot.other(), self.release().version.to_string());
        let before = self.off(move |notes, _| {
            // Whatever lies there belongs to an update that was cut off.
            notes.clear();
            notes.note_version(slot, Some(version));
            (notes.cut_off(), notes.failure_of(other))
        });
        let (cut_off, failure) = before.await.unwrap_or_default();
        let choice = match self.change(move |choice| Ok(choice.with_start(slot))).await {
            Ok(choice) => choice,
            Err(error) => {
                log::error!("{error}");
                Choice::settled(slot)
            }
        };
        self.machine.forget_try();
        let standing = choice.standing(slot);
        log::info!("release {} runs from slot {slot}: {standing:?}", self.release().version);
        match standing {
            Standing::Settled => {
                self.settle_or_say().await;
                match failure {
                    // Somebody else has given it up in our place.
                    Some(why) if choice.bad == Some(other) => self.rolled_back(why).await,
                    _ => {
                        let phase = self.idle();
                        // The log of today tells it, too: who judged it wrote into that of another start.
                        if let Phase::RolledBack { version, reason } = &phase {
                            log::warn!("release {version} was tried and is rolled back: {reason}");
                        }
                        self.set_phase(phase).await;
                    }
                }
            }
            Standing::Pending => self.set_phase(self.ready(&choice).await).await,
            Standing::FellBack => {
                let unknown = "it ended without having proved itself: a crash, a hang, or the power failed";
                self.rolled_back(failure.unwrap_or_else(|| unknown.to_owned())).await;
            }
            Standing::OnTrial | Standing::Stranded => {
                self.set_phase(Phase::Trial).await;
                self.judge(settings.deadline, settings.up);
            }
        }
        let _ = self.off(|notes, _| notes.forget_failure()).await;
        match standing {
            Standing::Settled | Standing::Pending => self.stop_install(cut_off).await,
            _ => self.end_install().await,
        }
    }

    pub(super) fn judge(&self, deadline: Duration, up: Duration) {
        let (machine, report) = (Arc::clone(&self.machine), self.report.clone());
        tokio::spawn(async move {
            let judgement = trial::judge(machine.as_ref(), deadline, up).await;
            machine.probed().await;
            let _ = report.send(Report::Judged(judgement)).await;
        });
    }

    /// RAUC outlives us, and what it writes for somebody who is gone nobody would hear of.
    async fn stop_install(&self, cut_off: Option<String>) {
        let Some(version) = cut_off else { return };
        let message = "it was cut off: stopping what is left of it".to_owned();
        self.set_phase(Phase::Installing { version, percent: 0, message }).await;
        let (machine, report) = (Arc::clone(&self.machine), self.report.clone());
        tokio::spawn(async move {
            machine.stop_install().await;
            let _ = report.send(Report::Stopped).await;
        });
    }

    pub(super) async fn judged(&mut self, judgement: Result<(), String>) {
        if self.state.borrow().phase != Phase::Trial {
            return;
        }
        match judgement {
            Ok(()) => {
                if let Err(error) = self.good().await {
                    log::error!("the release is good, but cannot be kept yet: {error}");
                    let report = self.report.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(AGAIN).await;
                        drop(report.send(Report::Judged(Ok(()))).await);
                    });
                }
            }
            Err(why) => self.not_good(&why).await,
        }
    }

    /// The release that runs is good, and is kept.
    pub(super) async fn good(&mut self) -> Result<(), Error> {
        let slot = self.slot;
        // First: a slot that is kept without it would have its settings replaced by the other slot's at the next start.
        self.off(move |notes, _| notes.settle(slot))
            .await?
            .map_err(|error| Error::Failed(format!("its settings cannot be marked as its own: {error}")))?;
        self.change(move |choice| Ok(choice.with_good(slot, slot))).await?;
        self.machine.forget_try();
        let version = self.release().version.to_string();
        log::info!("release {version} is good, and is kept");
        self.record(&version, slot, Outcome::Good, None).await;
        self.set_phase(Phase::Idle).await;
        Ok(())
    }

    /// The release that runs is not good: the one before comes back.
    pub(super) async fn not_good(&mut self, why: &str) {
        let version = self.release().version.to_string();
        let (slot, reason) = (self.slot, why.to_owned());
        let choice = self.off(|_, sel| sel.choice()).await;
        if matches!(choice, Ok(Ok((_, choice))) if choice.standing(slot) == Standing::Stranded) {
            log::error!("release {version} is not good ({why}), and there is no other");
            let problem = Error::Failed(reason).problem();
            self.state.send_modify(|state| state.problem = Some(problem));
            return self.set_phase(Phase::Idle).await;
        }
        log::error!("release {version} is rolled back: {why}");
        self.given_up = true;
        self.record(&version, slot, Outcome::RolledBack, Some(why)).await;
        if let Err(error) = self.change(|choice| Ok(choice.with_failed_trial())).await {
            log::error!("{error}");
        }
        self.set_phase(Phase::Restarting).await;
        let after = Phase::RolledBack { version, reason };
        if let Err(error) = self.machine.restart(false).await {
            log::error!("the machine cannot be restarted: {error}");
            return self.restart_by_force(after).await;
        }
        self.expect_the_end(after, None);
    }

    /// A release that was given up does not run on because an orderly restart is not to be had.
    pub(super) async fn restart_by_force(&self, after: Phase) {
        if let Err(error) = self.machine.restart_by_force().await {
            log::error!("nor by force: {error}");
            return self.set_phase(after).await;
        }
        self.expect_the_end(after, None);
    }

    /// This release came back because the other one ended without a mark, or was given up.
    async fn rolled_back(&mut self, reason: String) {
        let slot = self.slot.other();
        let version = self.off(move |notes, _| notes.version_of(slot)).await.ok().flatten();
        let version = version.unwrap_or_else(|| "the new release".to_owned());
        log::error!("release {version} was tried and is rolled back: {reason}");
        self.record(&version, slot, Outcome::RolledBack, Some(&reason)).await;
        if let Err(error) = self.change(|choice| Ok(choice.with_failed_trial())).await {
            log::error!("{error}");
        }
        self.settle_or_say().await;
        self.set_phase(Phase::RolledBack { version, reason }).await;
    }

    async fn settle_or_say(&self) {
        let slot = self.slot;
        let settled = self.off(move |notes, _| notes.settle(slot)).await;
        if let Ok(Err(error)) = settled {
            log::warn!("the settings of slot {slot} cannot be marked as its own: {error}");
        }
    }
}
