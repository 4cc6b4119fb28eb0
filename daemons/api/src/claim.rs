//! `/system/claim`: how an appliance gets its owner. Our own, not PiKVM's.
//!
//! Until there is a user, this is all there is: the gate answers everything else with `NotClaimedError`, and every page
//! leads to `/claim/`. Whoever knows the code on the console names the first user; the supervisor looks at the code, and
//! knows how often it may be guessed. A user who appears in the file by other ways (`kvmctl`, a card's `kvm.yaml`) ends it
//! as well, at once.

use crate::{
    answer::{self, Answer},
    audit, body, credential,
    failure::Failure,
    gate,
    query::Query,
    routes::{Entry, Need},
    system,
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{self, Data},
};
use auth::{Auth, Login, Net, Role, file::Stamp, htpasswd::Entries};
use client::{
    supervisor::Supervisor,
    system::{Ask, ClaimCheck, Secret, Told, rule},
};
use model::ErrorClass;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::OwnedMutexGuard;

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[
    Entry::get("/system/claim", || web::to(show)).needs(Need::NoOwner),
    Entry::post("/system/claim", || web::to(claim)).needs(Need::NoOwner),
    Entry::post("/system/language", || web::to(set_language)).by(Role::Admin),
];

/// Languages that the pages speak.
pub const LANGUAGES: [&str; 2] = ["en", "zh-CN"];

/// Whether the appliance has an owner.
pub struct Claim {
    users: PathBuf,
    owned: AtomicBool,
    /// The file when it was last read, which had no user.
    seen: Mutex<Option<Stamp>>,
    /// One after the other: the second finds an owner.
    turn: Arc<tokio::sync::Mutex<()>>,
    guesses: Mutex<Guesses>,
    /// What the supervisor last told of an appliance without owner, and when: anybody may ask, and it asks nobody twice.
    /// That it told nothing counts as well: those who wait do not wait for one another.
    told: tokio::sync::Mutex<Option<(Instant, Result<Value, Failure>)>>,
    /// The language of pages for whoever has chosen none.
    language: PathBuf,
}

/// How long what was told counts.
const FRESH: Duration = Duration::from_secs(1);

/// How often each network address may guess the code: a few times at once, then one in [`Guesses::PAUSE`]. Who guesses all
/// the time delays nobody else.
#[derive(Debug, Default)]
struct Guesses(HashMap<Option<Net>, Instant>);

impl Guesses {
    /// Guesses at once.
    const BURST: u32 = 5;
    /// The time after which there is one more.
    const PAUSE: Duration = Duration::from_secs(2);
    /// Addresses that are remembered.
    const CAPACITY: usize = 1024;

    /// Takes one guess; the error says how long to wait for the next. What is kept of an address is when all of its
    /// guesses will be there again.
    fn take(&mut self, from: Option<Net>, now: Instant) -> Result<(), Duration> {
        if self.0.len() >= Self::CAPACITY {
            self.0.retain(|_, full_at| *full_at > now);
        }
        let full_at = self.0.get(&from).copied().filter(|at| *at > now).unwrap_or(now) + Self::PAUSE;
        let debt = full_at.saturating_duration_since(now);
        if debt > Self::PAUSE * Self::BURST {
            return Err(debt - Self::PAUSE * Self::BURST);
        }
        // A thousand addresses at once are one machine: those it has not used yet wait like a single one.
        let key = if self.0.len() >= Self::CAPACITY && !self.0.contains_key(&from) { None } else { from };
        self.0.insert(key, full_at);
        Ok(())
    }
}

impl Claim {
    /// Of the appliance whose users and whose language stand in those files.
    #[must_use]
    pub fn new(users: PathBuf, language: PathBuf) -> Self {
        Self {
            users,
            language,
            told: tokio::sync::Mutex::default(),
            owned: AtomicBool::new(false),
            seen: Mutex::default(),
            turn: Arc::default(),
            guesses: Mutex::default(),
        }
    }

    /// Of one that is not to be claimed.
    #[must_use]
    pub fn not_needed(language: PathBuf) -> Self {
        let claim = Self::new(PathBuf::new(), language);
        claim.owned.store(true, Ordering::Release);
        claim
    }

