//! `/system`: the machine itself. Our own, not PiKVM's. The supervisor, which is root, does it and is asked.
//!
//! | Path | Takes |
//! |---|---|
//! | `GET /system` | nothing; tells the whole [`State`] |
//! | `POST /system/hostname` | `name` |
//! | `POST /system/timezone` | `name` |
//! | `POST /system/ssh_keys` | a body of lines as in `authorized_keys` |
//! | `POST /system/ssh_password_login` | `enabled` |
//! | `POST /system/network` | a JSON body; it is on trial until `POST /system/network/confirm`, or `undo`, or a minute is over |
//! | `POST /system/reboot` | nothing |
//! | `POST /system/factory_reset` | `confirm=1`, `drive` |

use crate::{
    answer::{self, Answer},
    body,
    failure::Failure,
    query::Query,
    routes::Entry,
    ws::hub::Hub,
};
use actix_web::{
    HttpResponse,
    web::{self, Data},
};
use auth::Role;
use client::{
    supervisor::{Error, Supervisor},
    system::{Ask, Network, State, Told},
};
use model::{ErrorClass, Event, check, event};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[
    Entry::get("/system", || web::to(show)),
    Entry::post("/system/hostname", || web::to(hostname)).by(Role::Admin),
    Entry::post("/system/timezone", || web::to(timezone)).by(Role::Admin),
    Entry::post("/system/ssh_keys", || web::to(ssh_keys)).by(Role::Admin),
    Entry::post("/system/ssh_password_login", || web::to(ssh_password_login)).by(Role::Admin),
    Entry::post("/system/network", || web::to(network)).by(Role::Admin),
    Entry::post("/system/network/confirm", || web::to(confirm_network)).by(Role::Admin),
    Entry::post("/system/network/undo", || web::to(undo_network)).by(Role::Admin),
    Entry::post("/system/reboot", || web::to(reboot)).by(Role::Admin),
    Entry::post("/system/factory_reset", || web::to(factory_reset)).by(Role::Admin),
];

/// How often the system is looked at while somebody is there. It may be changed from a shell.
const LOOK: Duration = Duration::from_secs(5);

async fn show(supervisor: Data<Supervisor>) -> Answer {
    Ok(answer::ok(&event::to_value(&state(&supervisor).await?)))
}

async fn hostname(supervisor: Data<Supervisor>, changed: Data<Changed>, query: Query) -> Answer {
    let name = query.get("name").ok_or_else(|| Failure::invalid("The parameter name is missing"))?;
    change(&supervisor, &changed, Ask::SetHostname { name: name.to_owned() }).await
}

async fn timezone(supervisor: Data<Supervisor>, changed: Data<Changed>, query: Query) -> Answer {
    let name = query.get("name").ok_or_else(|| Failure::invalid("The parameter name is missing"))?;
    change(&supervisor, &changed, Ask::SetTimezone { name: name.to_owned() }).await
}

async fn ssh_keys(
    supervisor: Data<Supervisor>,
    changed: Data<Changed>,
    payload: web::Payload,
) -> Result<HttpResponse, body::Error> {
    let body = body::read_form(payload).await?;
    let text = body::text(&body, None)?;
    let keys = text.lines().map(str::to_owned).collect();
    Ok(change(&supervisor, &changed, Ask::SetSshKeys { keys }).await?)
}

async fn ssh_password_login(supervisor: Data<Supervisor>, changed: Data<Changed>, query: Query) -> Answer {
    let on = query.optional("enabled", check::boolean)?;
    let on = on.ok_or_else(|| Failure::invalid("The parameter enabled is missing"))?;
    change(&supervisor, &changed, Ask::AllowSshPassword { on }).await
}

async fn network(
    supervisor: Data<Supervisor>,
    changed: Data<Changed>,
    payload: web::Payload,
) -> Result<HttpResponse, body::Error> {
    let body = body::read_form(payload).await?;
    let network: Network = serde_json::from_slice(&body)
        // Where, not what: a password may stand there.
        .map_err(|bad| {
            Failure::invalid(format!(
                "The body is not network settings: line {}, column {}",
                bad.line(),
                bad.column()
            ))
        })?;
    Ok(change(&supervisor, &changed, Ask::TryNetwork { network }).await?)
}

async fn confirm_network(supervisor: Data<Supervisor>, changed: Data<Changed>) -> Answer {
    change(&supervisor, &changed, Ask::ConfirmNetwork).await
}

async fn undo_network(supervisor: Data<Supervisor>, changed: Data<Changed>) -> Answer {
    change(&supervisor, &changed, Ask::UndoNetwork).await
}

async fn reboot(supervisor: Data<Supervisor>, changed: Data<Changed>) -> Answer {
    change(&supervisor, &changed, Ask::Reboot).await
}

async fn factory_reset(supervisor: Data<Supervisor>, changed: Data<Changed>, query: Query) -> Answer {
    if query.optional("confirm", check::boolean)? != Some(true) {
        return Err(Failure::invalid("A factory reset forgets everything: it needs confirm=1"));
    }
    let drive = query.optional("drive", check::boolean)?.unwrap_or(false);
    change(&supervisor, &changed, Ask::FactoryReset { drive }).await
}

