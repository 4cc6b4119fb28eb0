//! The route table: every path with its method, who may come and with what right, as data.
//!
//! Each subsystem file exports its rows; this file registers them and answers for paths and methods that are in no
//! row. Tests walk the same table ([`everything`]) and ask every route without a session, with less than its role, and
//! from another site's page.
//!
//! What only tells needs a [`Role::Viewer`], what changes something a [`Role::Operator`], unless its row says otherwise:
//! no row is without a role. What changes the appliance itself says [`Role::Admin`].

use crate::{answer, gate, query::Query};
use actix_web::{
    HttpRequest, HttpResponse, Resource, Route,
    http::{Method, StatusCode, header},
    web,
};
use auth::Role;
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
    /// What who comes must be allowed to do.
    pub role: Role,
    /// The switch in the query with which a row whose method only tells changes something all the same, for operators.
    pub changes_with: Option<&'static str>,
    route: fn() -> Route,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({:?}, {})", self.method, self.path, self.need, self.role)
    }
}

impl Entry {
    pub(crate) const fn get(path: &'static str, route: fn() -> Route) -> Self {
        Self::row("GET", path, route)
    }

    pub(crate) const fn post(path: &'static str, route: fn() -> Route) -> Self {
        Self::row("POST", path, route)
    }

    pub(crate) const fn delete(path: &'static str, route: fn() -> Route) -> Self {
        Self::row("DELETE", path, route)
    }

    pub(crate) const fn head(path: &'static str, route: fn() -> Route) -> Self {
        Self::row("HEAD", path, route)
    }

    pub(crate) const fn options(path: &'static str, route: fn() -> Route) -> Self {
        Self::row("OPTIONS", path, route)
    }

    pub(crate) const fn patch(path: &'static str, route: fn() -> Route) -> Self {
        Self::row("PATCH", path, route)
    }

    const fn row(method: &'static str, path: &'static str, route: fn() -> Route) -> Self {
        let role = match method.as_bytes() {
            b"GET" | b"HEAD" | b"OPTIONS" => Role::Viewer,
            _ => Role::Operator,
        };
        Self { method, path, need: Need::Anyone, role, changes_with: None, route }
    }

    /// Another role than what the method needs.
    pub(crate) const fn by(self, role: Role) -> Self {
        Self { role, ..self }
    }

    pub(crate) const fn changes_with(self, switch: &'static str) -> Self {
        Self { changes_with: Some(switch), ..self }
    }

    /// The role that this query needs, and whether it changes something. A switch that is neither on nor off counts as
    /// on: what it means is for the handler to refuse.
    #[must_use]
    pub fn asks(&self, query: &Query) -> (Role, bool) {
        let on = |switch| query.get(switch).is_some_and(|raw| model::check::boolean(raw) != Ok(false));
        if self.changes_with.is_some_and(on) {
            return (self.role.max(Role::Operator), true);
        }
        (self.role, !self.is_safe())
    }

    /// Whether the method alone says that nothing is changed.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS")
    }

    /// What of the appliance the row belongs to: the first part of its path.
    #[must_use]
    pub fn subsystem(&self) -> &'static str {
        self.path.split('/').find(|part| !part.is_empty()).unwrap_or("")
    }

    pub(crate) const fn needs(self, need: Need) -> Self {
        Self { need, ..self }
    }

    fn route(&self) -> Route {
        let row = *self;
        let method = Method::from_bytes(self.method.as_bytes()).unwrap_or(Method::GET);
        let route = (self.route)()
            .method(method)
            .wrap(actix_web::middleware::from_fn(move |request, next| gate::guard(request, next, row)));
        if self.subsystem() == "redfish" {
            // Its clients read the gate's refusals in another form.
            return route.wrap(actix_web::middleware::from_fn(crate::redfish::face));
        }
        route
    }
}

