//! Which credentials of a request count (section 5.1): the first carrier that is present decides, right or wrong.

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::{api_token, error::Denied, syntax};

/// What a request shows. Header values as they arrived; `None` where the header is missing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Presented<'a> {
    /// `X-KVMD-User`
    pub user: Option<&'a [u8]>,
    /// `X-KVMD-Passwd`
    pub passwd: Option<&'a [u8]>,
    /// The value of the cookie `auth_token` (see [`cookie`]).
    pub token: Option<&'a [u8]>,
    /// `Authorization`
    pub authorization: Option<&'a [u8]>,
    /// Who is connected to the unix socket, already mapped to one of our users. Leave it out for login, logout and
    /// check, which refuse it.
    pub peer: Option<&'a Peer>,
}

/// A user known by the kernel's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The user's name.
    pub user: String,
    /// The process' user id.
    pub uid: u32,
}

/// Which header a password came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// `X-KVMD-User` and `X-KVMD-Passwd`
    XHeader,
    /// `Authorization: Basic`
    Basic,
}

/// The credentials that count. Their syntax is right; whether they are anybody's is for [`crate::Auth`] to say.
#[derive(Clone, PartialEq, Eq)]
pub enum Carrier {
    /// User and password.
    Password {
        /// The user, trimmed.
        user: String,
        /// The password (with its code, where codes are asked for).
        passwd: String,
        /// The header it came in.
        via: Via,
    },
    /// A session token, 64 lower-case hex digits.
    Token(String),
    /// An API token.
    Bearer(String),
    /// The unix socket's other end.
    Peer(Peer),
    /// Nothing at all.
    Nothing,
}

impl Carrier {
    /// The access log's user field when these credentials were refused. A password that turned out right is logged
    /// the same way; for a good token ask [`crate::Access::tag`].
    #[must_use]
    pub fn tag(&self) -> String {
        match self {
            Self::Password { user, via: Via::XHeader, .. } => format!("{user} (xhdr)"),
            Self::Password { user, via: Via::Basic, .. } => format!("{user} (basic)"),
            Self::Token(_) => "- (token)".to_owned(),
            Self::Bearer(_) => "- (bearer)".to_owned(),
            Self::Peer(Peer { user, uid }) => format!("{user}[{uid}] (unix)"),
            Self::Nothing => "-".to_owned(),
        }
    }
}

impl std::fmt::Debug for Carrier {
    /// As the access log has it: no password and no token reaches a log by accident.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.tag())
    }
}

/// Picks the credentials that count and checks their syntax.
///
/// # Errors
/// [`Denied::Invalid`] for characters no credentials can have, [`Denied::Unauthorized`] for a Basic header that
/// cannot be decoded or does not hold exactly one colon.
pub fn credentials(shown: &Presented<'_>) -> Result<Carrier, Denied> {
    if let Some(user) = shown.user.filter(|user| !user.is_empty()) {
        return password(&lossy(user), &lossy(shown.passwd.unwrap_or_default()), Via::XHeader);
    }
    if let Some(token) = shown.token.filter(|token| !token.is_empty()) {
        return Ok(Carrier::Token(syntax::token(&lossy(token))?.to_owned()));
    }
    if let Some(text) = shown.authorization.and_then(bearer) {
        return Ok(Carrier::Bearer(text.to_owned()));
    }
    if let Some(encoded) = shown.authorization.and_then(|header| scheme(header, "basic")) {
        let decoded = decode(encoded).ok_or(Denied::Unauthorized)?;
        return match decoded.split_once(':') {
            Some((user, passwd)) if !passwd.contains(':') => password(user, passwd, Via::Basic),
            _ => Err(Denied::Unauthorized),
        };
    }
    Ok(shown.peer.map_or(Carrier::Nothing, |peer| Carrier::Peer(peer.clone())))
}

/// The value of a cookie in a `Cookie` header; the first of that name.
#[must_use]
pub fn cookie<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    header.split(|&byte| byte == b';').find_map(|pair| {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        let (key, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        let value = value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value);
        (key == name.as_bytes()).then_some(value)
    })
}