async fn change(supervisor: &Supervisor, changed: &Changed, ask: Ask) -> Answer {
    done(supervisor, ask).await?;
    changed.0.notify_one();
    Ok(answer::nothing())
}

/// How the system is.
pub async fn state(supervisor: &Supervisor) -> Result<State, Failure> {
    match supervisor.system(Ask::Show).await {
        Ok(Told::State { state }) => Ok(*state),
        Ok(other) => Err(refused(other)),
        Err(error) => Err(failure(error, false)),
    }
}

/// Has something done.
pub async fn done(supervisor: &Supervisor, ask: Ask) -> Result<(), Failure> {
    let by_shell = matches!(ask, Ask::SetSshKeys { .. } | Ask::AllowSshPassword { .. });
    match supervisor.system(ask).await {
        Ok(Told::Done) => Ok(()),
        Ok(other) => Err(refused(other)),
        Err(error) => Err(failure(error, by_shell)),
    }
}

fn refused(told: Told) -> Failure {
    match told {
        Told::NotImage => Failure::new(
            ErrorClass::NotImage,
            "This is not a system that was started from an appliance image",
        ),
        Told::Invalid { reason } => Failure::invalid(reason),
        other @ (Told::Done | Told::State { .. } | Told::Claim { .. }) => {
            Failure::internal(format!("the supervisor told something else: {other:?}"))
        }
    }
}

/// What the supervisor could not do is told in its words; that it cannot be asked is our own fault. `by_shell`: the settings
/// may leave it to a shell.
fn failure(error: Error, by_shell: bool) -> Failure {
    match error {
        Error::Failed(reason) => Failure::new(ErrorClass::Unavailable, reason),
        Error::Refused if by_shell => Failure::new(
            ErrorClass::Forbidden,
            "The settings leave this to a shell on the appliance (supervisor.ssh_by_web)",
        ),
        other => Failure::internal(other),
    }
}

/// Says that the system was changed through us, so that it is looked at at once.
#[derive(Debug, Clone, Default)]
pub struct Changed(Arc<Notify>);

/// What WebSocket clients are told of the system: all of it, to whoever is new and at every change. Looked at only while
/// somebody is there. The result tells whoever is new.
pub fn watch(
    supervisor: Supervisor,
    changed: Changed,
    hub: &Hub,
    stop: &CancellationToken,
) -> Box<dyn Fn() -> Vec<Event> + Send> {
    let known: Arc<Mutex<Option<Event>>> = Arc::default();
    let shown = Arc::clone(&known);
    let full = move || known.lock().unwrap_or_else(PoisonError::into_inner).clone().into_iter().collect();
    let (hub, stop) = (hub.clone(), stop.clone());
    tokio::spawn(async move { stop.run_until_cancelled(follow(supervisor, changed, hub, shown)).await });
    Box::new(full)
}

async fn follow(supervisor: Supervisor, changed: Changed, hub: Hub, shown: Arc<Mutex<Option<Event>>>) {
    let mut population = hub.population();
    while population.wait_for(|clients| *clients > 0).await.is_ok() {
        // One that cannot be asked says nothing new.
        if let Ok(state) = state(&supervisor).await
            // Elsewhere there is nothing of it to see, and an event that PiKVM has not.
            && state.image
        {
            let new = Event::of(SYSTEM, &comparable(state));
            let told = shown.lock().unwrap_or_else(PoisonError::into_inner).replace(new.clone());
            if told.as_ref() != Some(&new) {
                hub.tell(vec![new]).await;
            }
        }
        let _ = timeout(LOOK, changed.0.notified()).await;
    }
}

/// The name of the event.
const SYSTEM: &str = "system";

/// A trial's time goes by without being news: whole seconds in fives.
fn comparable(mut state: State) -> State {
    state.network_trial_ms = state.network_trial_ms.map(|left| left.div_ceil(5000) * 5000);
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_has_its_class() {
        for (told, class, status) in [
            (Told::NotImage, "NotImageError", 400),
            (Told::Invalid { reason: "x".into() }, "ValidatorError", 400),
            (Told::Done, "InternalError", 500),
        ] {
            let failure = refused(told);
            assert_eq!((failure.class.name(), failure.class.status()), (class, status));
        }
        assert_eq!(failure(Error::Failed("why".into()), false).message, "why");
        for (by_shell, class) in [(true, "ForbiddenError"), (false, "InternalError")] {
            assert_eq!(failure(Error::Refused, by_shell).class.name(), class);
        }
    }

    #[test]
    fn time_alone_is_no_news() {
        let at = |left| comparable(State { network_trial_ms: left, ..State::default() });
        assert_eq!(at(Some(59_000)), at(Some(56_000)));
        assert_ne!(at(Some(59_000)), at(Some(54_000)));
        assert_ne!(at(Some(1)), at(None));
    }
}
