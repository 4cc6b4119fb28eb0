//! One resource as an answer: JSON with its type's schema and its entity tag.

use super::error::Error;
use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// 200 with this resource.
pub(super) fn show(resource: &Value) -> HttpResponse {
    with_status(StatusCode::OK, resource)
}

/// A resource in an answer of that status.
pub(super) fn with_status(status: StatusCode, resource: &Value) -> HttpResponse {
    let body = resource.to_string();
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CONTENT_TYPE, "application/json; charset=utf-8"));
    response.insert_header((header::ETAG, tag_of(&body)));
    if let Some(schema) = resource["@odata.type"].as_str().and_then(schema) {
        response.insert_header((header::LINK, format!("<{schema}>; rel=describedby")));
    }
    response.body(body)
}

/// A change is made. Redfish's clients, who come to `/redfish`, hear 204, as from the reference. Those of the API come to
/// `/api/redfish`, and one of them (aiopikvm) takes every answer for JSON: there it is `told`.
pub(super) fn done(request: &HttpRequest, told: &Value) -> HttpResponse {
    if request.path().starts_with("/api/") { show(told) } else { HttpResponse::NoContent().finish() }
}

/// The entity tag of a resource: it changes with whatever is shown.
pub(super) fn tag(resource: &Value) -> String {
    tag_of(&resource.to_string())
}

fn tag_of(body: &str) -> String {
    format!("\"{}\"", hex::encode(&Sha256::digest(body)[..8]))
}

/// Where the JSON schema of `#Name.version.Name` or `#Name.Name` is published.
fn schema(kind: &str) -> Option<String> {
    let (name, _) = kind.strip_prefix('#')?.rsplit_once('.')?;
    Some(format!("https://redfish.dmtf.org/schemas/v1/{name}.json"))
}

/// A collection and its members, which are given by the ends of their addresses.
pub(super) fn collection(kind: &str, name: &str, uri: &str, members: &[String]) -> Value {
    let links: Vec<Value> = members.iter().map(|id| link(&format!("{uri}/{id}"))).collect();
    json!({
        "@odata.id": uri,
        "@odata.type": format!("#{kind}.{kind}"),
        "Name": name,
        "Members@odata.count": links.len(),
        "Members": links,
    })
}

/// A link to another resource.
pub(super) fn link(uri: &str) -> Value {
    json!({"@odata.id": uri})
}

/// Refuses a change by a client that saw something else than there is now (`If-Match`).
pub(super) fn unchanged(request: &HttpRequest, resource: &Value) -> Result<(), Error> {
    let Some(wanted) = request.headers().get(header::IF_MATCH) else { return Ok(()) };
    let tag = tag(resource);
    let wanted = wanted.to_str().unwrap_or_default();
    if wanted.split(',').map(str::trim).any(|one| one == "*" || one == tag) {
        return Ok(());
    }
    Err(Error::precondition("The resource has changed since it was read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_says_where_its_schema_is() {
        let base = "https://redfish.dmtf.org/schemas/v1/";
        assert_eq!(schema("#Role.v1_3_1.Role"), Some(format!("{base}Role.v1_3_1.json")));
        assert_eq!(schema("#RoleCollection.RoleCollection"), Some(format!("{base}RoleCollection.json")));
        assert_eq!(schema("Role"), None);
    }

    #[test]
    fn an_entity_tag_is_quoted_and_changes_with_what_is_shown() {
        let one = tag(&json!({"a": 1}));
        assert!(one.len() == 18 && one.starts_with('"') && one.ends_with('"'));
        assert_ne!(one, tag(&json!({"a": 2})));
        assert_eq!(one, tag(&json!({"a": 1})));
    }

    #[test]
    fn who_comes_by_the_api_is_told_what_was_changed() {
        for (path, status) in [("/redfish/v1/Systems/0", 204), ("/api/redfish/v1/Systems/0", 200)] {
            let request = actix_web::test::TestRequest::with_uri(path).to_http_request();
            assert_eq!(done(&request, &json!({})).status().as_u16(), status, "{path}");
        }
    }

    #[test]
    fn a_collection_counts_its_members() {
        let shown = collection("RoleCollection", "Roles", "/r", &["a".to_owned(), "b".to_owned()]);
        assert_eq!(shown["Members@odata.count"], 2);
        assert_eq!(shown["Members"][1]["@odata.id"], "/r/b");
    }
}
