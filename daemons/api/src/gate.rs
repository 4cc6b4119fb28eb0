//! The gate in front of every route: who asks (section 5.1), from which page, and with what right.
//!
//! What the gate finds stays with the request: [`auth::Access`] for handlers, [`Tag`] for the access log.
//!
//! A client that hangs up ends its request wherever that is, the order to the device long given: [`Open`] writes it down.

use crate::{
    audit::{self, Book},
    claim::Claim,
    failure::Failure,
    holder::Holder,
    peer::UnixPeer,
    query::Query,
    routes::{Entry, Need},
};
use actix_web::{
    Error, HttpMessage, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
    web::Data,
};
use auth::{Access, Auth, Presented, Role};
use model::ErrorClass;
use std::{cell::RefCell, net::IpAddr, rc::Rc};

/// The user field of the access log, which has it before the gate knows whose it is.
#[derive(Debug, Clone, Default)]
pub struct Tag(pub Rc<RefCell<String>>);

impl Tag {
    fn set(request: &HttpRequest, user: String) {
        if let Some(tag) = request.extensions().get::<Self>() {
            *tag.0.borrow_mut() = user;
        }
    }
}

/// The status that stands for no answer: the client did not wait for one.
pub const GONE: u16 = 499;

/// A call that changes something and was let through. Dropped before it is answered, it is written down as [`GONE`].
struct Open(Option<(Data<Book>, HttpRequest, Entry)>);

impl Open {
    fn answered(mut self) {
        self.0.take();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some((book, request, row)) = self.0.take() {
            let (status, class) = match std::thread::panicking() {
                true => (500, Some(ErrorClass::Internal)),
                false => (GONE, None),
            };
            book.take(audit::of_call(&row, &request, status, class));
        }
    }
}

/// Lets a request through to its handler, or answers for it; and has written down what changes something, or tried to.
pub async fn guard<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
    row: Entry,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let (_, changes) = row.asks(&Query::parse(request.query_string()));
    let book = request.app_data::<Data<Book>>().filter(|_| changes).cloned();
    let response = match pass(request.request(), &row).await {
        Ok(()) => {
            let open = Open(book.clone().map(|book| (book, request.request().clone(), row)));
            let response = next.call(request).await?.map_into_boxed_body();
            open.answered();
            response
        }
        Err(failure) => request.into_response(HttpResponse::from_error(failure)),
    };
    if let Some(book) = book {
        let class = response.response().extensions().get::<ErrorClass>().copied();
        book.take(audit::of_call(&row, response.request(), response.status().as_u16(), class));
    }
    Ok(response)
}

async fn pass(request: &HttpRequest, row: &Entry) -> Result<(), Failure> {
    match row.need {
        Need::NoOwner => Ok(()),
        _ if !is_owned(request) => Err(not_claimed()),
        Need::Nothing => Ok(()),
        Need::Credentials | Need::Anyone => {
            admit(request, row).await?;
            if audit::types_something(row.path) { holds(request) } else { Ok(()) }
        }
    }
}

/// Refuses who would type while another one does.
fn holds(request: &HttpRequest) -> Result<(), Failure> {
    let extensions = request.extensions();
    match (request.app_data::<Data<Holder>>(), extensions.get::<Access>()) {
        (Some(holder), Some(access)) => holder.admits(access),
        _ => Ok(()),
    }
}

/// Whether the appliance has an owner, or the kernel says that one of its own users asks.
pub fn is_owned(request: &HttpRequest) -> bool {
    let owned = request.app_data::<Data<Claim>>().is_none_or(|claim| claim.is_owned());
    owned || peer(request, Need::Anyone).is_some()
}

fn not_claimed() -> Failure {
    Failure::new(ErrorClass::NotClaimed, "This appliance has no owner yet: claim it first")
}

/// Refuses a request that a page of another site makes.
pub fn same_origin(request: &HttpRequest) -> Result<(), Failure> {
    if from_our_page(request) { Ok(()) } else { Err(Failure::forbidden()) }
}

fn peer(request: &HttpRequest, need: Need) -> Option<auth::Peer> {
    let unix = request.conn_data::<UnixPeer>().filter(|_| need == Need::Anyone)?;
    request.app_data::<Data<Auth>>()?.peer_user(unix.uid, &unix.gids)
}