fn password(user: &str, passwd: &str, via: Via) -> Result<Carrier, Denied> {
    let user = syntax::user(user)?.to_owned();
    let passwd = syntax::password(passwd)?.to_owned();
    Ok(Carrier::Password { user, passwd, via })
}

/// Bytes that are no UTF-8 become a character no validator accepts.
fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// What follows the scheme, when the scheme is this one.
fn scheme<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let header = header.trim_ascii();
    let (scheme, rest) = header.split_at_checked(name.len())?;
    let ends = rest.first().is_none_or(u8::is_ascii_whitespace);
    (ends && scheme.eq_ignore_ascii_case(name.as_bytes())).then(|| rest.trim_ascii())
}

/// One of our tokens. What is none of ours is absent, as any scheme that we do not know.
fn bearer(header: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(scheme(header, "bearer")?).ok()?;
    api_token::is_one(text).then_some(text)
}

fn decode(encoded: &[u8]) -> Option<String> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    String::from_utf8(LENIENT.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};

    use super::*;

    const TOKEN: &[u8] = b"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn xhdr(user: &'static str, passwd: Option<&'static str>) -> Presented<'static> {
        Presented { user: Some(user.as_bytes()), passwd: passwd.map(str::as_bytes), ..Presented::default() }
    }

    fn basic_of(text: &'static str) -> Result<Carrier, Denied> {
        credentials(&Presented { authorization: Some(text.as_bytes()), ..Presented::default() })
    }

    fn admin(passwd: &str, via: Via) -> Carrier {
        Carrier::Password { user: "admin".into(), passwd: passwd.into(), via }
    }

    #[test]
    fn x_headers_carry_user_and_password() {
        assert_eq!(credentials(&xhdr("admin", Some("pw"))).unwrap(), admin("pw", Via::XHeader));
        assert_eq!(credentials(&xhdr("admin", None)).unwrap(), admin("", Via::XHeader));
        assert_eq!(credentials(&xhdr("", Some("pw"))).unwrap(), Carrier::Nothing);
        assert!(matches!(credentials(&xhdr("Admin", Some("pw"))), Err(Denied::Invalid(_))));
        assert!(matches!(credentials(&xhdr("admin", Some("a\tb"))), Err(Denied::Invalid(_))));
    }

    #[test]
    fn a_password_header_alone_is_nothing() {
        let shown = Presented { passwd: Some(b"pw"), ..Presented::default() };
        assert_eq!(credentials(&shown).unwrap(), Carrier::Nothing);
    }

    #[test]
    fn a_malformed_token_is_invalid_and_an_empty_one_absent() {
        let with = |token| Presented { token: Some(token), ..Presented::default() };
        assert_eq!(credentials(&with(TOKEN)).unwrap(), Carrier::Token(String::from_utf8_lossy(TOKEN).into()));
        assert!(matches!(credentials(&with(b"xyz")), Err(Denied::Invalid(_))));
        assert!(matches!(credentials(&with(b"\xff\xfe")), Err(Denied::Invalid(_))));
        assert_eq!(credentials(&with(b"")).unwrap(), Carrier::Nothing);
    }

    #[test]
    fn basic_is_read_in_any_case() {
        for header in ["Basic YWRtaW46YWRtaW4=", "basic YWRtaW46YWRtaW4=", "BASIC  YWRtaW46YWRtaW4 "] {
            assert_eq!(basic_of(header).unwrap(), admin("admin", Via::Basic), "{header}");
        }
    }

    #[test]
    fn basic_that_cannot_be_read_is_no_credentials() {
        // Not base64; no colon; two colons; not UTF-8; nothing.
        for header in
            ["Basic !!!", "Basic YWRtaW4=", "Basic YWRtaW46YWQ6bWlu", "Basic //8=", "Basic", "Basic "]
        {
            assert!(matches!(basic_of(header), Err(Denied::Unauthorized)), "{header}");
        }
        assert!(
            matches!(basic_of("Basic QWRtaW46eA=="), Err(Denied::Invalid(_))),
            "Admin:x has bad characters"
        );
    }

    #[test]
    fn a_bearer_is_one_of_our_tokens() {
        let text = format!("kvmt_{}", String::from_utf8_lossy(TOKEN));
        for scheme in ["Bearer", "bearer", "BEARER "] {
            let header = format!("{scheme} {text}");
            let shown = Presented { authorization: Some(header.as_bytes()), ..Presented::default() };
            assert_eq!(credentials(&shown).unwrap(), Carrier::Bearer(text.clone()), "{scheme}");
        }
        assert_eq!(format!("{:?}", Carrier::Bearer(text)), "- (bearer)");
    }

    #[test]
    fn another_scheme_is_absent() {
        for header in ["Bearer abc", "Bearer", "Bearer kvmt_0", "Basically YWRtaW46YWRtaW4=", "", "Bas"] {
            assert_eq!(basic_of(header).unwrap(), Carrier::Nothing, "{header}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let header = b"a=1; auth_token=abc ;auth_token=second; xauth_token=no";
        assert_eq!(cookie(header, "auth_token"), Some(&b"abc"[..]));
        assert_eq!(cookie(b"auth_token=\"abc\"", "auth_token"), Some(&b"abc"[..]));
        assert_eq!(cookie(b"auth_token", "auth_token"), None);
        assert_eq!(cookie(b"auth_token=", "auth_token"), Some(&b""[..]));
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", admin("hunter2", Via::Basic)), "admin (basic)");
        assert_eq!(format!("{:?}", Carrier::Token("00".into())), "- (token)");
    }

    fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
        let text = prop_oneof![
            Just(b"admin".to_vec()),
            Just(Vec::new()),
            Just(TOKEN.to_vec()),
            Just(b"Basic YWRtaW46YWRtaW4=".to_vec()),
            Just([b"Bearer kvmt_", TOKEN].concat()),
            prop::collection::vec(any::<u8>(), 0..40),
        ];
        option::of(text)
    }

    proptest! {
        #[test]
        fn the_first_present_carrier_decides_whatever_follows(
            user in bytes(), passwd in bytes(), token in bytes(), authorization in bytes(), has_peer in any::<bool>(),
        ) {
            let peer = Peer { user: "root".into(), uid: 0 };
            let all = Presented {
                user: user.as_deref(), passwd: passwd.as_deref(), token: token.as_deref(),
                authorization: authorization.as_deref(), peer: has_peer.then_some(&peer),
            };
            let present = |value: &Option<Vec<u8>>| value.as_ref().is_some_and(|bytes| !bytes.is_empty());
            let only = if present(&user) {
                Presented { user: all.user, passwd: all.passwd, ..Presented::default() }
            } else if present(&token) {
                Presented { token: all.token, ..Presented::default() }
            } else if authorization.as_deref().is_some_and(|header| {
                scheme(header, "basic").is_some() || bearer(header).is_some()
            }) {
                Presented { authorization: all.authorization, ..Presented::default() }
            } else {
                Presented { peer: all.peer, ..Presented::default() }
            };
            prop_assert_eq!(format!("{:?}", credentials(&all)), format!("{:?}", credentials(&only)));
        }

        #[test]
        fn what_comes_out_has_the_right_syntax(user in bytes(), passwd in bytes(), token in bytes(), authorization in bytes()) {
            let shown = Presented {
                user: user.as_deref(), passwd: passwd.as_deref(), token: token.as_deref(),
                authorization: authorization.as_deref(), peer: None,
            };
            match credentials(&shown) {
                Ok(Carrier::Password { user, passwd, .. }) => {
                    prop_assert_eq!(syntax::user(&user), Ok(user.as_str()));
                    prop_assert!(syntax::password(&passwd).is_ok());
                }
                Ok(Carrier::Bearer(token)) => prop_assert!(api_token::is_one(&token)),
                Ok(Carrier::Token(token)) => prop_assert_eq!(syntax::token(&token), Ok(token.as_str())),
                Ok(Carrier::Peer(_)) => prop_assert!(false, "no peer was shown"),
                Ok(Carrier::Nothing) | Err(Denied::Invalid(_) | Denied::Unauthorized) => {}
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn no_cookie_header_upsets_the_search(header in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = cookie(&header, "auth_token");
        }
    }
}
