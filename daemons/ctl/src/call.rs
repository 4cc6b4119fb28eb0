//! `kvmctl api`: any call there is, as it is in the list of routes.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};

use crate::desk::{Desk, piped};
use crate::face::Call;
use crate::{Exit, Failure, reach::usage};

/// The longest body, in bytes: images have a verb of their own.
const BODY_BYTES: u64 = 64 << 20;

/// Lines of the head that show who asks.
const SECRETS: [&str; 4] = ["authorization", "cookie", "x-auth-token", "x-kvmd-passwd"];

#[derive(Debug, clap::Args)]
pub(crate) struct Any {
    /// `GET`, `POST`, `DELETE`, `PATCH`, `HEAD`, `OPTIONS`.
    method: String,
    /// The path, with or without `/api` before it: `/atx/power`.
    path: String,
    /// Parameters of the query: `action=on wait=1`.
    #[arg(value_name = "NAME=VALUE")]
    parameters: Vec<String>,
    /// What is sent along: a file, `-` for standard input.
    #[arg(short, long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// What the body is.
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "application/octet-stream")]
    kind: String,
    /// A line for the head: `Accept: text/plain`.
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Takes the path as it is, also outside of `/api`: `/streamer/stream`. Only by `--url`.
    #[arg(long)]
    raw: bool,
}

pub(crate) fn run(desk: &mut Desk<'_, '_>, any: Any) -> Result<Exit, Failure> {
    let method = any.method.to_ascii_uppercase();
    let known = ["GET", "POST", "DELETE", "PATCH", "PUT", "HEAD", "OPTIONS"].contains(&method.as_str());
    let method = Method::from_bytes(method.as_bytes()).ok().filter(|_| known);
    let method = method.ok_or_else(|| usage(format!("{}: no method of HTTP", any.method)))?;
    if !any.path.starts_with('/') || any.path.contains(['?', '#']) {
        return Err(usage(format!("{}: a path begins with / and has no parameters", any.path)));
    }
    let mut call = Call::new(method, any.path);
    for parameter in &any.parameters {
        let parts = parameter.split_once('=');
        let (name, value) = parts.ok_or_else(|| usage(format!("{parameter}: expected NAME=VALUE")))?;
        call = call.with(name, value);
    }
    if let Some(file) = &any.body {
        call = call.body(body(file)?, &any.kind);
    }
    for line in &any.header {
        let bad = || usage(format!("{line}: expected NAME: VALUE"));
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        let name: HeaderName = name.trim().parse().map_err(|_| bad())?;
        if SECRETS.contains(&name.as_str()) {
            desk.face.keeps_secrets()?;
        }
        call = call.header(name, HeaderValue::from_str(value.trim()).map_err(|_| bad())?);
    }
    let call = if any.raw { call.raw() } else { call };
    let (face, console) = (&desk.face, &mut *desk.console);
    face.copy(call, |piece| {
        console.out.write_all(piece)?;
        Ok(console.out.flush()?)
    })?;
    Ok(Exit::Good)
}

fn body(file: &Path) -> Result<Vec<u8>, Failure> {
    if file == Path::new("-") {
        return piped(BODY_BYTES);
    }
    let named = |error: std::io::Error| anyhow!("{}: {error}", file.display());
    let size = std::fs::metadata(file).map_err(named)?.len();
    if size > BODY_BYTES {
        return Err(anyhow!("{}: more than {BODY_BYTES} bytes", file.display()).into());
    }
    Ok(std::fs::read(file).map_err(named)?)
}
