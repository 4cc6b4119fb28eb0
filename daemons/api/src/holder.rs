//! `/hid/holder`: one client at a time has keyboard and mouse. Our own, and off unless `kvmd.hid.one_holder` is set: then
//! everybody types at once, as on PiKVM.
//!
//! ```text
//!             first input, request, take                give, take
//!   (free) ─────────────────────────────▶ held by A ──────────────────▶ held by B
//!     ▲                                      │ A leaves or releases
//!     └────────────── nobody waits ──────────┴── the first who waits ──▶ held by C
//! ```
//!
//! Who holds is a WebSocket client; what others send is dropped, and they are told. A client learns its number by the event
//! `hid_client` and everybody the state by `hid_holder`. Old clients know nothing of it: they hold by typing first. HTTP
//! calls that type (`/hid/events/…`, `/hid/print`) are let through while nobody holds, or the same user or token does.
//!
//! `request` waits in line, `give` and `release` are the holder's, `take` is an administrator's, or of whom the holder is
//! another client. Keys are let go when another one holds, and a text that is being typed for somebody else ends. Nobody is
//! given what they may not use: a viewer's client never holds.

use crate::{
    answer::{self, Answer},
    failure::Failure,
    query::Query,
    routes::Entry,
    ws::{hub::Hub, topics::Full},
};
use actix_web::{
    HttpMessage, HttpRequest,
    web::{self, Data},
};
use auth::{Access, Auth, Role};
use hid::Hid;
use model::{ErrorClass, Event, check, event};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[
    Entry::get("/hid/holder", || web::to(show)),
    Entry::post("/hid/holder/request", || web::to(request)),
    Entry::post("/hid/holder/give", || web::to(give)),
    Entry::post("/hid/holder/take", || web::to(take)),
    Entry::post("/hid/holder/release", || web::to(release)),
];

/// Whose client it is; clients of the same are each other's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Person {
    user: Option<String>,
    token: Option<String>,
}

impl Person {
    /// Who passed by this right.
    #[must_use]
    pub fn of(access: &Access) -> Self {
        let token = match access {
            Access::Token(token) => Some(token.name.to_string()),
            _ => None,
        };
        Self { user: access.user().map(str::to_owned), token }
    }
}

/// A client as everybody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Seat {
    client: u64,
    #[serde(flatten)]
    person: Person,
}

/// The state as everybody sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct State {
    enabled: bool,
    holder: Option<Seat>,
    /// Who waits, the first first.
    requests: Vec<Seat>,
}

/// Whether who passed by this right may type.
type MayType = dyn Fn(&Access) -> bool + Send + Sync;

/// Who holds and who waits. A pure machine.
#[derive(Debug, Default)]
struct Table {
    clients: BTreeMap<u64, Access>,
    holder: Option<u64>,
    requests: Vec<u64>,
}

impl Table {
    fn leave(&mut self, client: u64, may: &MayType) {
        self.clients.remove(&client);
        self.requests.retain(|waiting| *waiting != client);
        self.release(client, may);
    }

    /// Who holds and may not type any more (a role was taken away) holds no longer.
    fn demote(&mut self, may: &MayType) {
        if let Some(holder) = self.holder
            && !self.clients.get(&holder).is_some_and(may)
        {
            self.release(holder, may);
        }
    }

    /// Whether this client may type. Who types first holds.
    fn types(&mut self, client: u64) -> bool {
        *self.holder.get_or_insert(client) == client
    }

    fn request(&mut self, client: u64) {
        if self.holder.is_none() {
            self.holder = Some(client);
        }
        if self.holder != Some(client) && !self.requests.contains(&client) {
            self.requests.push(client);
        }
    }

    fn pass(&mut self, to: u64) {
        self.requests.retain(|waiting| *waiting != to);
        self.holder = Some(to);
    }

    /// The first who waits holds next. Who may not type any more has waited for nothing.
    fn release(&mut self, client: u64, may: &MayType) {
        if self.holder != Some(client) {
            return;
        }
        let Self { clients, holder, requests } = self;
        requests.retain(|waiting| clients.get(waiting).is_some_and(may));
        *holder = (!requests.is_empty()).then(|| requests.remove(0));
    }

    fn holds(&self) -> Option<Person> {
        self.clients.get(&self.holder?).map(Person::of)
    }

    fn shown(&self) -> State {
        let seat = |client: &u64| Seat {
            client: *client,
            person: self.clients.get(client).map(Person::of).unwrap_or_default(),
        };
        State {
            enabled: true,
            holder: self.holder.as_ref().map(seat),
            requests: self.requests.iter().map(seat).collect(),
        }
    }
}

