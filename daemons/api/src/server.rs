//! The listeners: HTTPS for people, HTTP that sends them there, a unix socket for our own daemons.
//!
//! Listening sockets are made elsewhere and handed in, so that they outlive this process. Each listener has its own
//! workers; all share the same handles.
//!
//! HTTPS speaks HTTP/1.1 only. Over HTTP/2 an upload that is refused early loses its answer, and one that is taken runs
//! at a fifth of the speed; pages here are a handful of small files, so there is nothing to win with it.

use crate::{
    access, answer, audit,
    claim::Claim,
    credential::Redirects,
    hid::Keymaps,
    holder::Holder,
    info::LoginNeeded,
    log::LogReader,
    pages, peer, prometheus, redfish, routes, streamer, switch, system,
    update::upload::Uploads,
    user::Accounts,
    ws::{hub::Hub, session::Heartbeat},
};
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    body::MessageBody,
    dev::{Server, ServerHandle, ServiceRequest, ServiceResponse},
    http::{StatusCode, Uri, header},
    middleware::{DefaultHeaders, Next, from_fn},
    web::{self, Data},
};
use anyhow::Context;
use client::supervisor::Supervisor;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    fs::File,
    io::{Seek, SeekFrom},
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixListener},
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinSet;

/// Connections at once on each worker of a network listener.
const CONNECTIONS: usize = 512;
/// Handshakes at once on each worker; they are what costs.
const HANDSHAKES: usize = 64;
/// How long a client may take to send the head of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client that is still sending is listened to after it has its answer (an upload that was refused), or may take
/// to close. What it sends is thrown away. Closed at once, the kernel would answer what is on its way with a reset, which
/// throws the answer away in clients that look for it only when they have sent everything. Longer would help those, but it
/// also is how long a WebSocket's client waits for the end of the connection behind its goodbye.
const LINGER: Duration = Duration::from_millis(500);
/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// A connection whose other end has not acknowledged data for so long is given up, in milliseconds.
const STALL_MS: u32 = 30_000;

/// What handlers may ask for.
#[derive(Clone)]
pub struct Handles {
    /// Who may come in.
    pub auth: Data<auth::Auth>,
    /// Where a login may send the browser.
    pub redirects: Data<Redirects>,
    /// Whether people must log in.
    pub login: Data<LoginNeeded>,
    /// Facts about the appliance.
    pub info: Data<info::Info>,
    /// The log.
    pub log: Data<LogReader>,
    /// Keyboard and mouse.
    pub hid: Data<hid::Hid>,
    /// What text can be typed with.
    pub keymaps: Data<Keymaps>,
    /// Front panel.
    pub atx: Data<atx::Atx>,
    /// Named switches.
    pub gpio: Data<gpio::Gpio>,
    /// The lent drive.
    pub msd: Data<msd::Msd>,
    /// Where images may be fetched from.
    pub near: Data<crate::msd::Near>,
    /// Video.
    pub streamer: Data<streamer::owner::Streamer>,
    /// Text on pictures.
    pub ocr: Data<ocr::Ocr>,
    /// WebSocket clients.
    pub hub: Data<Hub>,
    /// When to ask a silent client whether it lives.
    pub heartbeat: Data<Heartbeat>,
    /// Ends endless answers.
    pub stop: Data<streamer::Stop>,
    /// The administrator's own look.
    pub style: Data<pages::UserStyle>,
    /// Who holds the USB gadget.
    pub supervisor: Data<Supervisor>,
    /// Who there is.
    pub accounts: Data<Accounts>,
    /// Whether there is an owner.
    pub claim: Data<Claim>,
    /// Says that the system was changed.
    pub changed: Data<system::Changed>,
    /// Bundles on their way in.
    pub uploads: Data<Uploads>,
    /// Where it is written down who changed what.
    pub audit: Data<audit::Book>,
    /// Who has keyboard and mouse.
    pub holder: Data<Holder>,
    /// What is set of the multi-port switch.
    pub switch: Data<switch::Switch>,
    /// All there is to count.
    pub figures: Data<prometheus::Figures>,
    /// Who this appliance is to fleet tools.
    pub identity: Data<redfish::Identity>,
}

impl Handles {
    fn install(self, app: &mut web::ServiceConfig) {
        app.app_data(self.auth)
            .app_data(self.redirects)
            .app_data(self.login)
            .app_data(self.info)
            .app_data(self.log)
            .app_data(self.hid)
            .app_data(self.keymaps)
            .app_data(self.atx)
            .app_data(self.gpio)
            .app_data(self.msd)
            .app_data(self.near)
            .app_data(self.streamer)
            .app_data(self.ocr)
            .app_data(self.hub)
            .app_data(self.heartbeat)
            .app_data(self.stop)
            .app_data(self.style)
            .app_data(self.supervisor)
            .app_data(self.accounts)
            .app_data(self.claim)
            .app_data(self.changed)
            .app_data(self.audit)
            .app_data(self.holder)
            .app_data(self.uploads)
            .app_data(self.switch)
            .app_data(self.figures)
            .app_data(self.identity);
    }
}