    /// Whether there is an owner. Once there is, that stays so; before, the file is looked at, and read when it changed.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        if self.owned.load(Ordering::Acquire) {
            return true;
        }
        let stamp = Stamp::of(&self.users);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // None: there is no file, or it cannot be looked at, which is for the reading to tell apart.
        if stamp.is_some() && *seen == stamp {
            return false;
        }
        let owned = auth::htpasswd::has_users(&self.users);
        *seen = stamp;
        if owned {
            self.owned.store(true, Ordering::Release);
        }
        owned
    }
}

async fn show(claim: Data<Claim>, supervisor: Data<Supervisor>) -> Answer {
    if claim.is_owned() {
        let told = match language(&claim.language) {
            Some(language) => json!({"claimed": true, "language": language}),
            None => json!({"claimed": true}),
        };
        return Ok(answer::ok(&told));
    }
    let mut told = claim.told.lock().await;
    if let Some((at, told)) = &*told
        && at.elapsed() < FRESH
    {
        return told.clone().map(|told| answer::ok(&told));
    }
    let new = system::state(&supervisor).await.map(|state| {
        json!({
            "claimed": false,
            "hostname": state.hostname,
            "timezone": state.timezone,
            "image": state.image,
            "languages": LANGUAGES,
        })
    });
    *told = Some((Instant::now(), new.clone()));
    new.map(|told| answer::ok(&told))
}

/// The language that was chosen for everybody; none when none was.
fn language(file: &Path) -> Option<&'static str> {
    let text = auth::file::read(file, 64).ok()?;
    LANGUAGES.into_iter().find(|known| *known == text.trim())
}

/// One that our pages speak.
fn known_language(text: &str) -> Result<&'static str, Failure> {
    let known = LANGUAGES.into_iter().find(|known| *known == text);
    known.ok_or_else(|| Failure::invalid(format!("language: expected one of {}", LANGUAGES.join(", "))))
}

async fn store_language(claim: &Claim, language: &'static str) -> Result<(), Failure> {
    let file = claim.language.clone();
    let written = web::block(move || auth::file::replace(&file, format!("{language}\n").as_bytes()));
    written.await.map_err(Failure::internal)?.map_err(Failure::internal)
}

async fn set_language(claim: Data<Claim>, query: Query) -> Answer {
    let name = query.get("name").ok_or_else(|| Failure::invalid("The parameter name is missing"))?;
    store_language(&claim, known_language(name)?).await?;
    Ok(answer::nothing())
}

async fn claim(
    request: HttpRequest,
    auth: Data<Auth>,
    claim: Data<Claim>,
    supervisor: Data<Supervisor>,
    payload: web::Payload,
) -> Result<HttpResponse, body::Error> {
    gate::same_origin(&request)?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let body = body::read_form(payload).await?;
    let form = match kind.trim().to_ascii_lowercase().starts_with("application/json") {
        true => read_json(&body)?,
        false => credential::read_form(kind, body).await,
    };
    let wanted = Wanted::parse(&form)?;
    let turn = Arc::clone(&claim.turn).lock_owned().await;
    if claim.is_owned() {
        return Err(already().into());
    }
    let from = gate::address(&request).map(Net::from);
    let taken = claim.guesses.lock().unwrap_or_else(PoisonError::into_inner).take(from, Instant::now());
    taken.map_err(throttled)?;
    check(&supervisor, &wanted.code).await?;
    // First what can be put right: an owner without the name that was asked for would have to come again.
    for ask in wanted.settings() {
        system::done(&supervisor, ask).await?;
    }
    if let Some(language) = wanted.language {
        store_language(&claim, language).await?;
    }
    make_owner(&claim.users, &wanted, turn).await?;
    if !claim.is_owned() {
        return Err(Failure::internal("there is no user though one was written").into());
    }
    log::info!("this appliance is claimed: {} owns it", wanted.user);
    audit::note(&request, "user", &wanted.user);
    if let Err(why) = supervisor.system(Ask::Claimed).await {
        log::warn!("the code stays on the console until the next start: {why}");
    }
    let opened = auth.login(&wanted.user, &wanted.passwd, Duration::ZERO, gate::address(&request)).await;
    Ok(match opened.map_err(Failure::from)? {
        Login::Session(token) => credential::welcome(token.as_str(), ""),
        Login::NotNeeded => answer::nothing(),
    })
}

/// An object of texts.
fn read_json(body: &[u8]) -> Result<HashMap<String, String>, Failure> {
    serde_json::from_slice(body)
        .map_err(|bad| Failure::invalid(format!("The body is no object of texts: {bad}")))
}

