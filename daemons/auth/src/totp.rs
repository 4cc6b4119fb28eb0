//! The second factor: time-based codes (RFC 6238: SHA-1, 6 digits, 30 s, one step early or late tolerated).
//!
//! One secret for all users, base32 in a file that is read again on every attempt; or a user's own, which then counts
//! instead, from a file of `user:secret` lines ([`Own`]) that need not be there. The code is the last six characters of
//! the password. A code may be used again within its window: programs send it with each request.

use std::{collections::BTreeMap, path::Path};

use subtle::{Choice, ConstantTimeEq as _};
use totp_rs::{Algorithm, Secret as Base32, TOTP};

use crate::{
    error::{Error, random},
    file, syntax,
};

/// The name of the file of users' own secrets, beside the sessions.
pub const OWN_SECRETS: &str = "totp.users";

const CODE_DIGITS: usize = 6;
const STEP_S: u64 = 30;
const MAX_BYTES: u64 = 4_096;
/// 160 bits, as RFC 4226 recommends.
const SECRET_BYTES: usize = 20;

/// Whether codes are asked for.
#[derive(Clone)]
pub enum Factor {
    /// No path, or an empty file.
    Off,
    /// Codes made from this secret.
    On(Secret),
}

impl Factor {
    /// Reads the secret file; an empty path or an empty file means off.
    ///
    /// # Errors
    /// [`Error::Read`] (a missing file too: nobody gets in by deleting it), [`Error::BadSecret`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        if path.as_os_str().is_empty() {
            return Ok(Self::Off);
        }
        let text = file::read(path, MAX_BYTES)?;
        if text.trim().is_empty() {
            return Ok(Self::Off);
        }
        Secret::parse(&text).map(Self::On).ok_or_else(|| Error::BadSecret { path: path.to_owned() })
    }
}

impl Factor {
    /// What is asked of a user: codes of their own secret, or of everybody's.
    ///
    /// # Errors
    /// As [`Factor::read`] and [`Own::of`].
    pub fn of(user: &str, own: &Path, shared: &Path) -> Result<Self, Error> {
        // Both are read whoever asks, so that the time does not tell who has a secret.
        let shared = Self::read(shared);
        match Own::read(own)?.of(user, own)? {
            Some(secret) => Ok(Self::On(secret)),
            None => shared,
        }
    }
}

/// Secrets of users who have one of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own(BTreeMap<String, String>);

impl Own {
    /// Reads the file; one that is not there is of nobody. The last line of a user counts. A line that is damaged is a bad
    /// secret of its user, if it still says whose.
    ///
    /// # Errors
    /// [`Error::Read`], also for a file that is too long: who stands behind its end cannot be told from who has no secret.
    pub fn read(path: &Path) -> Result<Self, Error> {
        const LONGEST: u64 = 1 << 20;
        let bytes = file::bytes_if_there(path, LONGEST)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        Ok(Self(lines.map(|(user, secret)| (user.trim().to_owned(), secret.trim().to_owned())).collect()))
    }

    /// Replaces the file as a whole, mode 0600.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text: String = self.0.iter().map(|(user, secret)| format!("{user}:{secret}\n")).collect();
        file::replace(path, text.as_bytes())
    }

    /// The secret of a user, if they have one. `path` is for the error to name.
    ///
    /// # Errors
    /// [`Error::BadSecret`]: that user does not get in until it is mended, everybody else does.
    pub fn of(&self, user: &str, path: &Path) -> Result<Option<Secret>, Error> {
        let bad = || Error::BadSecret { path: path.to_owned() };
        self.0.get(user).map(|text| Secret::parse(text).ok_or_else(bad)).transpose()
    }

    /// Gives a user a secret.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no user's name.
    pub fn set(&mut self, user: &str, secret: &Secret) -> Result<(), Error> {
        self.0.insert(syntax::user(user)?.to_owned(), secret.base32());
        Ok(())
    }

    /// Takes a user's secret away; false when there was none.
    pub fn forget(&mut self, user: &str) -> bool {
        self.0.remove(user).is_some()
    }

    /// Who has one.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The secret that codes are made from.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Reads base32; blanks, dashes, padding and lower case are forgiven.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text: String = text
            .chars()
            .filter(|&c| !c.is_whitespace() && c != '-' && c != '=')
            .map(|c| c.to_ascii_uppercase())
            .collect();
        let bytes = Base32::Encoded(text).to_bytes().ok()?;
        if bytes.is_empty() { None } else { Some(Self(bytes)) }
    }

    /// A new random secret.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = vec![0; SECRET_BYTES];
        random(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The secret as it stands in the file.
    #[must_use]
    pub fn base32(&self) -> String {
        Base32::Raw(self.0.clone()).to_encoded().to_string()
    }

    /// The `otpauth://` address an authenticator app scans.
    #[must_use]
    pub fn uri(&self, issuer: &str, name: &str) -> String {
        let (issuer, name) = (percent(issuer), percent(name));
        format!("otpauth://totp/{issuer}:{name}?secret={}&issuer={issuer}", self.base32())
    }

    /// The code of a moment.
    #[must_use]
    pub fn code(&self, unix_s: u64) -> String {
        self.totp().generate(unix_s)
    }

    /// Whether this is the code of now, of the step before or of the one after. Answers the second from which it is
    /// no longer accepted. Takes the same time for every code of the right length.
    #[must_use]
    pub fn accepts(&self, code: &str, unix_s: u64) -> Option<u64> {
        let totp = self.totp();
        let step = unix_s / STEP_S;
        let mut until = None;
        for candidate in [step.saturating_sub(1), step, step.saturating_add(1)] {
            let expected = totp.generate(candidate.saturating_mul(STEP_S));
            let hit: Choice = expected.as_bytes().ct_eq(code.as_bytes());
            if hit.into() {
                until = Some(candidate.saturating_add(2).saturating_mul(STEP_S));
            }
        }
        until
    }

    fn totp(&self) -> TOTP {
        // Unchecked: short secrets made by other tools must go on working.
        TOTP::new_unchecked(Algorithm::SHA1, CODE_DIGITS, 0, STEP_S, self.0.clone())
    }
}