/// Sockets and the certificate, as the supervisor hands them over.
#[derive(Default)]
pub struct Listeners {
    /// Serves everything, over TLS.
    pub https: Vec<TcpListener>,
    /// Sends clients to HTTPS; serves everything where there is no HTTPS.
    pub http: Vec<TcpListener>,
    /// Certificate chain and key in PEM; needed with `https`.
    pub tls: Option<(OwnedFd, OwnedFd)>,
}

/// How the listeners behave.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Worker threads for the network.
    pub workers: usize,
    /// How long requests under way may take when the daemon stops.
    pub drain: Duration,
}

/// Servers that are running.
pub struct Running {
    handles: Vec<ServerHandle>,
    servers: JoinSet<std::io::Result<()>>,
}

impl Running {
    /// Refuses new connections and waits for requests under way, as long as the settings allow.
    pub async fn stop(mut self) {
        futures_util::future::join_all(self.handles.iter().map(|handle| handle.stop(true))).await;
        while self.servers.join_next().await.is_some() {}
    }

    /// Serves local processes, too. They may have connected long before: the socket was listening when we came.
    pub fn serve_local(
        &mut self,
        handles: &Handles,
        listener: UnixListener,
        settings: Settings,
    ) -> anyhow::Result<()> {
        let server = local(handles, listener, settings)?;
        self.handles.push(server.handle());
        self.servers.spawn(server);
        Ok(())
    }

    /// Returns when a server ends by itself, which it never should.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.servers.join_next().await {
            Some(Ok(Err(why))) => anyhow::Error::new(why).context("a listener failed"),
            _ => anyhow::anyhow!("a listener ended"),
        }
    }
}

/// What all servers have in common. (A function would need every type parameter of the server in its signature.)
macro_rules! tune {
    ($server:expr, $settings:expr) => {
        $server
            .disable_signals()
            .shutdown_timeout($settings.drain.as_secs())
            .max_connections(CONNECTIONS)
            .client_request_timeout(REQUEST_TIMEOUT)
            .client_disconnect_timeout(LINGER)
            // A client that says it will send no more is gone: nobody else would notice while there is nothing to send it.
            .h1_allow_half_closed(false)
            .keep_alive(KEEP_ALIVE)
            .tls_handshake_timeout(REQUEST_TIMEOUT)
    };
}

/// Starts serving people. Local processes are next ([`Running::serve_local`]), when somebody may already be answered.
pub fn start(handles: &Handles, listeners: Listeners, settings: Settings) -> anyhow::Result<Running> {
    let mut servers = Vec::new();
    let Listeners { https, http, tls } = listeners;
    if let Some(first) = https.first() {
        // The port that is really open: the settings may have asked for any free one.
        let port = first.local_addr().context("the HTTPS socket has no address")?.port();
        servers.extend(redirecting(http, port, settings)?);
        let (chain, key) = tls.context("no certificate was handed over")?;
        servers.push(secure(handles, https, &tls_config(chain, key)?, settings)?);
    } else {
        servers.extend(plain(handles, http, settings)?);
    }
    let handles = servers.iter().map(Server::handle).collect();
    Ok(Running { handles, servers: servers.into_iter().collect() })
}

/// The whole face: API below `/api`, stream, pages.
fn face(handles: Handles) -> impl FnOnce(&mut web::ServiceConfig) {
    move |app| {
        handles.install(app);
        app.service(web::scope("/api").configure(|api| {
            routes::register(api, routes::all());
            api.default_service(web::to(routes::unknown));
        }));
        routes::register(app, routes::outside());
        redfish::configure(app);
        app.default_service(web::to(pages::page));
    }
}

