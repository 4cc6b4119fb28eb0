//! Roles, API tokens and codes of one's own, from outside: files on a real disk, the system's clock.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{collections::BTreeSet, net::IpAddr, path::Path, sync::Arc, time::Duration};

use auth::{
    Access, Auth, Denied, Htpasswd, Presented, Role, Settings,
    api_token::Wanted,
    file,
    htpasswd::Entries,
    totp::{OWN_SECRETS, Own, Secret},
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
const PATIENCE: Duration = Duration::from_secs(30);

struct House {
    auth: Auth,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

fn start(dir: &Path, role: Role) -> House {
    let mut entries = Entries::default();
    for user in ["admin", "jane"] {
        entries.add(user, user).unwrap();
    }
    entries.write(&dir.join("htpasswd")).unwrap();
    let settings = Settings {
        state_dir: dir.to_owned(),
        totp_secret: dir.join("totp.secret"),
        role,
        ..Settings::default()
    };
    if !settings.totp_secret.exists() {
        file::replace(&settings.totp_secret, b"").unwrap();
    }
    let stop = CancellationToken::new();
    let service = Arc::new(Htpasswd::new(dir.join("htpasswd")).unwrap());
    let clock = Arc::new(auth::clock::System);
    let (auth, task) = Auth::start(settings, service, clock, stop.clone()).unwrap();
    House { auth, task, stop }
}

impl House {
    async fn enters(&self, user: &str, passwd: &str) -> Result<Access, Denied> {
        let (user, passwd) = (Some(user.as_bytes()), Some(passwd.as_bytes()));
        self.auth.authorize(&Presented { user, passwd, ..Presented::default() }, HERE).await
    }

    async fn shows(&self, secret: &str) -> Result<Access, Denied> {
        let header = format!("Bearer {secret}");
        let shown = Presented { authorization: Some(header.as_bytes()), ..Presented::default() };
        self.auth.authorize(&shown, HERE).await
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn wanted(name: &str, role: Role) -> Wanted {
    Wanted { name: name.to_owned(), role, scopes: BTreeSet::new(), lifetime: None, by: "admin".to_owned() }
}

#[tokio::test]
async fn everybody_is_an_admin_until_a_file_says_otherwise_also_while_they_are_in() {
    let dir = tempfile::tempdir().unwrap();
    let house = start(dir.path(), Role::Admin);
    let jane = house.enters("jane", "jane").await.unwrap();
    assert_eq!(house.auth.role(&jane), Role::Admin);
    file::replace(&dir.path().join("roles"), b"jane:viewer\n").unwrap();
    let demoted = async {
        while house.auth.role(&jane) != Role::Viewer {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, demoted).await.unwrap();
    assert!(house.auth.may(&jane, Role::Viewer, "hid") && !house.auth.may(&jane, Role::Operator, "hid"));
    let admin = house.enters("admin", "admin").await.unwrap();
    assert_eq!(house.auth.role(&admin), Role::Admin);
    house.stop().await;
}

#[tokio::test]
async fn what_was_opened_by_a_password_ends_with_it_and_may_do_the_least_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    file::replace(&dir.path().join("roles"), b"jane:operator\n").unwrap();
    let house = start(dir.path(), Role::Admin);
    let (admin, jane) =
        (house.enters("admin", "admin").await.unwrap(), house.enters("jane", "jane").await.unwrap());
    // Out of memory, the second time.
    let again = house.enters("jane", "jane").await.unwrap();
    assert_eq!(house.auth.role(&jane), Role::Operator);
    let path = dir.path().join("htpasswd");
    let mut entries = Entries::read(&path).unwrap();
    entries.set("jane", "other").unwrap();
    entries.write(&path).unwrap();
    timeout(PATIENCE, async { tokio::join!(jane.ended(), again.ended()) }).await.unwrap();
    assert_eq!((house.auth.role(&jane), house.auth.role(&again)), (Role::Viewer, Role::Viewer));
    assert!(!admin.has_ended() && house.auth.role(&admin) == Role::Admin);

    let jane = house.enters("jane", "other").await.unwrap();
    // Gone, and tidied up behind: at no moment an administrator by being in no line.
    entries.del("jane").unwrap();
    entries.write(&path).unwrap();
    file::replace(&dir.path().join("roles"), b"").unwrap();
    let begin = std::time::Instant::now();
    while !jane.has_ended() {
        assert_ne!(house.auth.role(&jane), Role::Admin);
        assert!(begin.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(house.auth.role(&jane), Role::Viewer);
    house.stop().await;
}

#[tokio::test]
async fn roles_count_when_it_is_known_again_who_is_in_by_right() {
    let dir = tempfile::tempdir().unwrap();
    let (roles, htpasswd) = (dir.path().join("roles"), dir.path().join("htpasswd"));
    file::replace(&roles, b"jane:viewer\n").unwrap();
    let house = start(dir.path(), Role::Admin);
    let jane = house.enters("jane", "jane").await.unwrap();
    let entries = Entries::read(&htpasswd).unwrap();
    std::fs::remove_file(&htpasswd).unwrap();
    std::fs::create_dir(&htpasswd).unwrap();
    file::replace(&roles, b"").unwrap();
    // Long enough for two looks at both.
    for _ in 0..100 {
        assert_eq!(house.auth.role(&jane), Role::Viewer);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    std::fs::remove_dir(&htpasswd).unwrap();
    entries.write(&htpasswd).unwrap();
    let counts = async {
        while house.auth.role(&jane) != Role::Admin {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, counts).await.unwrap();
    house.stop().await;
}

#[tokio::test]
async fn a_role_counts_from_the_first_moment_and_the_settings_say_whose_role_nobody_wrote_down() {
    let dir = tempfile::tempdir().unwrap();
    file::replace(&dir.path().join("roles"), b"admin:admin\n").unwrap();
    let house = start(dir.path(), Role::Viewer);
    for (user, role) in [("admin", Role::Admin), ("jane", Role::Viewer)] {
        let access = house.enters(user, user).await.unwrap();
        assert_eq!(house.auth.role(&access), role, "{user}");
    }
}

#[tokio::test]
async fn with_roles_that_cannot_be_read_everybody_may_only_look() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("roles")).unwrap();
    let house = start(dir.path(), Role::Admin);
    let access = house.enters("admin", "admin").await.unwrap();
    assert_eq!(house.auth.role(&access), Role::Viewer);
}

#[tokio::test]
async fn a_token_has_its_own_role_outlives_a_restart_and_ends_when_it_is_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let house = start(dir.path(), Role::Admin);
    let (secret, made) = house.auth.make_token(wanted("ci", Role::Operator)).await.unwrap();
    let access = house.shows(&secret).await.unwrap();
    assert_eq!((house.auth.role(&access), access.tag()), (Role::Operator, "ci (bearer)".to_owned()));
    assert_eq!(access.user(), None, "it is nobody's");
    house.stop().await;

    let house = start(dir.path(), Role::Admin);
    let access = house.shows(&secret).await.unwrap();
    assert_eq!(house.auth.tokens().len(), 1);
    assert!(house.auth.revoke_token(&made.id).await.unwrap().is_some());
    timeout(PATIENCE, access.ended()).await.unwrap();
    assert!(matches!(house.shows(&secret).await, Err(Denied::Forbidden)));
    house.stop().await;
    let house = start(dir.path(), Role::Admin);
    assert!(matches!(house.shows(&secret).await, Err(Denied::Forbidden)));
}

#[tokio::test]
async fn who_came_with_a_token_is_told_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let house = start(dir.path(), Role::Admin);
    let short = Wanted { lifetime: Some(Duration::from_secs(1)), ..wanted("ci", Role::Viewer) };
    let (secret, _) = house.auth.make_token(short).await.unwrap();
    // A second may be over at once.
    if let Ok(access) = house.shows(&secret).await {
        timeout(PATIENCE, access.ended()).await.unwrap();
    }
    assert!(matches!(house.shows(&secret).await, Err(Denied::Forbidden)));
    assert_eq!(house.auth.tokens().len(), 1, "it is listed until it is revoked");
}

#[tokio::test]
async fn unknown_tokens_lock_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let house = start(dir.path(), Role::Admin);
    let unknown = format!("kvmt_{}", "0".repeat(64));
    for _ in 0..200 {
        assert!(matches!(house.shows(&unknown).await, Err(Denied::Forbidden)));
    }
    assert!(house.enters("admin", "admin").await.is_ok());
}

#[tokio::test]
async fn a_user_with_a_secret_of_their_own_is_asked_for_its_codes_and_nobody_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let secret = Secret::generate().unwrap();
    let mut own = Own::default();
    own.set("jane", &secret).unwrap();
    let house = start(dir.path(), Role::Admin);
    assert!(house.enters("jane", "jane").await.is_ok());
    own.write(&dir.path().join(OWN_SECRETS)).unwrap();
    assert!(matches!(house.enters("jane", "jane").await, Err(Denied::Forbidden)));
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let code = secret.code(wall.as_secs());
    assert!(house.enters("jane", &format!("jane{code}")).await.is_ok());
    assert!(house.enters("admin", "admin").await.is_ok());
    let with_another_s = house.enters("admin", &format!("admin{code}")).await;
    assert!(matches!(with_another_s, Err(Denied::Forbidden)), "nothing is cut off");
}
