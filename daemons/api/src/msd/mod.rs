//! `/msd`: the lent drive (section 8.6).
//!
//! [`transfer`] takes images in and gives them out, [`remote`] fetches them from elsewhere (`near` says from where not, and
//! `pace` how slowly not), [`show()`] says how it all stands.

mod near;
mod pace;
pub mod remote;
mod show;
pub mod transfer;

use crate::{
    answer::{self, Answer},
    query::Query,
    routes::Entry,
};
use actix_web::web::{self, Data};
use auth::Role;
use model::check;
use msd::Msd;

pub use near::Near;
pub use show::show;

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[
    Entry::get("/msd", || web::to(state)),
    Entry::post("/msd/set_params", || web::to(set_params)),
    Entry::post("/msd/set_connected", || web::to(set_connected)),
    Entry::get("/msd/read", || web::to(transfer::read)).by(Role::Operator),
    Entry::post("/msd/write", || web::to(transfer::write)),
    Entry::post("/msd/write_remote", || web::to(remote::write)),
    Entry::post("/msd/probe_remote", || web::to(remote::probe)),
    Entry::post("/msd/remove", || web::to(remove)),
    Entry::post("/msd/reset", || web::to(reset)),
];

async fn state(msd: Data<Msd>) -> Answer {
    let state = show(&msd.subscribe().borrow());
    let mut shown = model::event::to_value(&state);
    // Size and room of the main part, where releases before 4.36 had them and some clients still look.
    if let Some(storage) = &state.storage {
        let main = storage.parts.get("");
        shown["storage"]["size"] = main.map_or(0, |part| part.size).into();
        shown["storage"]["free"] = main.map_or(0, |part| part.free).into();
    }
    Ok(answer::ok(&shown))
}

async fn set_params(msd: Data<Msd>, query: Query) -> Answer {
    let image = match query.get("image") {
        Some(raw) if is_remote(raw) => return Err(msd::Error::RemoteDisabled.into()),
        Some(raw) if raw.trim().is_empty() => Some(None),
        _ => query.optional("image", check::image_name)?.map(Some),
    };
    let cdrom = query.optional("cdrom", check::boolean)?;
    let rw = query.optional("rw", check::boolean)?;
    msd.set_params(image, cdrom, rw).await?;
    Ok(answer::nothing())
}

/// Something of the form `scheme://host...` is meant as a remote image.
fn is_remote(raw: &str) -> bool {
    raw.trim().split_once("://").is_some_and(|(scheme, rest)| {
        !rest.is_empty() && !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

async fn set_connected(msd: Data<Msd>, query: Query) -> Answer {
    msd.set_connected(query.required("connected", check::boolean)?).await?;
    Ok(answer::nothing())
}

async fn remove(msd: Data<Msd>, query: Query) -> Answer {
    msd.remove(&query.required("image", check::image_name)?).await?;
    Ok(answer::nothing())
}

async fn reset(msd: Data<Msd>) -> Answer {
    msd.reset().await?;
    Ok(answer::nothing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_not_a_name() {
        for remote in ["http://host/x.iso", "nfs://host", " smb://x "] {
            assert!(is_remote(remote), "{remote}");
        }
        for name in ["x.iso", "", "a/b", "://x", "a b://c", "http://"] {
            assert!(!is_remote(name), "{name}");
        }
    }
}
