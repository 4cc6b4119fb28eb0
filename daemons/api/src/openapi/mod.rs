//! `/openapi.json`: the whole API as an OpenAPI 3.1 document. Our own, not PiKVM's.
//!
//! The document is `docs/openapi.json`, as it lies in the repository: a test of this module makes it from the route table,
//! from what the modules below say of each row, and from the types of `model`, and fails when the file says something else
//! (`UPDATE_DOCS=1` writes it). So a change of the API is seen in review, and the daemon carries a text and no generator.
//!
//! ```text
//!  routes::everything() ─ path, method, role, who may come ─┐
//!  auth, hid, msd, …    ─ words, parameters, answers ───────┼─▶ document ─▶ docs/openapi.json ─▶ GET /openapi.json, /docs/
//!  model, client        ─ schemas of types (utoipa) ────────┘
//! ```
//!
//! Whoever adds a row says there what it is; whoever adds a parameter says there what it may be: builds for debugging refuse
//! to read one that is not in the document.

use crate::{answer, routes::Entry};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

#[cfg(test)]
mod doc;
#[cfg(test)]
mod document;
#[cfg(test)]
mod redfish;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod shape;
#[cfg(test)]
mod tests;

/// Rows of this subsystem. A viewer may read it like everything else that only tells: which release runs here is nobody
/// else's business, and the same file is in the repository.
pub const ROUTES: &[Entry] = &[Entry::get("/openapi.json", || web::to(show))];

/// The document.
pub const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

async fn show() -> HttpResponse {
    answer::json(StatusCode::OK, DOCUMENT)
}

/// The parameters of the query that the document has for a request; none where it knows nothing of the request.
pub(crate) fn parameters(request: &HttpRequest) -> Option<&'static BTreeSet<String>> {
    static KNOWN: LazyLock<BTreeMap<String, BTreeSet<String>>> = LazyLock::new(|| known(DOCUMENT));
    let (method, path) = (request.method(), request.match_pattern()?);
    // On the unix socket what is below `/api` is at the root as well.
    let unix = request.conn_data::<crate::peer::UnixPeer>().is_some() && !path.starts_with("/api/");
    let path = if unix { format!("/api{path}") } else { path };
    KNOWN.get(&format!("{method} {path}"))
}

/// By method and path.
fn known(document: &str) -> BTreeMap<String, BTreeSet<String>> {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
    });
    operations.map(|(name, operation)| (name, names(operation))).collect()
}

fn names(operation: &Value) -> BTreeSet<String> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    let query = all.filter(|param| param["in"] == "query");
    query.filter_map(|param| Some(param["name"].as_str()?.to_owned())).collect()
}
