//! Which appliance is meant, and who asks: the flags, and what they come to.
//!
//! Without flags it is the one this runs on, asked over `kvmd`'s unix socket by whoever the kernel says we are. `--url` is
//! any other, with a token or a password. Secrets are never on the command line, where every user of the machine reads them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use crate::{Console, Exit, Failure};

/// More than any file of a token, a password or certificates has.
const FILE_BYTES: u64 = 1 << 20;
/// Where a token may be instead of in a file.
const TOKEN: &str = "KVMCTL_TOKEN";

/// Which appliance, and who asks.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Another appliance than this")]
pub(crate) struct Reach {
    /// Its address, such as https://kvm.local, instead of the one this runs on.
    #[arg(id = "reach-url", long = "url", value_name = "URL", env = "KVMCTL_URL")]
    pub(crate) url: Option<String>,
    /// Comes as this user, with the password of `--password-file` or one that is asked for. A one-time code goes behind the
    /// password. Uploads and updates log in once and out at the end; programs should rather have a token.
    #[arg(id = "reach-user", long = "user", value_name = "NAME", env = "KVMCTL_USER")]
    pub(crate) user: Option<String>,
    /// The file whose first line is the password.
    #[arg(id = "reach-password", long = "password-file", value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// The file whose first line is an API token (`kvmctl token create`); or the token is in KVMCTL_TOKEN.
    #[arg(id = "reach-token", long = "token-file", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Trusts certificates that these (PEM) vouch for, and no others.
    #[arg(id = "reach-cacert", long = "cacert", value_name = "FILE", env = "KVMCTL_CACERT")]
    pub(crate) cacert: Option<PathBuf>,
    /// Trusts any certificate, and sends secrets by http, too: whoever is in between reads and changes everything.
    #[arg(id = "reach-insecure", long = "insecure")]
    pub(crate) insecure: bool,
}

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Whoever the kernel says, or nobody.
    Nobody,
    /// A token.
    Token(String),
    /// A user with a password.
    User { name: String, password: String },
}

impl Reach {
    /// The address without a slash at its end, if there is one.
    ///
    /// # Errors
    /// It is none: usage.
    pub(crate) fn address(&self) -> Result<Option<String>, Failure> {
        let Some(url) = self.url.as_deref().map(str::trim).filter(|url| !url.is_empty()) else {
            return Ok(None);
        };
        let full = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
        let parsed = reqwest::Url::parse(&full).map_err(|why| usage(format!("--url {url}: {why}")))?;
        let whole = matches!(parsed.scheme(), "https" | "http") && parsed.host_str().is_some();
        let plain = parsed.query().is_none() && parsed.fragment().is_none();
        let secret = !parsed.username().is_empty() || parsed.password().is_some();
        if !whole || !plain || secret {
            return Err(usage(format!("--url {url}: expected something like https://kvm.local")));
        }
        Ok(Some(parsed.as_str().trim_end_matches('/').to_owned()))
    }

    /// Who asks; a password that is in no file is asked for.
    pub(crate) fn caller(&self, console: &mut Console<'_>) -> Result<Caller, Failure> {
        if let Some(file) = &self.token_file {
            return Ok(Caller::Token(first_line(file)?));
        }
        if let Some(name) = &self.user {
            let password = match &self.password_file {
                Some(file) => first_line(file)?,
                None => (console.secret)(Some(&format!("Password of {name}: ")))?,
            };
            return Ok(Caller::User { name: name.clone(), password });
        }
        if self.password_file.is_some() {
            return Err(usage("--password-file: whose? --user says so"));
        }
        let token = std::env::var(TOKEN).ok().map(|token| token.trim().to_owned());
        Ok(token.filter(|token| !token.is_empty()).map_or(Caller::Nobody, Caller::Token))
    }

    /// The certificates to trust instead of the system's.
    pub(crate) fn roots(&self) -> Result<Option<Vec<reqwest::Certificate>>, Failure> {
        let Some(file) = &self.cacert else { return Ok(None) };
        let bytes = read(file)?;
        let roots = reqwest::Certificate::from_pem_bundle(&bytes)
            .with_context(|| format!("{}: no certificates", file.display()))?;
        if roots.is_empty() {
            return Err(anyhow!("{}: no certificates", file.display()).into());
        }
        Ok(Some(roots))
    }
}

/// A line that makes no sense although it could be read.
pub(crate) fn usage(why: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, anyhow!(why.into()))
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let named = |error: std::io::Error| anyhow!("{}: {error}", file.display());
    let mut bytes = Vec::new();
    std::fs::File::open(file).map_err(named)?.take(FILE_BYTES).read_to_end(&mut bytes).map_err(named)?;
    Ok(bytes)
}

/// The first line of a file, which may be a pipe (`--password-file <(pass kvm)`).
fn first_line(file: &Path) -> Result<String, Failure> {
    let text = String::from_utf8(read(file)?).map_err(|_| anyhow!("{}: not text", file.display()))?;
    let line = text.lines().next().unwrap_or("").trim_end();
    if line.is_empty() {
        return Err(anyhow!("{}: its first line is empty", file.display()).into());
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Option<String> {
        Reach { url: Some(url.to_owned()), ..Reach::default() }.address().ok().flatten()
    }

    #[test]
    fn an_address_is_one_of_the_web_and_has_no_secrets() {
        assert_eq!(address("kvm.local").as_deref(), Some("https://kvm.local"));
        assert_eq!(address("https://kvm.local/").as_deref(), Some("https://kvm.local"));
        assert_eq!(address("http://[::1]:8080/desk/").as_deref(), Some("http://[::1]:8080/desk"));
        assert_eq!(address(" "), None, "an empty variable is none");
        for bad in ["ftp://kvm", "https://", "https://jane:pw@kvm", "https://kvm/?x=1", "https://kvm/#x"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_secret_is_the_first_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "pass word\r\nmore\n").unwrap();
        assert_eq!(first_line(&file).ok().as_deref(), Some("pass word"));
        std::fs::write(&file, "\nx").unwrap();
        assert!(first_line(&file).is_err());
    }
}
