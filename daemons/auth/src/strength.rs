//! What a new password must at least be: for the first one, which guards a machine's keyboard and power button.
//!
//! Only what is plainly guessable is refused; how good the rest is, a page may show while one types. Passwords that are
//! there already are not judged.

/// What is wrong with a new password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Weak {
    /// Fewer than [`SHORTEST`] characters.
    #[error("The password is too short: at least {SHORTEST} characters")]
    Short,
    /// Too few different characters, a row of a keyboard, or what everybody tries first.
    #[error("The password is too easy to guess")]
    Guessable,
    /// The user's name, or little more.
    #[error("The password is the user name")]
    Name,
}

/// Characters of the shortest password.
pub const SHORTEST: usize = 8;

/// What everybody tries first, and rows that fingers walk along.
const COMMON: [&str; 24] = [
    "password",
    "passw0rd",
    "p@ssword",
    "p@ssw0rd",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "yxcvbnm",
    "zxcvbnm",
    "1q2w3e4r5t6y7u8i",
    "qazwsxedcrfv",
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "98765432109876543210",
    "iloveyou",
    "letmein",
    "welcome",
    "administrator",
    "changeme",
    "raspberry",
    "pikvm",
    "sunshine",
    "football",
];

/// Judges a new password of a user.
///
/// # Errors
/// [`Weak`].
pub fn judge(user: &str, password: &str) -> Result<(), Weak> {
    if password.chars().count() < SHORTEST {
        return Err(Weak::Short);
    }
    let plain = password.to_ascii_lowercase();
    // What hangs on at the ends is what people add when they are told to.
    let core = plain.trim_matches(|letter: char| letter.is_ascii_digit() || letter.is_ascii_punctuation());
    let mut letters: Vec<char> = plain.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    let walks = |row: &str| {
        row.contains(&plain) || (!core.is_empty() && (core == row || (core.len() > 4 && row.contains(core))))
    };
    if !user.is_empty() && (plain == user || core == user) {
        Err(Weak::Name)
    } else if letters.len() < 4 || COMMON.iter().any(|row| walks(row)) {
        Err(Weak::Guessable)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_everybody_tries_first_is_refused() {
        for (password, weak) in [
            ("", Weak::Short),
            ("kd83mZ1", Weak::Short),
            ("aaaaaaaa", Weak::Guessable),
            ("abababab", Weak::Guessable),
            ("12345678", Weak::Guessable),
            ("87654321", Weak::Guessable),
            ("Password1", Weak::Guessable),
            ("password123!", Weak::Guessable),
            ("qwertyuiop", Weak::Guessable),
            ("letmein1", Weak::Guessable),
            ("abcdefgh", Weak::Guessable),
            ("operator", Weak::Name),
            ("Operator1", Weak::Name),
        ] {
            assert_eq!(judge("operator", password), Err(weak), "{password}");
        }
    }

    #[test]
    fn what_is_not_plainly_guessable_passes() {
        for password in ["correct horse", "tr0ub4dor", "kd83mZ1x", "x9#QpL2!", "my-kvm-in-the-rack"] {
            assert_eq!(judge("admin", password), Ok(()), "{password}");
        }
    }

    proptest! {
        #[test]
        fn no_password_panics_and_short_ones_never_pass(user in "\\PC{0,10}", password in "\\PC{0,20}") {
            let passed = judge(&user, &password).is_ok();
            prop_assert!(!passed || password.chars().count() >= SHORTEST);
        }
    }
}
