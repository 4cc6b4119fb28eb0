//! The handle to the guard, and what nobody guards.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::{sync::broadcast, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Access, Allowed, Login},
    api_token::{self, ApiToken},
    carrier::{Carrier, Peer, Presented, credentials},
    clock::Clock,
    error::{Denied, Error},
    guard::{Guard, Settings},
    keeper,
    role::Role,
    service::Service,
    session::{Kind, Session, SessionEnd},
    syntax,
};

/// A handle to the guard. Cheap to clone.
#[derive(Clone)]
pub struct Auth(Mode);

#[derive(Clone)]
enum Mode {
    Open,
    Guarded(Arc<Guard>),
}

impl Auth {
    /// Nobody is asked for anything (`auth.enabled: false`).
    #[must_use]
    pub fn disabled() -> Self {
        Self(Mode::Open)
    }

    /// Takes over sessions and counters of the last run and starts the task that ends sessions in time and writes
    /// the state. The task runs until `stop` and finishes with a last write: wait for it. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Random`]. Damaged or missing state files are only logged.
    pub fn start(
        settings: Settings,
        service: Arc<dyn Service>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Result<(Self, JoinHandle<()>), Error> {
        let guard = Arc::new(Guard::new(settings, service, clock)?);
        // Passwords may have been changed while nobody looked.
        guard.read_roles_and_judge();
        let task = tokio::spawn(keeper::keep(Arc::clone(&guard), stop));
        Ok((Self(Mode::Guarded(guard)), task))
    }

    /// Whether anybody is asked at all (`info.auth.enabled`).
    #[must_use]
    pub fn enabled(&self) -> bool {
        matches!(self.0, Mode::Guarded(_))
    }

    /// Whether a request may pass: section 5.1 as a whole. `from` is the network address of the client, `None` for
    /// the unix socket.
    ///
    /// # Errors
    /// Every [`Denied`].
    pub async fn authorize(&self, shown: &Presented<'_>, from: Option<IpAddr>) -> Result<Access, Denied> {
        let Mode::Guarded(guard) = &self.0 else { return Ok(Access::Open) };
        match credentials(shown)? {
            Carrier::Password { user, passwd, via } => {
                let (Allowed { user }, right) = guard.check_password(&user, &passwd, from).await?;
                Ok(Access::Password { user, via, right })
            }
            Carrier::Token(token) => Ok(Access::Session(self.check_token(&token)?)),
            Carrier::Bearer(text) => self.check_api_token(&text),
            Carrier::Peer(peer) => Ok(Access::Peer(peer)),
            Carrier::Nothing => Err(Denied::Unauthorized),
        }
    }

    /// Whether the password (with its code, where codes are asked for) is the user's. Makes no session.
    ///
    /// # Errors
    /// [`Denied::Invalid`], [`Denied::Forbidden`] (wrong, or locked out), [`Denied::Busy`], [`Denied::Failed`].
    pub async fn check_password(
        &self,
        user: &str,
        passwd: &str,
        from: Option<IpAddr>,
    ) -> Result<Allowed, Denied> {
        match &self.0 {
            Mode::Open => Ok(Allowed { user: user.trim().to_owned() }),
            Mode::Guarded(guard) => Ok(guard.check_password(user, passwd, from).await?.0),
        }
    }

    /// Checks the password, never from memory, and opens a session. `expire` zero = as long as the settings allow.
    /// The session is on the disk when this answers; with a disk that takes nothing it lives in memory only.
    ///
    /// # Errors
    /// As [`Auth::check_password`].
    pub async fn login(
        &self,
        user: &str,
        passwd: &str,
        expire: Duration,
        from: Option<IpAddr>,
    ) -> Result<Login, Denied> {
        let Mode::Guarded(guard) = &self.0 else { return Ok(Login::NotNeeded) };
        let user = syntax::user(user)?;
        let made_from = guard.check_anew(user, passwd, from).await?;
        let (token, change) = guard.open_session(user, made_from, (Kind::Person, expire))?;
        if let Err(error) = guard.settle(change).await {
            log::warn!("The login of {user} will not outlive a restart: {error}");
        }
        Ok(Login::Session(token))
    }

    /// As [`Auth::login`], for a program: the session ends when it is not used for [`PROGRAM_IDLE`](crate::PROGRAM_IDLE),
    /// or with the daemon. It costs the disk nothing, and pushes out no person's session.
    ///
    /// # Errors
    /// As [`Auth::check_password`].
    pub async fn login_program(
        &self,
        user: &str,
        passwd: &str,
        from: Option<IpAddr>,
    ) -> Result<Login, Denied> {
        let Mode::Guarded(guard) = &self.0 else { return Ok(Login::NotNeeded) };
        let user = syntax::user(user)?;
        let made_from = guard.check_anew(user, passwd, from).await?;
        let (token, _) = guard.open_session(user, made_from, (Kind::Program, Duration::ZERO))?;
        Ok(Login::Session(token))
    }

    /// The session of a token.
    ///
    /// # Errors
    /// [`Denied::Invalid`] for what is no token, [`Denied::Forbidden`] for one that is unknown or over.
    pub fn check_token(&self, token: &str) -> Result<Session, Denied> {
        let token = syntax::token(token)?;
        match &self.0 {
            Mode::Open => Err(Denied::Forbidden),
            Mode::Guarded(guard) => guard.session(token).ok_or(Denied::Forbidden),
        }
    }

    /// Ends every session of a user; their sockets are told at once. Answers how many there were, when that is on the
    /// disk: nothing brings them back.
    ///
    /// # Errors
    /// [`Denied::Failed`] when it could not be written: the sessions are over, but would come back if the daemon were
    /// killed before the disk takes writes again (which is tried every second).
    pub async fn logout(&self, user: &str) -> Result<usize, Denied> {
        let Mode::Guarded(guard) = &self.0 else { return Ok(0) };
        guard.end_sessions(|sessions| sessions.logout(user)).await.map_err(Denied::Failed)
    }

    /// Every session there is, the oldest first.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        let Mode::Guarded(guard) = &self.0 else { return Vec::new() };
        guard.all_sessions()
    }