fn throttled(wait: Duration) -> Failure {
    let seconds = wait.as_millis().div_ceil(1000);
    Failure::new(ErrorClass::ClaimThrottled, format!("Too many wrong codes: try again in {seconds} s"))
}

fn already() -> Failure {
    Failure::new(ErrorClass::AlreadyClaimed, "This appliance has an owner already")
}

async fn check(supervisor: &Supervisor, code: &str) -> Result<(), Failure> {
    let told = supervisor.system(Ask::CheckClaim { code: Secret(code.to_owned()) }).await;
    match told.map_err(Failure::internal)? {
        Told::Claim { check } => match check {
            ClaimCheck::Right => Ok(()),
            ClaimCheck::Wrong => {
                Err(Failure::new(ErrorClass::Forbidden, "This is not the code on the console"))
            }
            ClaimCheck::Renewed => {
                Err(Failure::new(ErrorClass::Forbidden, "There is another code on the console now"))
            }
            ClaimCheck::Throttled { wait_ms } => Err(throttled(Duration::from_millis(wait_ms))),
            ClaimCheck::Claimed => Err(already()),
        },
        other => Err(Failure::internal(format!("the supervisor told {other:?} of a code"))),
    }
}

/// Writes the first user. The turn ends with the writing, also when the client has hung up meanwhile.
async fn make_owner(users: &Path, wanted: &Wanted, turn: OwnedMutexGuard<()>) -> Result<(), Failure> {
    let (users, user, passwd) = (users.to_owned(), wanted.user.clone(), wanted.passwd.clone());
    let written = web::block(move || {
        let _turn = turn;
        // Lines that are no entries stay.
        let mut entries = Entries::read_or_new(&users)?;
        entries.add(&user, &passwd)?;
        entries.write(&users)
    });
    written.await.map_err(Failure::internal)?.map_err(Failure::internal)
}

/// What a claim asks for, checked as far as it goes by itself.
struct Wanted {
    code: String,
    user: String,
    passwd: String,
    hostname: Option<String>,
    timezone: Option<String>,
    language: Option<&'static str>,
}

impl Wanted {
    fn parse(form: &HashMap<String, String>) -> Result<Self, Failure> {
        let field = |name: &str| form.get(name).map(String::as_str).filter(|text| !text.trim().is_empty());
        let code = field("code").ok_or_else(|| Failure::invalid("The code is missing"))?;
        let user = auth::syntax::user(field("user").unwrap_or("admin"))
            .map_err(|bad| Failure::invalid(bad.to_string()))?;
        let passwd = form.get("passwd").map_or("", String::as_str);
        let passwd = auth::syntax::password(passwd).map_err(|bad| Failure::invalid(bad.to_string()))?;
        auth::strength::judge(user, passwd).map_err(|weak| Failure::invalid(weak.to_string()))?;
        let hostname = field("hostname").map(rule::hostname).transpose();
        let timezone = field("timezone").map(|text| rule::timezone(text).map(str::to_owned)).transpose();
        let language = field("language").map(known_language).transpose()?;
        Ok(Self {
            code: code.to_owned(),
            user: user.to_owned(),
            passwd: passwd.to_owned(),
            hostname: hostname.map_err(|bad| Failure::invalid(bad.to_string()))?,
            timezone: timezone.map_err(|bad| Failure::invalid(bad.to_string()))?,
            language,
        })
    }

