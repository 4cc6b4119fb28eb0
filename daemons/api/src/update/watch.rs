//! How updates stand, for clients: followed at the supervisor while there are any, and put together with what is uploaded.

use super::{class, upload::Uploads};
use crate::ws::hub::Hub;
use client::{
    supervisor::Supervisor,
    update::{self as wire, Ask, Told},
};
use model::update::{Entry, Problem, Release, RolledBack, State, Upload};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Pause after a supervisor that does not answer.
const RETRY: Duration = Duration::from_secs(3);

/// Follows; nothing is known while nobody watches for the first time, nor where this is no image. Ends with `stop`.
pub fn start(
    supervisor: Supervisor,
    uploads: &Uploads,
    hub: &Hub,
    stop: &CancellationToken,
) -> watch::Receiver<Option<State>> {
    let (told, mut known) = watch::channel(None);
    let follow = follow(supervisor, hub.population(), told);
    let (to, shown) = watch::channel(None);
    let mut upload = uploads.subscribe();
    let together = async move {
        loop {
            tokio::select! {
                changed = known.changed() => if changed.is_err() { return },
                changed = upload.changed() => if changed.is_err() { return },
            }
            let state = known.borrow_and_update().clone();
            let upload = upload.borrow_and_update().clone();
            to.send_replace(state.map(|state| show(&state, upload.as_ref())));
        }
    };
    let stop = stop.clone();
    tokio::spawn(async move { stop.run_until_cancelled(async { tokio::join!(follow, together) }).await });
    shown
}

async fn follow(
    supervisor: Supervisor,
    mut population: watch::Receiver<usize>,
    told: watch::Sender<Option<wire::State>>,
) {
    let mut seen = 0;
    while population.wait_for(|clients| *clients > 0).await.is_ok() {
        match supervisor.update(Ask::Watch { seen }).await {
            Ok(Told::State { number, state }) => {
                if number != seen {
                    told.send_replace(Some(*state));
                }
                seen = number;
            }
            Ok(Told::NotImage) => return,
            _ => tokio::time::sleep(RETRY).await,
        }
    }
}

/// As clients see it.
pub fn show(state: &wire::State, upload: Option<&Upload>) -> State {
    let mut shown = State {
        release: Release {
            version: state.version.clone(),
            board: state.board.clone(),
            compatible: state.compatible.clone(),
            build: state.build.clone(),
            floor: state.floor.clone(),
        },
        slot: state.slot.clone(),
        kept: state.kept.clone(),
        other: state.other.clone(),
        trial: state.phase == wire::Phase::Trial,
        error: state.problem.as_ref().map(|problem| Problem {
            error: class(problem.kind).name().to_owned(),
            error_msg: problem.reason.clone(),
        }),
        upload: upload.cloned(),
        history: state.history.iter().map(entry).collect(),
        ..State::default()
    };
    let name = match state.phase.clone() {
        wire::Phase::Idle => "idle",
        wire::Phase::Checking => "checking",
        wire::Phase::Installing { version, percent, message } => {
            shown.version = Some(version);
            (shown.percent, shown.message) = (Some(percent), Some(message));
            "installing"
        }
        wire::Phase::Ready { version } => {
            shown.version = Some(version);
            "ready"
        }
        wire::Phase::Restarting => "restarting",
        wire::Phase::Trial => "trial",
        wire::Phase::RolledBack { version, reason } => {
            shown.rolled_back = Some(RolledBack { version, reason });
            "rolled_back"
        }
    };
    shown.state = name.to_owned();
    // A restart, say, is not hidden by an upload; that nothing goes on is.
    if let Some(part) = upload.filter(|part| !part.complete)
        && matches!(name, "idle" | "ready" | "rolled_back")
    {
        shown.state = "uploading".to_owned();
        let percent = part.received.saturating_mul(100) / part.size.max(1);
        shown.percent = u8::try_from(percent).ok();
    }
    shown
}

fn entry(entry: &wire::Entry) -> Entry {
    let outcome = match entry.outcome {
        wire::Outcome::Refused => "refused",
        wire::Outcome::Failed => "failed",
        wire::Outcome::Installed => "installed",
        wire::Outcome::Good => "good",
        wire::Outcome::RolledBack => "rolled_back",
    };
    Entry {
        at: entry.at,
        version: entry.version.clone(),
        from: entry.from.clone(),
        slot: entry.slot.clone(),
        outcome: outcome.to_owned(),
        reason: entry.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(phase: wire::Phase) -> wire::State {
        wire::State {
            version: "0.1.0".into(),
            board: "b".into(),
            compatible: "kvmd-b".into(),
            build: "x".into(),
            floor: None,
            slot: "a".into(),
            kept: "a".into(),
            other: None,
            phase,
            problem: Some(wire::Problem { kind: wire::Kind::Signature, reason: "why".into() }),
            history: Vec::new(),
        }
    }

    fn json(phase: wire::Phase, upload: Option<&Upload>) -> serde_json::Value {
        model::event::to_value(&show(&state(phase), upload))
    }

    #[test]
    fn a_state_is_shown_whole() {
        let phase =
            wire::Phase::Installing { version: "0.2.0".into(), percent: 46, message: "copying".into() };
        assert_eq!(
            json(phase, None),
            json!({
                "state": "installing", "version": "0.2.0", "percent": 46, "message": "copying", "trial": false,
                "release": {"version": "0.1.0", "board": "b", "compatible": "kvmd-b", "build": "x", "floor": null},
                "slot": "a", "kept": "a", "other": null, "rolled_back": null, "upload": null, "history": [],
                "error": {"error": "UpdateSignatureError", "error_msg": "why"},
            })
        );
        let back = wire::Phase::RolledBack { version: "0.2.0".into(), reason: "it hung".into() };
        assert_eq!(json(back, None)["rolled_back"], json!({"version": "0.2.0", "reason": "it hung"}));
        assert_eq!(json(wire::Phase::Trial, None)["trial"], true);
    }

    #[test]
    fn an_upload_shows_where_nothing_else_goes_on() {
        let part = Upload { size: 200, received: 50, complete: false, sha256: None };
        let shown = json(wire::Phase::Idle, Some(&part));
        assert_eq!((&shown["state"], &shown["percent"]), (&json!("uploading"), &json!(25)));
        assert_eq!(json(wire::Phase::Trial, Some(&part))["state"], "trial");
        let whole = Upload { received: 200, complete: true, ..part };
        assert_eq!(json(wire::Phase::Idle, Some(&whole))["state"], "idle");
    }
}
