//! `/system/update`: new releases of the system. Our own, not PiKVM's.
//!
//! | Path | Takes |
//! |---|---|
//! | `GET /system/update` | nothing; tells the whole state |
//! | `POST /system/update/upload` | a bundle as the body, its length announced; `sha256` to have it compared |
//! | `POST /system/update/install` | the uploaded bundle, or `url`: read from there while it is installed |
//! | `POST /system/update/reboot` | nothing; into the new release where there is one |
//! | `POST /system/update/rollback` | nothing; to the release before, or none that waits for its start |
//!
//! A bundle is received here ([`upload`]); the supervisor, which is root, takes it from there, looks at it and installs it.

pub mod upload;
pub mod watch;

use self::{upload::Uploads, watch::show};
use crate::{
    answer::{self, Answer},
    body,
    failure::Failure,
    query::Query,
    routes::Entry,
};
use actix_web::{
    HttpRequest,
    http::header,
    web::{self, Data},
};
use auth::Role;
use client::{
    supervisor::{Error, Supervisor},
    update::{Ask, Kind, Phase, Source, State, Told},
};
use model::{ErrorClass, event};
use serde_json::json;

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[
    Entry::get("/system/update", || web::to(state)),
    Entry::post("/system/update/upload", || web::to(receive)).by(Role::Admin),
    Entry::post("/system/update/install", || web::to(install)).by(Role::Admin),
    Entry::post("/system/update/reboot", || web::to(reboot)).by(Role::Admin),
    Entry::post("/system/update/rollback", || web::to(rollback)).by(Role::Admin),
];

async fn state(supervisor: Data<Supervisor>, uploads: Data<Uploads>) -> Answer {
    let state = ask(&supervisor).await?;
    let upload = uploads.subscribe().borrow().clone();
    Ok(answer::ok(&event::to_value(&show(&state, upload.as_ref()))))
}

async fn receive(
    supervisor: Data<Supervisor>,
    uploads: Data<Uploads>,
    query: Query,
    request: HttpRequest,
    mut bundle: web::Payload,
) -> Answer {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let size = length.and_then(|text| text.trim().parse().ok());
    let size = size.ok_or_else(|| Failure::invalid("Content-Length: missing"))?;
    let wanted = query.get("sha256").map(str::to_lowercase);
    match ask(&supervisor).await?.phase {
        Phase::Idle | Phase::Ready { .. } | Phase::RolledBack { .. } => {}
        Phase::Trial => return Err(refused(Kind::Busy, "The release that runs has not proved itself yet")),
        _ => return Err(refused(Kind::Busy, "An update is on its way already")),
    }
    let mut upload = uploads.begin(size).await?;
    while let Some(chunk) = body::next(&mut bundle).await {
        let broken = |why| Failure::invalid(format!("the upload broke off: {why}"));
        upload.chunk(&chunk.map_err(broken)?).await?;
    }
    let sha256 = upload.finish(wanted.as_deref()).await?;
    Ok(answer::ok(&json!({"upload": {"size": size, "sha256": sha256}})))
}

async fn install(supervisor: Data<Supervisor>, uploads: Data<Uploads>, query: Query) -> Answer {
    let from = match query.get("url") {
        Some(url) => Source::Url { url: url.to_owned() },
        None => Source::Upload,
    };
    let uploaded = from == Source::Upload;
    let told = done(&supervisor, Ask::Install { from }).await;
    if uploaded {
        // It is the supervisor's now, or was refused and is gone.
        uploads.look().await;
    }
    told
}

async fn reboot(supervisor: Data<Supervisor>) -> Answer {
    done(&supervisor, Ask::Restart).await
}

async fn rollback(supervisor: Data<Supervisor>) -> Answer {
    done(&supervisor, Ask::Rollback).await
}

async fn ask(supervisor: &Supervisor) -> Result<State, Failure> {
    match supervisor.update(Ask::Show).await.map_err(failure)? {
        Told::State { state, .. } => Ok(*state),
        other => Err(untold(other)),
    }
}

async fn done(supervisor: &Supervisor, ask: Ask) -> Answer {
    match supervisor.update(ask).await.map_err(failure)? {
        Told::Done => Ok(answer::nothing()),
        other => Err(untold(other)),
    }
}

fn untold(told: Told) -> Failure {
    match told {
        Told::NotImage => Failure::new(
            ErrorClass::NotImage,
            "This is not a system that was started from an appliance image",
        ),
        Told::Refused { kind, reason } => refused(kind, reason),
        Told::Done | Told::State { .. } => Failure::internal("the supervisor told something else"),
    }
}

fn refused(kind: Kind, reason: impl Into<String>) -> Failure {
    Failure::new(class(kind), reason)
}

/// What a reason is called on the wire.
fn class(kind: Kind) -> ErrorClass {
    match kind {
        Kind::Busy => ErrorClass::UpdateIsBusy,
        Kind::Bundle => ErrorClass::UpdateBundle,
        Kind::Signature => ErrorClass::UpdateSignature,
        Kind::Board => ErrorClass::UpdateBoard,
        Kind::Version => ErrorClass::UpdateVersion,
        Kind::Nothing => ErrorClass::UpdateNothing,
        Kind::Invalid => ErrorClass::Validator,
        Kind::Failed => ErrorClass::Update,
    }
}

/// What the supervisor could not do is told in its words; that it cannot be asked is our own fault.
fn failure(error: Error) -> Failure {
    match error {
        Error::Failed(reason) => Failure::new(ErrorClass::Unavailable, reason),
        other => Failure::internal(other),
    }
}
