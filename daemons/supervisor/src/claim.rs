//! The code that makes somebody the owner of an appliance that has none.
//!
//! ```text
//!             start, no user ──▶ shown ──wrong, too often──▶ shown (another code)
//!   owned ◀── a user is there ─────┘
//! ```
//!
//! Whoever can read the console or the card may own the appliance: the code stands on the console, above the login, and
//! in `claim-code.txt` on the partition that every computer can read. It goes nowhere else: to no log, over no network. It
//! is another one at every start. [`Tries`] says how often may be guessed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use client::system::ClaimCheck;
use nix::fcntl::OFlag;
use sha2::{Digest as _, Sha256};

use crate::file;

/// Wrong codes are told to the log at most so often.
const WARNED: Duration = Duration::from_secs(60);
/// The file on the card's partition.
pub const FILE: &str = "claim-code.txt";
/// Nothing in it can be taken for another: no 0 and O, 1, I and L, 2 and Z, 5 and S, 8 and B, U and V.
const ALPHABET: &[u8] = b"34679ACDEFGHJKMNPQRTWXY";
/// Characters of a code: 36 bits.
const LENGTH: usize = 8;

/// How often may be guessed, by all together; how often by one address, `kvmd` knows.
///
/// Generous, so that a stranger in the network who guesses all the time takes nobody's turn and changes no code under its
/// reader's eyes: at this rate 36 bits last two centuries.
#[derive(Debug, Clone)]
pub struct Tries {
    left: u32,
    filled_at: Instant,
    wrong: u32,
}

impl Tries {
    /// Guesses at once.
    pub const BURST: u32 = 50;
    /// The time after which there is one more.
    pub const PAUSE: Duration = Duration::from_millis(100);
    /// Wrong guesses that a code lasts.
    pub const WRONG: u32 = 10_000;

    /// All of them are left.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { left: Self::BURST, filled_at: now, wrong: 0 }
    }

    /// Takes one guess; the error says how long to wait for the next.
    ///
    /// # Errors
    ///
    /// There is none left.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.filled_at);
        let more = u32::try_from(passed.as_millis() / Self::PAUSE.as_millis()).unwrap_or(u32::MAX);
        if self.left.saturating_add(more) >= Self::BURST {
            (self.left, self.filled_at) = (Self::BURST, now);
        } else {
            self.left += more;
            self.filled_at += Self::PAUSE * more;
        }
        if self.left == 0 {
            return Err(Self::PAUSE.saturating_sub(now.saturating_duration_since(self.filled_at)));
        }
        self.left -= 1;
        Ok(())
    }

    /// The guess was wrong; true when the code is worn out.
    pub fn wrong(&mut self) -> bool {
        self.wrong += 1;
        let worn_out = self.wrong >= Self::WRONG;
        if worn_out {
            self.wrong = 0;
        }
        worn_out
    }
}

/// Where the code is shown.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The partition that every computer can read, or a directory in its place.
    pub card: Option<PathBuf>,
    /// Screen and serial line, whatever the kernel takes for its console.
    pub console: Option<PathBuf>,
    /// What stands above the login on a screen.
    pub issue: Option<PathBuf>,
}

/// An appliance's claim.
#[derive(Debug)]
pub struct Claim {
    users: PathBuf,
    places: Places,
    code: Option<String>,
    tries: Tries,
    warned_at: Option<Instant>,
}

impl Claim {
    /// Of the appliance whose users stand in that file. Shows a code if there are none.
    #[must_use]
    pub fn open(users: PathBuf, places: Places, hostname: &str) -> Self {
        let mut claim =
            Self { users, places, code: None, tries: Tries::new(Instant::now()), warned_at: None };
        if claim.is_owned() {
            // Left over where the power went right after the claim.
            claim.hide();
        } else {
            log::warn!("nobody owns this appliance yet: the code to claim it is on its console");
            claim.show(hostname);
        }
        claim
    }