    fn settings(&self) -> impl Iterator<Item = Ask> {
        let hostname = self.hostname.clone().map(|name| Ask::SetHostname { name });
        let timezone = self.timezone.clone().map(|name| Ask::SetTimezone { name });
        hostname.into_iter().chain(timezone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &[(&str, &str)]) -> Result<Wanted, Failure> {
        let form = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Wanted::parse(&form)
    }

    #[test]
    fn a_claim_needs_a_code_and_a_password_that_is_none_of_the_obvious() {
        let good = [("code", "ABCD-EFGH"), ("passwd", "correct horse")];
        let wanted = parse(&good).unwrap();
        assert_eq!((wanted.user.as_str(), wanted.settings().count()), ("admin", 0));
        let more =
            [&good[..], &[("hostname", "KVM-1"), ("timezone", "Europe/Berlin"), ("language", "zh-CN")]]
                .concat();
        assert_eq!(
            parse(&more).unwrap().settings().collect::<Vec<_>>(),
            [Ask::SetHostname { name: "kvm-1".into() }, Ask::SetTimezone { name: "Europe/Berlin".into() },]
        );
        for bad in [
            vec![("passwd", "correct horse")],
            vec![("code", "x")],
            vec![("code", "x"), ("passwd", "short")],
            vec![("code", "x"), ("passwd", "password1")],
            vec![("code", "x"), ("passwd", "adminadmin\n")],
            [&good[..], &[("user", "Röt")]].concat(),
            [&good[..], &[("hostname", "a b")]].concat(),
            [&good[..], &[("timezone", "../x")]].concat(),
            [&good[..], &[("language", "xx")]].concat(),
        ] {
            assert_eq!(
                parse(&bad).map_err(|failure| failure.class.name()).err(),
                Some("ValidatorError"),
                "{bad:?}"
            );
        }
    }

    #[actix_web::test]
    async fn the_language_for_everybody_is_one_that_the_pages_speak() {
        let dir = tempfile::tempdir().unwrap();
        let claim = Claim::not_needed(dir.path().join("language"));
        assert_eq!(language(&claim.language), None);
        store_language(&claim, known_language("zh-CN").unwrap_or("en")).await.unwrap_or_default();
        assert_eq!(language(&claim.language), Some("zh-CN"));
        for bad in ["xx", "", "EN", "zh"] {
            assert!(known_language(bad).is_err(), "{bad}");
            std::fs::write(&claim.language, bad).unwrap();
            assert_eq!(language(&claim.language), None, "{bad}");
        }
    }

    #[actix_web::test]
    async fn who_asks_while_the_supervisor_is_silent_does_not_wait_for_another_one_s_silence() {
        let dir = tempfile::tempdir().unwrap();
        let claim = Data::new(Claim::new(dir.path().join("htpasswd"), dir.path().join("language")));
        let supervisor = Data::new(Supervisor::new(dir.path().join("nobody.sock")));
        let ask = async || show(claim.clone(), supervisor.clone()).await.unwrap_err();
        let failure = ask().await;
        let (at, told) = claim.told.lock().await.take().unwrap();
        assert_eq!(told.as_ref(), Err(&failure));
        // As fresh as can be, whatever the clock does, and told apart from what a second question would find.
        *claim.told.lock().await = Some((at + Duration::from_secs(3600), Err(Failure::unavailable())));
        assert_eq!(ask().await, Failure::unavailable());
    }

    #[test]
    fn who_guesses_all_the_time_delays_nobody_else() {
        let (mut guesses, start) = (Guesses::default(), Instant::now());
        let one = Some(Net::V4(1));
        for _ in 0..Guesses::BURST {
            assert_eq!(guesses.take(one, start), Ok(()));
        }
        for _ in 0..100 {
            assert_eq!(guesses.take(one, start), Err(Guesses::PAUSE), "a refusal costs nothing");
        }
        assert_eq!(guesses.take(Some(Net::V4(2)), start), Ok(()));
        assert_eq!(guesses.take(one, start + Guesses::PAUSE), Ok(()));
        assert!(guesses.take(one, start + Guesses::PAUSE).is_err());
        for address in 0..100_000 {
            let _ = guesses.take(Some(Net::V4(address)), start);
        }
        assert!(guesses.0.len() <= Guesses::CAPACITY + 1);
    }

    #[test]
    fn a_body_may_be_an_object_of_texts() {
        assert_eq!(
            read_json(br#"{"code": "x"}"#).unwrap(),
            HashMap::from([("code".to_owned(), "x".to_owned())])
        );
        for bad in [&b"[]"[..], b"", b"{\"code\": 1}", b"\xff"] {
            assert_eq!(read_json(bad).unwrap_err().class.name(), "ValidatorError");
        }
    }

    #[test]
    fn an_owner_who_appears_in_the_file_is_seen_at_once_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let users = dir.path().join("htpasswd");
        let claim = Claim::new(users.clone(), dir.path().join("language"));
        assert!(!claim.is_owned() && !claim.is_owned());
        std::fs::write(&users, "# nobody\n").unwrap();
        assert!(!claim.is_owned() && !claim.is_owned());
        auth::file::replace(&users, b"admin:{SHA}x\n").unwrap();
        assert!(claim.is_owned());
        std::fs::remove_file(&users).unwrap();
        assert!(claim.is_owned(), "the door does not open again by itself");
        assert!(Claim::not_needed(PathBuf::new()).is_owned());
    }
}
