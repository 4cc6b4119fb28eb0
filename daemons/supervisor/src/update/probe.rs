//! Whether the appliance can serve: what a new release has to show before it is kept.
//!
//! Asked from outside, as its users do: the supervisor over its socket, the web over TLS, the gadget's state, the streamer by
//! its first words. **Never asked**: a network's link, the Internet, the target's signal, whether a cable is in. Those can be
//! missing for a good release as well.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use client::line;
use client::supervisor::{ServiceState, Supervisor};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, Stream};
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::sync::watch;
use update::{Phase, State};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a release that is kept runs until is looked whether it has a USB controller: its driver may come late.
const CONTROLLER_COMES: Duration = Duration::from_secs(60);

/// Where the appliance is asked.
#[derive(Clone)]
pub(super) struct Probe {
    pub(super) supervisor: Supervisor,
    /// Where the web listens, and whether it speaks TLS there; `None` when the settings want none.
    pub(super) web: Option<(SocketAddr, bool)>,
    pub(super) certificate: PathBuf,
    pub(super) has_gadget: bool,
    pub(super) streamer: PathBuf,
    /// Left by the first program of this start when the data could not be mounted.
    pub(super) data_lost: PathBuf,
    /// Left when a release that was kept had a USB controller.
    pub(super) had_controller: PathBuf,
}

impl Probe {
    /// Whether it can serve; else what cannot, in one line.
    pub(super) async fn ask(&self) -> Result<(), String> {
        // Without its data it has no owner and no settings, and answers all the same.
        if self.data_lost.exists() {
            return Err("its data partition could not be mounted".to_owned());
        }
        self.services().await?;
        self.web().await.map_err(|why| format!("web: {why}"))?;
        self.gadget().await.map_err(|why| format!("keyboard and mouse: {why}"))?;
        let video = self.video().await.map_err(|why| format!("video: {why}"));
        // Whether it works is known; it is needed no more.
        let let_go = self.supervisor.hold_streamer(false).await.map_err(|error| error.to_string());
        video.and(let_go)
    }

    /// What was started to be asked alone is stopped. A look that was given up half-way may have left it.
    pub(super) async fn rest(&self) {
        let rest = self.supervisor.hold_streamer(false);
        if !matches!(tokio::time::timeout(PATIENCE, rest).await, Ok(Ok(()))) {
            log::warn!("the streamer may run on after the health check");
        }
    }

    /// Waits until the release that runs is one that is kept, and remembers whether it has a USB controller.
    pub(super) async fn remember(self, mut states: watch::Receiver<State>) {
        let is_kept = |state: &State| {
            state.slot == state.kept && !matches!(state.phase, Phase::Trial | Phase::Restarting)
        };
        if !self.has_gadget || states.wait_for(is_kept).await.is_err() {
            return;
        }
        tokio::time::sleep(CONTROLLER_COMES).await;
        let Ok(gadget) = self.supervisor.gadget().await else { return };
        let mark = self.had_controller;
        let marked = tokio::task::spawn_blocking(move || {
            match (gadget.is_some_and(|gadget| gadget.controller.is_some()), mark.exists()) {
                (true, false) => std::fs::write(&mark, ""),
                (false, true) => std::fs::remove_file(&mark),
                _ => Ok(()),
            }
        });
        if let Ok(Err(error)) = marked.await {
            log::warn!("whether there is a USB controller is not remembered: {error}");
        }
    }

    async fn services(&self) -> Result<(), String> {
        let status = self.supervisor.status().await.map_err(|error| error.to_string())?;
        if status.ready {
            return Ok(());
        }
        let waits = status
            .services
            .iter()
            .find(|service| service.state != ServiceState::Ready && service.state != ServiceState::Stopped);
        Err(match waits {
            Some(service) => {
                let ended = service.last_end.as_ref().map_or_else(String::new, |how| format!(" ({how})"));
                format!("{} is not ready{ended}", service.name)
            }
            None => "not everything is ready".to_owned(),
        })
    }

    async fn web(&self) -> Result<(), String> {
        let Some((address, tls)) = self.web else { return Ok(()) };
        let certificate = self.certificate.clone();
        let ask = tokio::task::spawn_blocking(move || get(address, tls.then_some(certificate.as_path())));
        match tokio::time::timeout(2 * PATIENCE, ask).await {
            Ok(Ok(result)) => result.map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    pub(super) async fn gadget(&self) -> Result<(), String> {
        if !self.has_gadget {
            return Ok(());
        }
        let gadget = self.supervisor.gadget().await.map_err(|error| error.to_string())?;
        match gadget.filter(|gadget| gadget.controller.is_some()) {
            // Pulled by a person is pulled.
            Some(gadget) if gadget.connected && gadget.state == "unbound" => {
                Err(gadget.fault.unwrap_or_else(|| "the USB gadget is not bound".to_owned()))
            }
            // A board without one had none before either.
            None if self.had_controller.exists() => Err("there is no USB controller any more".to_owned()),
            _ => Ok(()),
        }
    }

    /// The streamer's first words are its state: whatever that is, it runs and answers.
    async fn video(&self) -> Result<(), String> {
        self.supervisor.hold_streamer(true).await.map_err(|error| error.to_string())?;
        let words = async {
            let stream = UnixStream::connect(&self.streamer).await.map_err(|error| error.to_string())?;
            let state: Result<Option<client::streamer::State>, _> =
                line::read(&mut BufReader::new(stream)).await;
            match state {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err("the streamer ended".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        let silent = || Err("the streamer does not answer".to_owned());
        tokio::time::timeout(PATIENCE, words).await.unwrap_or_else(|_| silent())
    }
}

/// Asks for the first page; any answer by HTTP is one. Blocks, for a bounded time.
fn get(address: SocketAddr, certificate: Option<&Path>) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some(certificate) = certificate else { return speak(&mut stream) };
    let own = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Own { certificate: own, provider }))
        .with_no_client_auth();
    let name = ServerName::from(address.ip());
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    speak(&mut Stream::new(&mut connection, &mut stream))
}

fn speak(stream: &mut (impl Read + Write)) -> io::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut begin = [0; 9];
    stream.read_exact(&mut begin)?;
    match &begin {
        b"HTTP/1.1 " => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP")),
    }
}

/// Trusts one certificate: our own, whoever signed it and whatever the clock says.
#[derive(Debug)]
struct Own {
    certificate: CertificateDer<'static>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl ServerCertVerifier for Own {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match *shown == self.certificate {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::General("it shows another certificate than its own".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, shown, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, shown, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
