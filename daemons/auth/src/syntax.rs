//! The rules of section 4 for what may be a user name, a password, a token, an expiry.
//!
//! A text is measured against its raw limit before anything else is done with it.

/// A value no user, password or token can have: 400 `ValidatorError`.
///
/// The text names the field, never the value: what was typed may be a password in the wrong box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The {field} is not valid: {expected}")]
pub struct Invalid {
    field: &'static str,
    expected: &'static str,
}

const MAX_USER: usize = 128;
const MAX_PASSWORD: usize = 512;
const MAX_TOKEN: usize = 128;
const MAX_NUMBER: usize = 16;
const TOKEN_DIGITS: usize = 64;

fn limit(field: &'static str, text: &str, max: usize) -> Result<(), Invalid> {
    if text.chars().count() > max { Err(Invalid { field, expected: "too long" }) } else { Ok(()) }
}

/// A user name, trimmed: `^[a-z_]([a-z0-9@._-]*[a-z0-9_-])?$`, raw limit 128.
///
/// # Errors
/// Any other text.
pub fn user(text: &str) -> Result<&str, Invalid> {
    limit("user name", text, MAX_USER)?;
    let name = text.trim();
    let bad = Invalid {
        field: "user name",
        expected: "lower-case letters, digits and @ . _ - (not at the end: @ .)",
    };
    let [first, rest @ ..] = name.as_bytes() else { return Err(bad) };
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"@._-".contains(byte);
    let first_fits = first.is_ascii_lowercase() || *first == b'_';
    let last_fits = !matches!(rest.last(), Some(b'@' | b'.'));
    if first_fits && last_fits && rest.iter().all(inner) { Ok(name) } else { Err(bad) }
}

/// A password: any number of printable ASCII characters (0x20 to 0x7E), not trimmed, raw limit 512.
///
/// # Errors
/// Any other text.
pub fn password(text: &str) -> Result<&str, Invalid> {
    limit("password", text, MAX_PASSWORD)?;
    if text.bytes().all(|byte| (0x20..=0x7E).contains(&byte)) {
        Ok(text)
    } else {
        Err(Invalid { field: "password", expected: "printable ASCII characters" })
    }
}

/// A session token, trimmed: exactly 64 characters `[0-9a-f]`, raw limit 128.
///
/// # Errors
/// Any other text.
pub fn token(text: &str) -> Result<&str, Invalid> {
    limit("auth token", text, MAX_TOKEN)?;
    let token = text.trim();
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if token.len() == TOKEN_DIGITS && token.bytes().all(hex) {
        Ok(token)
    } else {
        Err(Invalid { field: "auth token", expected: "64 lower-case hex digits" })
    }
}

/// The wanted lifetime of a session in seconds: an integer, 0 or more (0 = no wish), decimal or `0x`, raw limit 16.
///
/// # Errors
/// Any other text.
pub fn expire(text: &str) -> Result<u64, Invalid> {
    limit("expire", text, MAX_NUMBER)?;
    let bad = Invalid { field: "expire", expected: "seconds, 0 or more" };
    let text = text.trim();
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (digits, 10),
    };
    // from_str_radix would take a second sign.
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return Err(bad);
    }
    let seconds = u64::from_str_radix(digits, radix).map_err(|_| bad)?;
    if negative && seconds > 0 { Err(bad) } else { Ok(seconds) }
}

/// Where a login may send the browser afterwards: `""` (nowhere) or a member of `allowed`, after trimming and
/// lower-casing. Answers the member itself.
///
/// # Errors
/// Any other text.
pub fn redirect<'a>(text: &str, allowed: &'a [String]) -> Result<&'a str, Invalid> {
    const MAX: usize = 256;
    limit("redirect", text, MAX)?;
    let wanted = text.trim().to_lowercase();
    if wanted.is_empty() {
        return Ok("");
    }
    allowed
        .iter()
        .find(|path| path.to_lowercase() == wanted)
        .map(String::as_str)
        .ok_or(Invalid { field: "redirect", expected: "one of the allowed paths" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn user_names_follow_the_pattern_and_nothing_else() {
        for good in ["admin", " admin ", "_", "a", "a.b@c-d_9", "_-", "x1"] {
            assert_eq!(user(good), Ok(good.trim()), "{good:?}");
        }
        for bad in
            ["", " ", "Admin", "1a", "a.", "a@", "@a", "-a", "a b", "ä", "a\nb", "admin\nroot", "a:b", "a\0"]
        {
            assert!(user(bad).is_err(), "{bad:?}");
        }
        assert!(user(&"a".repeat(128)).is_ok());
        assert!(user(&"a".repeat(129)).is_err());
        assert!(user(&format!("a{}", " ".repeat(128))).is_err(), "the raw limit counts blanks too");
    }

    #[test]
    fn passwords_are_printable_ascii_and_not_trimmed() {
        assert_eq!(password(""), Ok(""));
        assert_eq!(password("  ~ "), Ok("  ~ "));
        for bad in ["a\tb", "\u{7f}", "ü", "a\n"] {
            assert!(password(bad).is_err(), "{bad:?}");
        }
        assert!(password(&"x".repeat(512)).is_ok());
        assert!(password(&"x".repeat(513)).is_err());
    }

    #[test]
    fn tokens_are_64_lower_case_hex_digits() {
        assert!(token(&"0f".repeat(32)).is_ok());
        for bad in ["", "xyz", &"0F".repeat(32), &"0".repeat(63), &"0".repeat(65), &"g0".repeat(32)] {
            assert!(token(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn expire_takes_what_the_contract_calls_an_integer() {
        for (text, seconds) in [
            ("0", 0),
            ("3600", 3600),
            (" +7 ", 7),
            ("0x10", 16),
            ("0XfF", 255),
            ("-0", 0),
            ("99999999999", 99_999_999_999),
        ] {
            assert_eq!(expire(text), Ok(seconds), "{text:?}");
        }
        for bad in ["", "-1", "abc", "1.0", "--1", "+-1", "0x", "0x-1", "1e3", "ff", "99999999999999999"] {
            assert!(expire(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn redirects_outside_the_list_are_refused() {
        let allowed = ["/".to_owned(), "/kvm".to_owned(), "/kvm/".to_owned()];
        assert_eq!(redirect("", &allowed), Ok(""));
        assert_eq!(redirect(" /KVM/ ", &allowed), Ok("/kvm/"));
        assert!(redirect("/evil", &allowed).is_err());
        assert!(redirect("//evil", &allowed).is_err());
    }

    proptest! {
        #[test]
        fn what_passes_as_a_user_name_passes_again_unchanged(text in "\\PC{0,140}|[a-z0-9@._ -]{0,20}") {
            if let Ok(name) = user(&text) {
                prop_assert_eq!(user(name), Ok(name));
                prop_assert!(!name.contains([':', '\n', ' ']), "a name must be safe in htpasswd: {:?}", name);
            }
        }

        #[test]
        fn no_text_upsets_a_validator(text in "\\PC*") {
            let _ = (user(&text).is_ok(), password(&text).is_ok(), token(&text).is_ok(), expire(&text).is_ok());
            prop_assert!(redirect(&text, &[]).is_err() || text.trim().is_empty());
        }
    }
}