async fn admit(request: &HttpRequest, row: &Entry) -> Result<(), Failure> {
    let access = authorize(request, row.need).await?;
    let (role, changes) = row.asks(&Query::parse(request.query_string()));
    let allowed = allow(request, &access, role, row.subsystem());
    request.extensions_mut().insert(access);
    if (changes || request.headers().contains_key(header::UPGRADE)) && !from_our_page(request) {
        return Err(Failure::forbidden());
    }
    allowed
}

/// Refuses who passed by this right and has not this role, or not for this subsystem.
pub fn allow(request: &HttpRequest, access: &Access, role: Role, subsystem: &str) -> Result<(), Failure> {
    let auth = request.app_data::<Data<Auth>>().ok_or_else(|| Failure::internal("no guard is installed"))?;
    let why = match (auth.may(access, role, subsystem), access.reaches(subsystem)) {
        (true, _) => return Ok(()),
        (false, true) => format!("Forbidden: this needs the role {role}"),
        (false, false) => format!("Forbidden: this token is not for {subsystem}"),
    };
    Err(Failure::new(ErrorClass::Forbidden, why))
}

/// By what right the request passes, which is also noted for the access log. The kernel's word counts only where
/// `need` says so.
pub async fn authorize(request: &HttpRequest, need: Need) -> Result<Access, Failure> {
    let auth = request.app_data::<Data<Auth>>().ok_or_else(|| Failure::internal("no guard is installed"))?;
    let peer = peer(request, need);
    let value = |name: &str| request.headers().get(name).map(header::HeaderValue::as_bytes);
    let shown = Presented {
        user: value("X-KVMD-User"),
        passwd: value("X-KVMD-Passwd"),
        token: token(request),
        authorization: value("Authorization"),
        peer: peer.as_ref(),
    };
    match auth.authorize(&shown, address(request)).await {
        Ok(access) => {
            Tag::set(request, access.tag());
            Ok(access)
        }
        Err(denied) => {
            let tag = auth::credentials(&shown).map_or_else(|_| "-".to_owned(), |carrier| carrier.tag());
            Tag::set(request, tag);
            Err(denied.into())
        }
    }
}

/// The session cookie, wherever HTTP/2 may have put it.
pub fn token(request: &HttpRequest) -> Option<&[u8]> {
    let mut cookies = request.headers().get_all(header::COOKIE);
    cookies.find_map(|cookies| auth::cookie(cookies.as_bytes(), "auth_token"))
}

/// The client's network address; none on the unix socket.
pub fn address(request: &HttpRequest) -> Option<IpAddr> {
    request.peer_addr().map(|peer| peer.ip().to_canonical())
}

/// Whether the page that made the request is ours. Programs send no `Origin`; browsers do with everything but a plain GET, of
/// which they say where it comes from in another way, `none` being its user's own doing.
fn from_our_page(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let Some(origin) = headers.get(header::ORIGIN) else {
        let site = headers.get("Sec-Fetch-Site").map(header::HeaderValue::as_bytes);
        return matches!(site, None | Some(b"same-origin" | b"none"));
    };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(actix_web::http::uri::Authority::as_str));
    origin.to_str().ok().zip(host).is_some_and(|(origin, host)| same_host(origin, host))
}

/// Compares `https://name:port` with `name:port`; a port that the scheme implies may be left out.
fn same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let implied = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return false,
    };
    let bare = |text: &str| text.strip_suffix(implied).unwrap_or(text).to_ascii_lowercase();
    bare(authority) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_host_or_port_is_another_origin() {
        for (origin, host) in [
            ("https://kvm.local", "kvm.local"),
            ("https://kvm.local", "kvm.local:443"),
            ("https://KVM.local:8443", "kvm.local:8443"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert!(same_host(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("https://evil.example", "kvm.local"),
            ("https://kvm.local:8443", "kvm.local"),
            ("https://kvm.local.evil.example", "kvm.local"),
            ("null", "kvm.local"),
            ("file://", "kvm.local"),
            ("", ""),
        ] {
            assert!(!same_host(origin, host), "{origin} {host}");
        }
    }
}