/// Every row below `/api`, in the order of the contract.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    [
        crate::claim::ROUTES,
        crate::credential::ROUTES,
        crate::user::ROUTES,
        crate::token::ROUTES,
        crate::audit::ROUTES,
        crate::info::ROUTES,
        crate::log::ROUTES,
        crate::hid::ROUTES,
        crate::holder::ROUTES,
        crate::atx::ROUTES,
        crate::msd::ROUTES,
        crate::streamer::ROUTES,
        crate::media::ROUTES,
        crate::gpio::ROUTES,
        crate::switch::ROUTES,
        crate::prometheus::ROUTES,
        crate::redfish::ROUTES,
        crate::gadget::ROUTES,
        crate::system::ROUTES,
        crate::update::ROUTES,
        crate::ws::ROUTES,
        crate::openapi::ROUTES,
    ]
    .into_iter()
    .flatten()
}

/// Every row that is not below `/api`.
pub fn outside() -> impl Iterator<Item = &'static Entry> {
    [crate::streamer::STREAM_ROUTES, crate::redfish::ROUTES].into_iter().flatten()
}

/// Every row there is, and its path as the network sees it.
pub fn everything() -> impl Iterator<Item = (String, &'static Entry)> {
    let below = all().map(|row| (format!("/api{}", row.path), row));
    below.chain(outside().map(|row| (row.path.to_owned(), row)))
}

/// Registers rows of a table: one resource a path, which knows its own methods.
pub fn register(app: &mut web::ServiceConfig, rows: impl Iterator<Item = &'static Entry>) {
    let mut paths: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for row in rows {
        paths.entry(row.path).or_default().push(row);
    }
    for (path, rows) in paths {
        let allowed = rows.iter().map(|row| row.method).collect::<Vec<_>>().join(",");
        let mut resource: Resource = web::resource(path);
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
    fn what_changes_the_appliance_itself_needs_an_admin() {
        let open = ["/system/claim"];
        let own = |row: &&Entry| matches!(row.subsystem(), "system" | "tokens" | "audit" | "users");
        for row in all().filter(own).filter(|row| !row.is_safe() && !open.contains(&row.path)) {
            assert_eq!(row.role, Role::Admin, "{row:?}");
        }
    }

    #[test]
    fn a_viewer_changes_nothing_but_its_own_session() {
        let changes = everything().filter(|(_, row)| !row.is_safe() && row.role == Role::Viewer);
        let own = ["/auth/logout", "/redfish/v1/SessionService/Sessions/{id}"];
        for (path, row) in changes {
            assert!(own.contains(&row.path), "{path}");
        }
    }

    #[test]
    fn only_the_login_and_the_way_to_an_owner_are_open() {
        let open = |need| all().filter(|row| row.need == need).map(|row| row.path).collect::<Vec<_>>();
        let sessions = "/redfish/v1/SessionService/Sessions";
        let expected = [
            "/auth/login",
            // Asks by itself, unless the settings say that nobody has to log in for it.
            "/export/prometheus/metrics",
            // What Redfish wants to be found before anybody has logged in, and its login.
            "/redfish",
            "/redfish/v1",
            "/redfish/v1/odata",
            "/redfish/v1/$metadata",
            sessions,
            &format!("{sessions}/Members"),
        ];
        assert_eq!(open(Need::Nothing), expected);
        assert_eq!(open(Need::NoOwner), ["/system/claim"; 2]);
    }

    #[test]
    fn a_picture_that_is_kept_needs_an_operator() {
        let row = all().find(|row| row.path == "/streamer/snapshot" && row.is_safe()).unwrap();
        for query in ["", "load=1", "save=0", "save=false"] {
            assert_eq!(row.asks(&Query::parse(query)), (Role::Viewer, false), "{query}");
        }
        for query in ["save=1", "save=on", "save=true", "save=", "save=maybe"] {
            assert_eq!(row.asks(&Query::parse(query)), (Role::Operator, true), "{query}");
        }
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
