//! `/system`: the machine itself. Our own, not PiKVM's. The supervisor, which is root, does it and is asked.

use crate::{
    answer::{self, Answer},
    failure::Failure,
    routes::Entry,
};
use actix_web::web::{self, Data};
use client::{
    supervisor::{Error, Supervisor},
    system::{Ask, State, Told},
};
use model::ErrorClass;

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[Entry::get("/system", || web::to(show))];

async fn show(supervisor: Data<Supervisor>) -> Answer {
    Ok(answer::ok(&model::event::to_value(&state(&supervisor).await?)))
}

/// How the system is.
pub async fn state(supervisor: &Supervisor) -> Result<State, Failure> {
    match supervisor.system(Ask::Show).await {
        Ok(Told::State { state }) => Ok(*state),
        Ok(other) => Err(refused(other)),
        Err(error) => Err(failure(error)),
    }
}

/// Has something done.
pub async fn done(supervisor: &Supervisor, ask: Ask) -> Result<(), Failure> {
    match supervisor.system(ask).await {
        Ok(Told::Done) => Ok(()),
        Ok(other) => Err(refused(other)),
        Err(error) => Err(failure(error)),
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

/// What the supervisor could not do is told in its words; that it cannot be asked is our own fault.
fn failure(error: Error) -> Failure {
    match error {
        Error::Failed(reason) => Failure::new(ErrorClass::Unavailable, reason),
        other => Failure::internal(other),
    }
}