fn secure(
    handles: &Handles,
    listeners: Vec<TcpListener>,
    tls: &rustls::ServerConfig,
    settings: Settings,
) -> anyhow::Result<Server> {
    let handles = handles.clone();
    let mut server = HttpServer::new(move || {
        App::new()
            .wrap(from_fn(access::watch))
            .wrap(
                DefaultHeaders::new()
                    .add((header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains")),
            )
            .configure(face(handles.clone()))
    });
    server = tune!(server, settings).workers(settings.workers).max_connection_rate(HANDSHAKES);
    for listener in listeners {
        give_up_stalled(&listener);
        server = server.listen_rustls_0_23(listener, tls.clone()).context("cannot listen for HTTPS")?;
    }
    Ok(server.run())
}

fn plain(
    handles: &Handles,
    listeners: Vec<TcpListener>,
    settings: Settings,
) -> anyhow::Result<Option<Server>> {
    if listeners.is_empty() {
        return Ok(None);
    }
    let handles = handles.clone();
    let server =
        HttpServer::new(move || App::new().wrap(from_fn(access::watch)).configure(face(handles.clone())));
    let mut server = tune!(server, settings).workers(settings.workers);
    for listener in listeners {
        give_up_stalled(&listener);
        server = server.listen(listener).context("cannot listen for HTTP")?;
    }
    Ok(Some(server.run()))
}

fn redirecting(listeners: Vec<TcpListener>, port: u16, settings: Settings) -> anyhow::Result<Option<Server>> {
    if listeners.is_empty() {
        return Ok(None);
    }
    let server = HttpServer::new(move || {
        App::new()
            .default_service(web::to(move |request: HttpRequest| async move { to_https(&request, port) }))
    });
    let mut server = tune!(server, settings).workers(1);
    for listener in listeners {
        give_up_stalled(&listener);
        server = server.listen(listener).context("cannot listen for HTTP")?;
    }
    Ok(Some(server.run()))
}

/// The API for local processes: at the root, and below `/api` for clients that know only that.
fn local(handles: &Handles, listener: UnixListener, settings: Settings) -> anyhow::Result<Server> {
    let handles = handles.clone();
    let server = HttpServer::new(move || {
        let handles = handles.clone();
        App::new().wrap(from_fn(access::watch)).wrap(from_fn(at_the_root)).configure(|app| {
            handles.install(app);
            routes::register(app, routes::all());
            app.default_service(web::to(routes::unknown));
        })
    });
    let server = tune!(server, settings).workers(1).on_connect(peer::on_unix_connect);
    Ok(server.listen_uds(listener).context("cannot listen on the unix socket")?.run())
}

/// Takes `/api` off the front of a path: one table answers for both, for a second one would be half a megabyte.
async fn at_the_root(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    if let Some(uri) = below_api(request.uri()) {
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
    }
    next.call(request).await
}

/// The same address without `/api` at the front of its path; none when it is not there.
fn below_api(uri: &Uri) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix("/api").filter(|rest| rest.starts_with('/'))?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(rest.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Connections inherit this: the kernel drops them when the other end has gone silent with data under way.
fn give_up_stalled(listener: &TcpListener) {
    use nix::sys::socket::{setsockopt, sockopt};
    if let Err(why) = setsockopt(listener, sockopt::TcpUserTimeout, &STALL_MS) {
        log::debug!("cannot bound stalled connections: {why}");
    }
}

/// 301 to the same place over HTTPS.
fn to_https(request: &HttpRequest, port: u16) -> HttpResponse {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).and_then(host_name);
    let Some(host) = host else { return answer::plain(StatusCode::BAD_REQUEST) };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let mut response = answer::plain(StatusCode::MOVED_PERMANENTLY);
    if let Ok(location) = header::HeaderValue::from_str(&format!("https://{host}{port}{path}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The name or address of a `Host` header, without its port; none when it is no host.
fn host_name(host: &str) -> Option<&str> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let fits = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name.len() <= 255
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        }
    };
    fits.then_some(name)
}

/// TLS 1.2 and 1.3 with the certificate from these descriptors.
fn tls_config(chain: OwnedFd, key: OwnedFd) -> anyhow::Result<rustls::ServerConfig> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_reader_iter(from_start(chain)?)
        .collect::<Result<_, _>>()
        .context("the certificate")?;
    let key = PrivateKeyDer::from_pem_reader(from_start(key)?).context("the certificate's key")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .context("TLS versions")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("certificate and key do not fit")?;
    Ok(config)
}

/// A descriptor that was handed over more than once keeps the place where the last one stopped reading.
fn from_start(file: OwnedFd) -> std::io::Result<std::io::BufReader<File>> {
    let mut file = File::from(file);
    file.seek(SeekFrom::Start(0))?;
    Ok(std::io::BufReader::new(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_lose_their_port() {
        for (host, name) in [
            ("kvm.local:8080", Some("kvm.local")),
            ("kvm.local", Some("kvm.local")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("", None),
            ("evil\\@x", None),
            ("a/b", None),
            ("[x]", None),
        ] {
            assert_eq!(host_name(host), name, "{host}");
        }
    }

    #[test]
    fn the_table_at_the_root_answers_below_api_too() {
        for (asked, rest) in [
            ("/api/msd/write?image=a%20b", Some("/msd/write?image=a%20b")),
            ("/api/", Some("/")),
            ("/api/api/ws", Some("/api/ws")),
            ("http://there/api/ws", Some("http://there/ws")),
            ("/api", None),
            ("/apix/ws", None),
            ("/ws", None),
            ("*", None),
        ] {
            let found = below_api(&asked.parse().unwrap());
            assert_eq!(found.map(|uri| uri.to_string()), rest.map(str::to_owned), "{asked}");
        }
    }

    proptest! {
        #[test]
        fn no_host_can_end_its_part_of_an_address(host in ".{0,40}") {
            if let Some(name) = host_name(&host) {
                prop_assert!(!name.contains(['/', '?', '#', '@', '\\', ' ', '\r', '\n']));
            }
        }
    }
}