    /// Whether there is a user.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        auth::htpasswd::has_users(&self.users)
    }

    /// Looks at a guess.
    pub fn check(&mut self, guess: &str, hostname: &str, now: Instant) -> ClaimCheck {
        if self.is_owned() {
            self.hide();
            return ClaimCheck::Claimed;
        }
        if let Err(wait) = self.tries.take(now) {
            // Rounded up: who comes again then is early by nothing.
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
            return ClaimCheck::Throttled { wait_ms };
        }
        let Some(code) = &self.code else {
            // The users went while we ran, or the code could not be made before.
            self.show(hostname);
            return ClaimCheck::Renewed;
        };
        if same(code, guess) {
            return ClaimCheck::Right;
        }
        // Whoever guesses must not fill the log.
        if self.warned_at.is_none_or(|at| now.saturating_duration_since(at) >= WARNED) {
            self.warned_at = Some(now);
            log::warn!("a wrong code to claim this appliance");
        }
        if self.tries.wrong() {
            log::warn!("too many wrong codes: another one is on the console");
            self.show(hostname);
            return ClaimCheck::Renewed;
        }
        ClaimCheck::Wrong
    }

    /// There may be an owner now: then the code is taken away.
    pub fn claimed(&mut self) {
        if self.is_owned() && self.code.is_some() {
            log::info!("this appliance has an owner now");
            self.hide();
        }
    }

    fn show(&mut self, hostname: &str) {
        let code = match make() {
            Ok(code) => code,
            Err(error) => {
                log::error!("no code to claim this appliance can be made: {error}");
                self.code = None;
                return;
            }
        };
        let (one, two) = code.split_at(LENGTH / 2);
        let text = format!("https://{hostname}.local/ has no owner yet. Code to claim it: {one}-{two}");
        self.code = Some(code.clone());
        if let Some(card) = &self.places.card
            && let Err(error) =
                on_card(card, |dir| file::replace(&dir.join(FILE), format!("{text}\r\n").as_bytes(), 0o600))
        {
            log::warn!("the code to claim this appliance is not on the card: {error}");
        }
        if let Some(issue) = &self.places.issue
            && let Err(error) = issue
                .parent()
                .map_or(Ok(()), |dir| file::directory_if_missing(dir, 0o755))
                .and_then(|()| file::replace(issue, format!("{text}\n\n").as_bytes(), 0o600))
        {
            log::warn!("the code to claim this appliance is not above the login: {error}");
        }
        if let Some(console) = &self.places.console
            && let Err(error) = say(console, &text)
        {
            log::warn!("the code to claim this appliance is not on the console: {error}");
        }
    }

    fn hide(&mut self) {
        self.code = None;
        let gone = |path: &Path| match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        if let Some(card) = &self.places.card
            && card.join(FILE).exists()
            && let Err(error) = on_card(card, |dir| gone(&dir.join(FILE)))
        {
            log::warn!("{FILE} stays on the card: {error}");
        }
        if let Some(issue) = &self.places.issue
            && let Err(error) = gone(issue)
        {
            log::warn!("{}: {error}", issue.display());
        }
    }
}

/// Writes on the card's partition, which is read-only otherwise.
fn on_card(card: &Path, work: impl FnOnce(&Path) -> std::io::Result<()>) -> std::io::Result<()> {
    let open = sys::sel::Writable::open(card)?;
    work(card)?;
    open.close()
}

/// Says something on the console that a person there should notice, where that takes it at once.
///
/// # Errors
///
/// The kernel's words.
pub fn say(console: &Path, text: &str) -> std::io::Result<()> {
    line(console, &format!("\r\n{text}\r\n"))
}

/// Writes a line on the console, where that takes it at once.
///
/// # Errors
///
/// The kernel's words.
pub fn line(console: &Path, text: &str) -> std::io::Result<()> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut console = fs::OpenOptions::new().append(true).custom_flags(flags.bits()).open(console)?;
    console.write_all(format!("{text}\r\n").as_bytes())
}

/// A new code.
fn make() -> Result<String, getrandom::Error> {
    let mut code = String::with_capacity(LENGTH);
    // Bytes beyond the last whole multiple would prefer some characters.
    let limit = 256 - 256 % ALPHABET.len();
    while code.len() < LENGTH {
        let mut byte = [0];
        getrandom::fill(&mut byte)?;
        let byte = usize::from(byte[0]);
        if byte < limit
            && let Some(letter) = ALPHABET.get(byte % ALPHABET.len())
        {
            code.push(char::from(*letter));
        }
    }
    Ok(code)
}