    /// Ends this session alone. Answers whether it was still there, when its end is on the disk.
    ///
    /// # Errors
    /// As [`Auth::logout`].
    pub async fn end(&self, session: &Session) -> Result<bool, Denied> {
        let Mode::Guarded(guard) = &self.0 else { return Ok(false) };
        let ended = guard.end_sessions(|sessions| sessions.end_one(session).into_iter().collect());
        Ok(ended.await.map_err(Denied::Failed)? > 0)
    }

    /// Keeps a session alive while a WebSocket opened with it lives (with `extend`; otherwise this changes nothing).
    #[must_use]
    pub fn hold(&self, session: &Session) -> Hold {
        if let Mode::Guarded(guard) = &self.0 {
            guard.hold(session);
        }
        Hold { auth: self.clone(), session: session.clone() }
    }

    /// Hears of every session that ends. A socket should rather wait for its own [`Session::ended`]; who falls behind
    /// here by more than 64 loses the oldest.
    #[must_use]
    pub fn subscribe_session_end(&self) -> broadcast::Receiver<SessionEnd> {
        match &self.0 {
            Mode::Open => broadcast::channel(1).1,
            Mode::Guarded(guard) => guard.subscribe(),
        }
    }

    /// An unknown token and one that is over are never counted: nobody guesses 256 bits.
    fn check_api_token(&self, text: &str) -> Result<Access, Denied> {
        let Mode::Guarded(guard) = &self.0 else { return Ok(Access::Open) };
        let found = guard.tokens.find(text, guard.clock.now().wall);
        found.map(Access::Token).ok_or(Denied::Forbidden)
    }

    /// Makes an API token, and shows it: this once. It is on the disk when this answers.
    ///
    /// # Errors
    /// Every [`api_token::Refused`].
    pub async fn make_token(
        &self,
        wanted: api_token::Wanted,
    ) -> Result<(String, ApiToken), api_token::Refused> {
        let Mode::Guarded(guard) = &self.0 else { return Err(api_token::Refused::NotNeeded) };
        guard.tokens.make(wanted, guard.clock.now().wall).await
    }

    /// The API tokens there are, the oldest first; those that are over too, until they are revoked.
    #[must_use]
    pub fn tokens(&self) -> Vec<ApiToken> {
        let Mode::Guarded(guard) = &self.0 else { return Vec::new() };
        guard.tokens.list()
    }

    /// Ends an API token; its sockets are told at once. None when there is no such token.
    ///
    /// # Errors
    /// [`Denied::Failed`] when it could not be written: the token is over, but would come back if the daemon were killed
    /// before the disk takes writes again.
    pub async fn revoke_token(&self, id: &str) -> Result<Option<ApiToken>, Denied> {
        let Mode::Guarded(guard) = &self.0 else { return Ok(None) };
        guard.tokens.revoke(id).await.map_err(Denied::Failed)
    }

    /// Whether who passes by this right may do what needs this role, in this subsystem.
    #[must_use]
    pub fn may(&self, access: &Access, role: Role, subsystem: &str) -> bool {
        self.role(access) >= role && access.reaches(subsystem)
    }

    /// What who passes by this right may do; the least, once it has ended. Ask anew for each thing somebody does: roles
    /// change while sockets are open.
    #[must_use]
    pub fn role(&self, access: &Access) -> Role {
        if access.has_ended() {
            return Role::Viewer;
        }
        match (&self.0, access) {
            (Mode::Open, _) | (_, Access::Open | Access::Peer(_)) => Role::Admin,
            (Mode::Guarded(guard), Access::Password { user, .. }) => guard.role(user),
            (Mode::Guarded(guard), Access::Session(session)) => guard.role(&session.user),
            (Mode::Guarded(_), Access::Token(token)) => token.role,
        }
    }

    /// Which user a process on the unix socket counts as. Ask once per connection; `gids` are all its groups.
    #[must_use]
    pub fn peer_user(&self, uid: u32, gids: &[u32]) -> Option<Peer> {
        let Mode::Guarded(guard) = &self.0 else { return None };
        guard.peer_user(uid, gids)
    }
}

/// A socket's claim on its session; dropping it lets go.
pub struct Hold {
    auth: Auth,
    session: Session,
}

impl Hold {
    /// The session that is held.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Mode::Guarded(guard) = &self.auth.0 {
            guard.release(&self.session);
        }
    }
}
