//! The route table: every path of the API with its method and who may come, as data.
//!
//! Each subsystem file exports its rows; this file registers them and answers for paths and methods that are in no
//! row. A test walks the same table and asks every route without a session.

use crate::{answer, gate};
use actix_web::{
    HttpRequest, HttpResponse, Resource, Route,
    http::{Method, StatusCode, header},
    web,
};
use std::collections::BTreeMap;

/// Who may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Everybody, even while the appliance has no owner: how it gets one.
    NoOwner,
    /// Everybody: there is nothing to lose.
    Nothing,
    /// Whoever shows a password or a session; the word of the kernel does not count here.
    Credentials,
    /// Whoever shows a password or a session, or is known by the unix socket's peer credentials.
    Anyone,
}

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The only method, compared exactly.
    pub method: &'static str,
    /// The path without `/api`.
    pub path: &'static str,
    /// Who may come.
    pub need: Need,
    route: fn() -> Route,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({:?})", self.method, self.path, self.need)
    }
}

impl Entry {
    pub(crate) const fn get(path: &'static str, route: fn() -> Route) -> Self {
        Self { method: "GET", path, need: Need::Anyone, route }
    }

    pub(crate) const fn post(path: &'static str, route: fn() -> Route) -> Self {
        Self { method: "POST", path, need: Need::Anyone, route }
    }

    pub(crate) const fn delete(path: &'static str, route: fn() -> Route) -> Self {
        Self { method: "DELETE", path, need: Need::Anyone, route }
    }

    pub(crate) const fn head(path: &'static str, route: fn() -> Route) -> Self {
        Self { method: "HEAD", path, need: Need::Anyone, route }
    }

    pub(crate) const fn options(path: &'static str, route: fn() -> Route) -> Self {
        Self { method: "OPTIONS", path, need: Need::Anyone, route }
    }

    pub(crate) const fn needs(self, need: Need) -> Self {
        Self { need, ..self }
    }

    fn route(&self) -> Route {
        let need = self.need;
        let method = Method::from_bytes(self.method.as_bytes()).unwrap_or(Method::GET);
        (self.route)()
            .method(method)
            .wrap(actix_web::middleware::from_fn(move |request, next| gate::guard(request, next, need)))
    }
}

/// Every row, in the order of the contract.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    [
        crate::claim::ROUTES,
        crate::credential::ROUTES,
        crate::info::ROUTES,
        crate::log::ROUTES,
        crate::hid::ROUTES,
        crate::atx::ROUTES,
        crate::msd::ROUTES,
        crate::streamer::ROUTES,
        crate::gpio::ROUTES,
        crate::gadget::ROUTES,
        crate::system::ROUTES,
        crate::update::ROUTES,
        crate::ws::ROUTES,
    ]
    .into_iter()
    .flatten()
}

/// Registers the table below `prefix` (empty on the unix socket, `/api` elsewhere).
pub fn configure(app: &mut web::ServiceConfig, prefix: &str) {
    register(app, prefix, all());
}

/// Registers rows of a table: one resource a path, which knows its own methods.
pub fn register(app: &mut web::ServiceConfig, prefix: &str, rows: impl Iterator<Item = &'static Entry>) {
    let mut paths: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for row in rows {
        paths.entry(row.path).or_default().push(row);
    }
    for (path, rows) in paths {
        let allowed = rows.iter().map(|row| row.method).collect::<Vec<_>>().join(",");
        let mut resource: Resource = web::resource(format!("{prefix}{path}"));
        for row in rows {
            resource = resource.route(row.route());
        }
        app.service(resource.default_service(web::to(move || {
            let allowed = allowed.clone();
            async move { method_not_allowed(&allowed) }
        })));
    }
}

fn method_not_allowed(allowed: &str) -> HttpResponse {
    let mut response = answer::plain(StatusCode::METHOD_NOT_ALLOWED);
    if let Ok(allowed) = header::HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// For paths in no row: a path that is only written untidily is sent to its tidy form, any other is unknown.
pub async fn unknown(request: HttpRequest) -> HttpResponse {
    let tidy = tidy(request.path());
    if tidy == request.path() || !request.resource_map().has_resource(&tidy) {
        return answer::plain(StatusCode::NOT_FOUND);
    }
    let query = request.query_string();
    let location = if query.is_empty() { tidy } else { format!("{tidy}?{query}") };
    let mut response = answer::plain(StatusCode::PERMANENT_REDIRECT);
    if let Ok(location) = header::HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The path with one slash where there were several, and none at its end.
fn tidy(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn no_row_is_there_twice() {
        let mut seen = HashSet::new();
        for row in all() {
            assert!(seen.insert((row.method, row.path)), "{row:?}");
            assert!(row.path.starts_with('/') && tidy(row.path) == row.path, "{row:?}");
        }
    }

    #[test]
    fn only_the_login_and_the_way_to_an_owner_are_open() {
        let open = |need| all().filter(|row| row.need == need).map(|row| row.path).collect::<Vec<_>>();
        assert_eq!(open(Need::Nothing), ["/auth/login"]);
        assert_eq!(open(Need::NoOwner), ["/system/claim"; 2]);
    }

    proptest! {
        #[test]
        fn a_tidied_path_never_leaves_the_host(path in "[/a.\\\\]{0,12}") {
            let tidied = tidy(&path);
            prop_assert!(tidied.starts_with('/') && !tidied.starts_with("//"));
            prop_assert_eq!(tidy(&tidied), tidied);
        }
    }
}
