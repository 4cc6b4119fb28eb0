//! What is said of each row, subsystem by subsystem.

mod access;
mod drive;
mod input;
mod machine;
mod picture;
mod switches;
mod updates;

use super::doc::{Doc, Param, switch};

/// Everything that is said, and whether it is of a row below `/api`.
pub(super) fn all() -> Vec<(bool, Doc)> {
    let below = [
        access::docs(),
        machine::docs(),
        updates::docs(),
        input::docs(),
        drive::docs(),
        picture::docs(),
        switches::docs(),
        super::redfish::docs(true),
    ];
    let beside = [picture::beside(), super::redfish::docs(false)];
    let below = below.into_iter().flatten().map(|doc| (true, doc));
    below.chain(beside.into_iter().flatten().map(|doc| (false, doc))).collect()
}

/// Answer when it is done and not when it is begun.
fn wait() -> Param {
    switch("wait", "Answer when it is over and not when it has begun.").default(false)
}

/// The most digits that are read of a number.
const LARGEST: i64 = 9_999_999_999_999_999;