struct Shared {
    table: Mutex<Table>,
    may: Box<MayType>,
    state: watch::Sender<State>,
}

impl Shared {
    fn change<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.lock();
        table.demote(&*self.may);
        let done = work(&mut table);
        let shown = table.shown();
        self.state.send_if_modified(|state| {
            let changed = *state != shown;
            *state = shown;
            changed
        });
        done
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle. Cheap to clone. None inside: everybody may type at once.
#[derive(Clone, Default)]
pub struct Holder(Option<Arc<Shared>>);

impl Holder {
    /// One that says no to nobody, unless it is enabled.
    #[must_use]
    pub fn new(enabled: bool, auth: &Auth) -> Self {
        let auth = auth.clone();
        Self::judged(enabled, move |access| types(&auth, access))
    }

    fn judged(enabled: bool, may: impl Fn(&Access) -> bool + Send + Sync + 'static) -> Self {
        let state = watch::channel(State { enabled, ..State::default() }).0;
        Self(enabled.then(|| Arc::new(Shared { table: Mutex::default(), may: Box::new(may), state })))
    }

    /// What clients are told, now and on each change; nothing while it is off.
    pub fn topic(&self, hub: &Hub, stop: &CancellationToken) -> Option<Full> {
        let shared = Arc::clone(self.0.as_ref()?);
        let (hub, mut states) = (hub.clone(), shared.state.subscribe());
        let work = async move {
            while states.changed().await.is_ok() {
                let event = Event::of("hid_holder", &*states.borrow_and_update());
                hub.tell(vec![event]).await;
            }
        };
        let stop = stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(work).await });
        Some(Box::new(move || vec![Event::of("hid_holder", &*shared.state.borrow())]))
    }

    /// A client's place, until it is dropped.
    #[must_use]
    pub fn join(&self, client: u64, access: &Access) -> Place {
        if let Some(shared) = &self.0 {
            shared.change(|table| table.clients.insert(client, access.clone()));
        }
        Place { shared: self.0.clone(), client }
    }

    /// Whether a call that types may do so, though it is no client.
    ///
    /// # Errors
    /// Somebody else holds: 403.
    pub fn admits(&self, access: &Access) -> Result<(), Failure> {
        let Some(shared) = &self.0 else { return Ok(()) };
        match shared.change(|table| table.holds()) {
            Some(person) if person != Person::of(access) => Err(held(&person)),
            _ => Ok(()),
        }
    }

    /// Returns once somebody else holds than who passed by this right: what still types for them has to end.
    pub async fn lost(&self, access: Option<&Access>) -> Failure {
        let (Some(shared), Some(access)) = (&self.0, access) else { return std::future::pending().await };
        let (person, mut states) = (Person::of(access), shared.state.subscribe());
        let other = |state: &State| state.holder.as_ref().is_some_and(|seat| seat.person != person);
        match states.wait_for(other).await.map(|state| state.holder.clone()) {
            Ok(Some(seat)) => held(&seat.person),
            _ => std::future::pending().await,
        }
    }

    fn shared(&self) -> Result<&Shared, Failure> {
        let off = || Failure::invalid("everybody may type at once: kvmd.hid.one_holder is off");
        self.0.as_deref().ok_or_else(off)
    }

    fn state(&self) -> State {
        self.0.as_ref().map_or_else(State::default, |shared| shared.state.borrow().clone())
    }
}

fn held(person: &Person) -> Failure {
    Failure::new(ErrorClass::Forbidden, why(person))
}

fn why(person: &Person) -> String {
    let name = person.user.as_deref().or(person.token.as_deref()).unwrap_or("somebody else");
    format!("keyboard and mouse are held by {name}")
}

/// A client's place. Dropping it leaves, and lets go.
pub struct Place {
    shared: Option<Arc<Shared>>,
    client: u64,
}

impl Place {
    /// What the client must know of itself; nothing while this is off.
    #[must_use]
    pub fn hello(&self) -> Option<Event> {
        self.shared.as_ref()?;
        Some(Event::new("hid_client", serde_json::json!({ "client": self.client })))
    }