/// Everything but unreserved characters as `%XX`.
fn percent(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Splits what was typed into password and code, the code being the last six characters (or all there are).
#[must_use]
pub fn split(typed: &str) -> (&str, &str) {
    let start = typed.char_indices().rev().nth(CODE_DIGITS - 1).map_or(0, |(at, _)| at);
    typed.split_at(start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 6238, appendix B: the secret "12345678901234567890", last six digits of the SHA-1 column.
    const RFC: [(u64, &str); 6] = [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ];

    fn secret() -> Secret {
        Secret::parse("gezd gnbv-GY3TQOJQGEZDGNBVGY3TQOJQ==\n").unwrap()
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (time, code) in RFC {
            assert_eq!(secret().code(time), code);
            assert!(secret().accepts(code, time).is_some());
        }
    }

    #[test]
    fn a_code_is_good_one_step_early_and_late_and_no_longer() {
        let code = secret().code(3_000);
        for (time, until) in
            [(2_969, None), (2_970, Some(3_060)), (3_000, Some(3_060)), (3_059, Some(3_060)), (3_060, None)]
        {
            assert_eq!(secret().accepts(&code, time), until, "at {time}");
        }
    }

    #[test]
    fn other_texts_are_no_codes() {
        for code in ["", "0", "28708", "2870820", "abcdef", "287083"] {
            assert_eq!(secret().accepts(code, 59), None, "{code}");
        }
    }

    #[test]
    fn at_the_edges_of_time_nothing_overflows() {
        assert!(secret().accepts(&secret().code(0), 0).is_some());
        let _ = secret().accepts("000000", u64::MAX);
    }

    #[test]
    fn an_empty_path_and_an_empty_file_are_off_a_missing_or_bad_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("totp.secret");
        assert!(matches!(Factor::read(Path::new("")), Ok(Factor::Off)));
        assert!(matches!(Factor::read(&path), Err(Error::Read { .. })));
        file::replace(&path, b" \n").unwrap();
        assert!(matches!(Factor::read(&path), Ok(Factor::Off)));
        file::replace(&path, b"not base32!").unwrap();
        assert!(matches!(Factor::read(&path), Err(Error::BadSecret { .. })));
        file::replace(&path, secret().base32().as_bytes()).unwrap();
        let Ok(Factor::On(read)) = Factor::read(&path) else { panic!("should be on") };
        assert_eq!(read.code(59), "287082");
    }

    #[test]
    fn a_user_s_own_secret_counts_instead_of_everybody_s() {
        let dir = tempfile::tempdir().unwrap();
        let (own, shared) = (dir.path().join(OWN_SECRETS), dir.path().join("totp.secret"));
        file::replace(&shared, b"").unwrap();
        assert!(matches!(Factor::of("jane", &own, &shared), Ok(Factor::Off)), "there is no such file");
        let mut secrets = Own::read(&own).unwrap();
        secrets.set("jane", &secret()).unwrap();
        assert!(secrets.set("Jane", &secret()).is_err());
        secrets.write(&own).unwrap();
        assert_eq!(Own::read(&own).unwrap(), secrets);
        assert!(matches!(Factor::of("bob", &own, &shared), Ok(Factor::Off)));
        let code = |user| match Factor::of(user, &own, &shared) {
            Ok(Factor::On(secret)) => Some(secret.code(59)),
            _ => None,
        };
        assert_eq!(code("jane").as_deref(), Some("287082"));
        file::replace(&shared, Secret::generate().unwrap().base32().as_bytes()).unwrap();
        assert_eq!(code("jane").as_deref(), Some("287082"));
        assert!(code("bob").is_some_and(|code| code != "287082"));
        file::replace(&own, b"jane:not base32!").unwrap();
        assert!(matches!(Factor::of("jane", &own, &shared), Err(Error::BadSecret { .. })));
        assert!(Factor::of("bob", &own, &shared).is_ok());
        file::replace(&own, b"jane:GEZD\xff\xfe\n\xff\xff\xff\nbob").unwrap();
        assert!(matches!(Factor::of("jane", &own, &shared), Err(Error::BadSecret { .. })), "damaged");
        assert!(Factor::of("bob", &own, &shared).is_ok());
    }

    #[test]
    fn the_uri_names_issuer_host_and_secret() {
        let uri = secret().uri("PiKVM", "host:1 b");
        assert_eq!(
            uri,
            "otpauth://totp/PiKVM:host%3A1%20b?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=PiKVM"
        );
    }

    #[test]
    fn the_code_is_the_last_six_characters() {
        assert_eq!(split("admin123456"), ("admin", "123456"));
        assert_eq!(split("123456"), ("", "123456"));
        assert_eq!(split("123"), ("", "123"));
        assert_eq!(split(""), ("", ""));
    }

    proptest! {
        #[test]
        fn splitting_loses_nothing(typed in "\\PC{0,20}") {
            let (password, code) = split(&typed);
            prop_assert!(code.chars().count() <= 6);
            prop_assert_eq!(format!("{password}{code}"), typed);
        }

        #[test]
        fn a_generated_secret_reads_back(time in 0_u64..1 << 40) {
            let made = Secret::generate().unwrap();
            prop_assert_eq!(Secret::parse(&made.base32()).unwrap().code(time), made.code(time));
        }
    }
}
