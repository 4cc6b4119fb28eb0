//! Password hashes as they stand in an htpasswd file: checking all of them, making `{SSHA512}`.
//!
//! Not known: classic DES crypt (no maintained implementation; two characters of salt and eight of password are no
//! protection anyway) and plain text. Both simply never match.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq as _;

use crate::error::{Error, random};

/// Rounds of `$5$` and `$6$` above this are not computed: one line in a file must not stop the daemon for minutes.
const MAX_ROUNDS: usize = 1_000_000;
/// The same for bcrypt (about a second on a small board).
const MAX_BCRYPT_COST: u32 = 14;
const SALT_BYTES: usize = 16;

/// Whether a hash of this scheme can be checked at all.
#[must_use]
pub fn is_known(hash: &str) -> bool {
    const PREFIXES: [&str; 10] =
        ["{SSHA512}", "{SSHA256}", "{SSHA}", "{SHA}", "$apr1$", "$1$", "$5$", "$6$", "$2y$", "$2b$"];
    PREFIXES.iter().any(|prefix| hash.starts_with(prefix)) || hash.starts_with("$2a$")
}

/// Whether the password is the one the hash was made from. Unknown and malformed hashes match nothing.
#[must_use]
pub fn verify(hash: &str, password: &str) -> bool {
    let password = password.as_bytes();
    if let Some(rest) = hash.strip_prefix("{SSHA512}") {
        salted::<Sha512>(rest, password)
    } else if let Some(rest) = hash.strip_prefix("{SSHA256}") {
        salted::<Sha256>(rest, password)
    } else if let Some(rest) = hash.strip_prefix("{SSHA}").or_else(|| hash.strip_prefix("{SHA}")) {
        salted::<Sha1>(rest, password)
    } else if let Some(rest) = hash.strip_prefix("$apr1$") {
        md5_crypt("$apr1$", rest, password)
    } else if let Some(rest) = hash.strip_prefix("$1$") {
        md5_crypt("$1$", rest, password)
    } else if let Some(rest) = hash.strip_prefix("$5$") {
        sha_crypt(rest, |salt, rounds| {
            let params = sha_crypt::Sha256Params::new(rounds).ok()?;
            sha_crypt::sha256_crypt_b64(password, salt, &params).ok()
        })
    } else if let Some(rest) = hash.strip_prefix("$6$") {
        sha_crypt(rest, |salt, rounds| {
            let params = sha_crypt::Sha512Params::new(rounds).ok()?;
            sha_crypt::sha512_crypt_b64(password, salt, &params).ok()
        })
    } else if hash.starts_with("$2") {
        bcrypt_matches(hash, password)
    } else {
        false
    }
}

/// A new `{SSHA512}` hash: base64 of digest and a random salt of 16 bytes.
///
/// # Errors
/// [`Error::Random`].
pub fn ssha512(password: &str) -> Result<String, Error> {
    let mut salt = [0; SALT_BYTES];
    random(&mut salt)?;
    let mut bytes = Sha512::new().chain_update(password).chain_update(salt).finalize().to_vec();
    bytes.extend_from_slice(&salt);
    Ok(format!("{{SSHA512}}{}", STANDARD.encode(bytes)))
}

/// base64(digest ‖ salt); an empty salt makes it the unsalted scheme.
fn salted<D: Digest>(encoded: &str, password: &[u8]) -> bool {
    let Ok(bytes) = STANDARD.decode(encoded) else { return false };
    let Some((digest, salt)) = bytes.split_at_checked(<D as Digest>::output_size()) else { return false };
    let computed = D::new().chain_update(password).chain_update(salt).finalize();
    computed.as_slice().ct_eq(digest).into()
}

/// `[rounds=N$]salt$hash`
fn sha_crypt(rest: &str, compute: impl Fn(&[u8], usize) -> Option<String>) -> bool {
    const DEFAULT_ROUNDS: usize = 5_000;
    const MAX_SALT: usize = 16;
    let (rounds, rest) = match rest.strip_prefix("rounds=").and_then(|tail| tail.split_once('$')) {
        Some((rounds, tail)) => match rounds.parse::<usize>() {
            // The scheme raises smaller numbers to its minimum.
            Ok(rounds) if rounds <= MAX_ROUNDS => (rounds.max(1_000), tail),
            _ => return false,
        },
        None => (DEFAULT_ROUNDS, rest),
    };
    let Some((salt, expected)) = rest.split_once('$') else { return false };
    let salt = &salt.as_bytes()[..salt.len().min(MAX_SALT)];
    compute(salt, rounds).is_some_and(|computed| computed.as_bytes().ct_eq(expected.as_bytes()).into())
}

fn bcrypt_matches(hash: &str, password: &[u8]) -> bool {
    let cost = hash.split('$').nth(2).and_then(|cost| cost.parse::<u32>().ok());
    matches!(cost, Some(cost) if cost <= MAX_BCRYPT_COST) && bcrypt::verify(password, hash).unwrap_or(false)
}

/// MD5-crypt: `$1$` of the BSDs and Apache's `$apr1$`, which differ in the magic only. `salt$hash`.
fn md5_crypt(magic: &str, rest: &str, password: &[u8]) -> bool {
    const MAX_SALT: usize = 8;
    let Some((salt, expected)) = rest.split_once('$') else { return false };
    let salt = &salt.as_bytes()[..salt.len().min(MAX_SALT)];
    md5_crypt_text(magic.as_bytes(), salt, password).as_bytes().ct_eq(expected.as_bytes()).into()
}