    /// Why this client may not type, if so. Who types first holds.
    #[must_use]
    pub fn refuses(&self) -> Option<String> {
        let shared = self.shared.as_ref()?;
        let table = shared.lock();
        if table.holder == Some(self.client) {
            return None;
        }
        drop(table);
        shared.change(|table| match table.types(self.client) {
            true => None,
            false => Some(why(&table.holds().unwrap_or_default())),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.change(|table| table.leave(self.client, &*shared.may));
        }
    }
}

async fn show(holder: Data<Holder>) -> Answer {
    Ok(answer::ok(&event::to_value(&holder.state())))
}

async fn request(asked: HttpRequest, auth: Data<Auth>, holder: Data<Holder>, query: Query) -> Answer {
    let asker = Asker::of(&asked, &auth)?;
    holder.shared()?.change(|table| {
        let client = asker.own(table, &query, "client")?;
        may_type(table, &auth, client)?;
        table.request(client);
        Ok(answer::nothing())
    })
}

async fn give(
    asked: HttpRequest,
    auth: Data<Auth>,
    holder: Data<Holder>,
    hid: Data<Hid>,
    query: Query,
) -> Answer {
    let asker = Asker::of(&asked, &auth)?;
    holder.shared()?.change(|table| {
        asker.is_holder(table)?;
        let to = known(table, &query, "to")?;
        may_type(table, &auth, to)?;
        table.pass(to);
        hid.clear();
        Ok(answer::nothing())
    })
}

async fn take(
    asked: HttpRequest,
    auth: Data<Auth>,
    holder: Data<Holder>,
    hid: Data<Hid>,
    query: Query,
) -> Answer {
    let asker = Asker::of(&asked, &auth)?;
    holder.shared()?.change(|table| {
        let client = asker.own(table, &query, "client")?;
        if table.holder.is_some() {
            asker.is_holder(table)?;
        }
        may_type(table, &auth, client)?;
        table.pass(client);
        hid.clear();
        Ok(answer::nothing())
    })
}

async fn release(asked: HttpRequest, auth: Data<Auth>, holder: Data<Holder>, hid: Data<Hid>) -> Answer {
    let asker = Asker::of(&asked, &auth)?;
    let shared = holder.shared()?;
    shared.change(|table| {
        asker.is_holder(table)?;
        if let Some(client) = table.holder {
            table.release(client, &*shared.may);
            hid.clear();
        }
        Ok(answer::nothing())
    })
}

/// Who calls.
struct Asker {
    person: Person,
    admin: bool,
}

impl Asker {
    fn of(request: &HttpRequest, auth: &Auth) -> Result<Self, Failure> {
        let extensions = request.extensions();
        let access = extensions.get::<Access>().ok_or_else(Failure::unauthorized)?;
        Ok(Self { person: Person::of(access), admin: auth.role(access) >= Role::Admin })
    }

    /// A client of theirs; for administrators any.
    fn own(&self, table: &Table, query: &Query, name: &str) -> Result<u64, Failure> {
        let client = known(table, query, name)?;
        let own = table.clients.get(&client).map(Person::of).as_ref() == Some(&self.person);
        if own || self.admin { Ok(client) } else { Err(Failure::forbidden()) }
    }

