//! `/streamer/edid`: the monitor that a capture device shows the target. Our own; the shapes are `model::streamer`'s.
//!
//! A new one is on trial until it is confirmed: the streamer takes it back by itself. For that long it is kept running,
//! whoever watches.

use super::owner::Streamer;
use crate::{answer, answer::Answer, failure::Failure, query::Query};
use actix_web::web::Data;
use client::streamer::{Order, Outcome, Refusal};
use model::{ErrorClass, streamer as wire};
use std::time::Duration;
use tokio::time::timeout;

/// How long the streamer may take to start and to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a trial keeps the streamer running: its thirty seconds, and the start.
const TRIAL: Duration = Duration::from_secs(45);

/// A streamer that does not run is not started for a look at it: no GET changes anything.
pub async fn show(streamer: Data<Streamer>) -> Answer {
    if streamer.subscribe().borrow().streamer.is_none() {
        return Err(Failure::new(ErrorClass::Unavailable, "The streamer is not running"));
    }
    order(&streamer, Order::Show).await
}

/// Parameter: `data`.
pub async fn set(streamer: Data<Streamer>, query: Query) -> Answer {
    let data = query.get("data").ok_or_else(|| Failure::invalid("The parameter data is missing"))?;
    let edid: edid::Edid = data.parse().map_err(|error| Failure::invalid(format!("data: {error}")))?;
    streamer.hold(TRIAL).await;
    order(&streamer, Order::Try { data: edid.to_hex() }).await
}

/// Keeps what is on trial.
pub async fn confirm(streamer: Data<Streamer>) -> Answer {
    streamer.hold(ANSWER).await;
    order(&streamer, Order::Confirm).await
}

/// Takes back what is on trial.
pub async fn undo(streamer: Data<Streamer>) -> Answer {
    streamer.hold(ANSWER).await;
    order(&streamer, Order::Undo).await
}

async fn order(streamer: &Streamer, order: Order) -> Answer {
    let asked = client::streamer::order(&streamer.settings().socket, order);
    match timeout(ANSWER, asked).await {
        Ok(Ok(Outcome::Done(monitor))) => Ok(answer::ok(&model::event::to_value(&shown(monitor)))),
        Ok(Ok(Outcome::Refused { reason, text })) => Err(refused(reason, text)),
        Ok(Err(error)) => Err(Failure::new(ErrorClass::Unavailable, format!("The streamer: {error}"))),
        Err(_) => Err(Failure::new(ErrorClass::Unavailable, "The streamer does not answer")),
    }
}

fn refused(reason: Refusal, text: String) -> Failure {
    let class = match reason {
        Refusal::NotSupported => ErrorClass::StreamerEdidNotSupported,
        Refusal::NoDevice => ErrorClass::Unavailable,
        Refusal::Invalid | Refusal::NoTrial => ErrorClass::Validator,
        Refusal::Failed => {
            log::error!("EDID: {text}");
            ErrorClass::Internal
        }
    };
    Failure::new(class, text)
}

fn shown(monitor: client::streamer::Monitor) -> wire::Edid {
    let parsed = monitor.data.parse::<edid::Edid>().ok().map(|edid| {
        let info = edid.info();
        wire::ParsedEdid {
            mfc_id: info.maker,
            product_id: info.product,
            serial: info.serial,
            monitor_name: info.name,
            monitor_serial: info.serial_text,
            audio: info.audio,
        }
    });
    let trial = monitor.trial_ms.map(|left| Duration::from_millis(left).as_secs_f64());
    wire::Edid { data: monitor.data, parsed, trial, saved: monitor.saved }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_status() {
        for (reason, status) in [
            (Refusal::NotSupported, 400),
            (Refusal::Invalid, 400),
            (Refusal::NoTrial, 400),
            (Refusal::NoDevice, 503),
            (Refusal::Failed, 500),
        ] {
            assert_eq!(refused(reason, "x".to_owned()).class.status(), status);
        }
    }

    #[test]
    fn what_is_unsound_is_shown_without_being_read() {
        let monitor = client::streamer::Monitor { data: "00".into(), trial_ms: Some(1500), saved: None };
        let shown = model::event::to_value(&shown(monitor));
        let wanted = serde_json::json!({"data": "00", "parsed": null, "trial": 1.5, "saved": null});
        assert_eq!(shown, wanted);
    }
}