fn md5_crypt_text(magic: &[u8], salt: &[u8], password: &[u8]) -> String {
    const ROUNDS: u32 = 1_000;
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut outer = Md5::new().chain_update(password).chain_update(magic).chain_update(salt);
    for chunk in password.chunks(inner.len()) {
        outer.update(&inner[..chunk.len()]);
    }
    let mut bits = password.len();
    while bits > 0 {
        // One byte for each bit of the length: a zero for a one, the first character for a zero.
        if bits & 1 == 1 {
            outer.update([0]);
        } else {
            outer.update(&password[..1]);
        }
        bits >>= 1;
    }
    let mut digest = outer.finalize();
    for round in 0..ROUNDS {
        let odd = round % 2 == 1;
        let mut next = Md5::new();
        next.update(if odd { password } else { &digest[..] });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if odd { &digest[..] } else { password });
        digest = next.finalize();
    }
    md5_crypt_digits(&digest)
}

/// The digest in crypt's own order and alphabet, 22 characters.
fn md5_crypt_digits(digest: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const GROUPS: [&[usize]; 6] = [&[0, 6, 12], &[1, 7, 13], &[2, 8, 14], &[3, 9, 15], &[4, 10, 5], &[11]];
    let mut text = String::with_capacity(22);
    for group in GROUPS {
        let mut value = group.iter().fold(0_usize, |value, &at| value << 8 | usize::from(digest[at]));
        for _ in 0..=group.len() {
            text.push(char::from(ALPHABET[value & 63]));
            value >>= 6;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PHRASE: &str = "a longer pass phrase with blanks, 0123456789 and more";

    /// Made by OpenSSL (`passwd -apr1`), libxcrypt and Python's hashlib, not by this code.
    const GOLDEN: &[(&str, &str)] = &[
        ("{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=", "admin"),
        ("$apr1$saltsalt$9c0WR0Se3z5lfIgYnltHf1", "admin"),
        ("$apr1$r31....$ooFPaDeIMuQhasHELoiHS0", PHRASE),
        ("$apr1$ab$S8K6Sgp3W8c9Jb6LxgywZ.", ""),
        ("$1$saltsalt$Y3BMhxQHmg7scgLILa56u1", "admin"),
        ("$5$rounds=2000$saltsalt$IzqavbfObvSKRHHT/B3c.aWZBzU0tN/Jq9UuUxtYhp.", "admin"),
        ("$5$x$LiA5B27qdWGznXy7ZlfY.i4USKLcoaIRWNLQkCLB2S9", PHRASE),
        (
            "$6$saltsalt$ZxoUf1bJzACFdk9GZkBGmxXd3Rq8nUoGjgon4GVoI91SlW41Ew2djlh60PmWr4flwags.7ULrKVSSmnCEsIOj1",
            "admin",
        ),
        (
            "$6$saltsalt$qkTgsCrWMTAS9gBGcf9W60sFfH.hU0oTCAOJjhbz5tSp/sU3/xXZK4OFwCtq8lIIdpJ6CatVdOTSHKp97TPkt/",
            "",
        ),
        ("$2y$05$abcdefghijklmnopqrstuu/ETYr/khvH.poOJBsjjZk.DM9FaNihe", "admin"),
        (
            "{SSHA512}ymznMv/do9buPPGl5Se/gjm8AViMqcMJrNM3TrS5SqW1btrKWkaO3X2AZiePF5zn5QeRrUvVr8J6lf3fkLZX4gABAgMEBQYH",
            "admin",
        ),
        ("{SSHA256}e7Yuy3n7zKBoyf/qwn0te3wAs8R9Br0DEsZMfgQkp7IAAQIDBAUGBw==", "admin"),
    ];

    #[test]
    fn each_scheme_takes_its_password_and_no_other() {
        for (hash, password) in GOLDEN {
            assert!(is_known(hash), "{hash}");
            assert!(verify(hash, password), "{hash} should match");
            assert!(!verify(hash, &format!("{password}x")), "{hash} matched a longer password");
            assert!(!verify(hash, "Admin"), "{hash} matched another password");
        }
    }

    #[test]
    fn a_made_hash_matches_and_is_salted() {
        let (one, two) = (ssha512("secret").unwrap(), ssha512("secret").unwrap());
        assert_ne!(one, two);
        assert!(verify(&one, "secret") && verify(&two, "secret") && !verify(&one, "Secret"));
    }

    #[test]
    fn malformed_and_unknown_hashes_match_nothing() {
        for hash in [
            "",
            "admin",
            "{SSHA512}",
            "{SSHA512}!!!",
            "{SSHA512}AAAA",
            "{SHA}",
            "$apr1$",
            "$apr1$salt",
            "$6$",
            "$6$salt",
            "$6$rounds=99999999999999999999$s$x",
            "$6$rounds=999999999$s$x",
            "$6$rounds=x$s$x",
            "$2y$31$aa",
            "$2y$",
            "$2",
            "abJnggxhB/yWI",
            "{PLAIN}admin",
        ] {
            assert!(!verify(hash, "admin"), "{hash:?}");
            assert!(!verify(hash, ""), "{hash:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_line_upsets_the_check(
            prefix in prop::sample::select(vec!["", "{SSHA512}", "{SSHA256}", "{SHA}", "$apr1$", "$1$", "$5$", "$6$", "$2y$04$"]),
            rest in "[ -~]{0,80}|\\PC{0,40}",
            password in "\\PC{0,20}",
        ) {
            let _ = verify(&format!("{prefix}{rest}"), &password);
        }

        #[test]
        fn every_made_hash_matches_only_its_password(password in "[ -~]{0,64}", other in "[ -~]{0,64}") {
            let hash = ssha512(&password).unwrap();
            prop_assert!(verify(&hash, &password));
            prop_assert_eq!(verify(&hash, &other), password == other);
        }
    }
}