    fn is_holder(&self, table: &Table) -> Result<(), Failure> {
        match table.holds() {
            Some(person) if person != self.person && !self.admin => Err(held(&person)),
            _ => Ok(()),
        }
    }
}

fn known(table: &Table, query: &Query, name: &str) -> Result<u64, Failure> {
    let client = query.required(name, |raw| check::int_at_least(raw, 0))?.unsigned_abs();
    match table.clients.contains_key(&client) {
        true => Ok(client),
        false => Err(Failure::invalid(format!("{name}: there is no such client"))),
    }
}

/// Whether who passed by this right may type.
fn types(auth: &Auth, access: &Access) -> bool {
    auth.may(access, Role::Operator, "hid")
}

/// Refuses a client that would hold and could do nothing with it, while nobody else may.
fn may_type(table: &Table, auth: &Auth, client: u64) -> Result<(), Failure> {
    let may = table.clients.get(&client).is_some_and(|access| types(auth, access));
    if may { Ok(()) } else { Err(Failure::invalid("this client may not type")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use auth::Peer;
    use proptest::prelude::*;

    fn person(name: &str) -> Access {
        Access::Peer(Peer { user: name.to_owned(), uid: 0 })
    }

    fn open() -> Holder {
        Holder::judged(true, |_| true)
    }

    #[test]
    fn who_may_not_type_any_more_neither_holds_nor_comes_next() {
        let viewers = Arc::new(Mutex::new(Vec::<&str>::new()));
        let demoted = Arc::clone(&viewers);
        let may = move |access: &Access| !demoted.lock().unwrap().contains(&access.user().unwrap());
        let holder = Holder::judged(true, may);
        let (one, two) = (holder.join(1, &person("admin")), holder.join(2, &person("jane")));
        let (three, four) = (holder.join(3, &person("bob")), holder.join(4, &person("eve")));
        assert_eq!(one.refuses(), None);
        for client in [2, 3, 4] {
            holder.shared().unwrap().change(|table| table.request(client));
        }
        viewers.lock().unwrap().push("jane");
        drop(one);
        assert_eq!(three.refuses(), None, "jane has waited for nothing");
        assert_eq!(holder.state().requests.len(), 1);
        viewers.lock().unwrap().push("bob");
        assert_eq!(four.refuses(), None, "bob holds no longer");
        viewers.lock().unwrap().push("eve");
        assert!(holder.admits(&person("admin")).is_ok() && holder.state().holder.is_none());
        drop((two, three, four));
    }

    #[test]
    fn who_types_first_holds_until_they_leave_and_then_who_waits() {
        let holder = open();
        let (one, two) = (holder.join(1, &person("admin")), holder.join(2, &person("jane")));
        let three = holder.join(3, &person("bob"));
        assert_eq!(one.refuses(), None);
        assert_eq!(two.refuses().as_deref(), Some("keyboard and mouse are held by admin"));
        holder.shared().unwrap().change(|table| table.request(3));
        assert_eq!(holder.state().requests.len(), 1);
        drop(one);
        assert_eq!(three.refuses(), None);
        assert!(two.refuses().is_some() && holder.state().requests.is_empty());
        drop(three);
        assert_eq!(two.refuses(), None, "nobody waits: the first who types");
    }

    #[test]
    fn switched_off_it_says_no_to_nobody_and_tells_nothing() {
        let holder = Holder::judged(false, |_| true);
        let (one, two) = (holder.join(1, &person("admin")), holder.join(2, &person("jane")));
        assert!(one.refuses().is_none() && two.refuses().is_none() && one.hello().is_none());
        assert_eq!(holder.state(), State::default());
        assert!(holder.shared().is_err());
    }

    #[test]
    fn a_call_is_let_through_while_nobody_holds_or_the_same_does() {
        let holder = open();
        assert!(holder.admits(&Access::Open).is_ok());
        let place = holder.join(1, &Access::Open);
        assert!(place.refuses().is_none() && holder.admits(&Access::Open).is_ok());
        drop(place);
        let place = holder.join(2, &person("jane"));
        assert!(place.refuses().is_none() && holder.admits(&Access::Open).is_err());
    }

    #[tokio::test]
    async fn who_types_a_long_text_learns_when_somebody_else_holds() {
        let holder = open();
        let (admin, jane) = (person("admin"), person("jane"));
        let (one, other, two) = (holder.join(1, &admin), holder.join(2, &admin), holder.join(3, &jane));
        let typing = holder.lost(Some(&admin));
        tokio::pin!(typing);
        assert!(one.refuses().is_none() && futures_util::poll!(typing.as_mut()).is_pending());
        holder.shared().unwrap().change(|table| table.pass(2));
        assert!(
            other.refuses().is_none() && futures_util::poll!(typing.as_mut()).is_pending(),
            "another client of the same"
        );
        drop(other);
        assert!(futures_util::poll!(typing.as_mut()).is_pending(), "nobody else holds");
        assert_eq!(two.refuses(), None);
        assert_eq!(typing.await.message, "keyboard and mouse are held by jane");
        assert!(
            futures_util::poll!(std::pin::pin!(Holder::judged(false, |_| true).lost(Some(&admin))))
                .is_pending()
        );
    }

    proptest! {
        #[test]
        fn at_most_one_holds_and_only_who_is_there(steps in prop::collection::vec((0_u8..7, 0_u64..4), 0..60)) {
            let may = |access: &Access| access.user() != Some("3");
            let mut table = Table::default();
            for (step, client) in steps {
                let there = table.clients.contains_key(&client);
                match step {
                    0 => { table.clients.insert(client, person(&client.to_string())); }
                    1 => table.leave(client, &may),
                    2 if there => { table.types(client); }
                    3 if there => table.request(client),
                    4 if there => table.pass(client),
                    5 => table.release(client, &may),
                    6 => {
                        table.demote(&may);
                        prop_assert_ne!(table.holder, Some(3));
                    }
                    _ => {}
                }
                prop_assert!(table.holder.is_none_or(|holder| table.clients.contains_key(&holder)));
                prop_assert!(table.requests.iter().all(|one| table.clients.contains_key(one)));
                prop_assert!(!table.requests.iter().any(|one| table.holder == Some(*one)));
                prop_assert!(table.holder.is_some() || table.requests.is_empty());
            }
        }
    }
}