/// Compares in a time that says nothing: two digests, byte by byte to the end.
fn same(code: &str, guess: &str) -> bool {
    let plain: String = guess
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_uppercase())
        .take(4 * LENGTH)
        .collect();
    let (code, guess) = (Sha256::digest(code), Sha256::digest(plain));
    code.iter().zip(guess.iter()).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(dir: &Path) -> Option<String> {
        let text = fs::read_to_string(dir.join(FILE)).ok()?;
        text.trim_end().rsplit(' ').next().map(str::to_owned)
    }

    fn open(dir: &Path) -> Claim {
        let places = Places {
            card: Some(dir.to_owned()),
            console: Some(dir.join("console")),
            issue: Some(dir.join("run/issue.d/kvmd.issue")),
        };
        fs::write(dir.join("console"), "").unwrap();
        Claim::open(dir.join("htpasswd"), places, "kvm-1234")
    }

    fn own(dir: &Path) {
        fs::write(dir.join("htpasswd"), "admin:{SHA}x\n").unwrap();
    }

    #[test]
    fn the_code_is_on_console_login_and_card_until_there_is_an_owner() {
        let dir = tempfile::tempdir().unwrap();
        let mut claim = open(dir.path());
        let code = shown(dir.path()).unwrap();
        assert_eq!(code.len(), LENGTH + 1);
        for file in ["console", "run/issue.d/kvmd.issue"] {
            assert!(fs::read_to_string(dir.path().join(file)).unwrap().contains(&code), "{file}");
        }
        let now = Instant::now();
        for guess in [code.clone(), code.to_lowercase(), code.replace('-', " ")] {
            assert_eq!(claim.check(&guess, "kvm", now), ClaimCheck::Right, "{guess}");
        }
        claim.claimed();
        assert!(shown(dir.path()).is_some(), "nobody is there yet");
        own(dir.path());
        claim.claimed();
        assert_eq!(shown(dir.path()), None);
        assert!(!dir.path().join("run/issue.d/kvmd.issue").exists());
        assert_eq!(claim.check(&code, "kvm", now), ClaimCheck::Claimed);
    }

    #[test]
    fn every_start_has_a_code_of_its_own_and_an_owned_appliance_none() {
        let dir = tempfile::tempdir().unwrap();
        let first = { open(dir.path()).code.unwrap() };
        let second = { open(dir.path()).code.unwrap() };
        assert_ne!(first, second);
        own(dir.path());
        assert_eq!(open(dir.path()).code, None);
        assert_eq!(shown(dir.path()), None, "what the last start left is gone");
    }

    #[test]
    fn too_many_wrong_codes_make_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut claim = open(dir.path());
        let old = shown(dir.path()).unwrap();
        let mut now = Instant::now();
        for _ in 1..Tries::WRONG {
            assert_eq!(claim.check("AAAA-AAAA", "kvm", now), ClaimCheck::Wrong);
            now += Tries::PAUSE;
        }
        assert_eq!(claim.check("AAAA-AAAA", "kvm", now), ClaimCheck::Renewed);
        let new = shown(dir.path()).unwrap();
        assert_ne!(old, new);
        now += Tries::PAUSE;
        assert_eq!(claim.check(&old, "kvm", now), ClaimCheck::Wrong);
        now += Tries::PAUSE;
        assert_eq!(claim.check(&new, "kvm", now), ClaimCheck::Right);
    }

    #[test]
    fn whoever_guesses_fast_has_to_wait() {
        let start = Instant::now();
        let mut tries = Tries::new(start);
        for _ in 0..Tries::BURST {
            assert_eq!(tries.take(start), Ok(()));
        }
        assert_eq!(tries.take(start), Err(Tries::PAUSE));
        let later = start + Duration::from_millis(60);
        assert_eq!(tries.take(later), Err(Tries::PAUSE - Duration::from_millis(60)));
        let later = start + Tries::PAUSE;
        assert_eq!(tries.take(later), Ok(()));
        assert!(tries.take(later).is_err());
    }

    #[test]
    fn a_card_that_cannot_be_written_leaves_the_console() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places {
            card: Some(dir.path().join("none")),
            console: Some(dir.path().join("console")),
            issue: None,
        };
        fs::write(dir.path().join("console"), "").unwrap();
        let claim = Claim::open(dir.path().join("htpasswd"), places, "kvm");
        assert!(claim.code.is_some());
        assert!(!fs::read_to_string(dir.path().join("console")).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn guesses_come_no_faster_than_they_may(steps in proptest::collection::vec(0_u64..200, 1..300)) {
            let start = Instant::now();
            let (mut tries, mut now, mut taken) = (Tries::new(start), start, 0_u128);
            for step in steps {
                now += Duration::from_millis(step);
                taken += u128::from(tries.take(now).is_ok());
                let allowed = u128::from(Tries::BURST) + (now - start).as_millis() / Tries::PAUSE.as_millis();
                prop_assert!(taken <= allowed, "{taken} of {allowed}");
            }
        }

        #[test]
        fn no_other_text_is_the_code(guess in "\\PC{0,40}") {
            let plain: String = guess.chars().filter(char::is_ascii_alphanumeric).collect();
            prop_assert_eq!(same("34679ACD", &guess), plain.eq_ignore_ascii_case("34679ACD"));
        }
    }
}
