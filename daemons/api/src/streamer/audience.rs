//! Who looks at the MJPEG stream: what `stream.clients_stat` shows.

use model::streamer::ClientStat;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// All MJPEG clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audience {
    seats: Arc<Mutex<BTreeMap<u64, Seat>>>,
    changed: Arc<watch::Sender<()>>,
}

#[derive(Debug)]
struct Seat {
    shown: ClientStat,
    sent: u32,
}

impl Default for Audience {
    fn default() -> Self {
        Self { seats: Arc::default(), changed: Arc::new(watch::channel(()).0) }
    }
}

impl Audience {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a client in; it leaves with the ticket.
    pub fn enter(&self, flags: ClientStat) -> Ticket {
        let mut bytes = [0; 8];
        // Not a secret: without random bytes the number is only easier to guess.
        let _ = getrandom::fill(&mut bytes);
        let id = u64::from_be_bytes(bytes);
        self.lock().insert(id, Seat { shown: flags, sent: 0 });
        self.changed.send_replace(());
        Ticket { id, audience: self.clone() }
    }

    /// Notices of clients coming and going.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Turns the frames counted since the last call, a second ago, into rates.
    pub fn count_second(&self) {
        for seat in self.lock().values_mut() {
            seat.shown.fps = std::mem::take(&mut seat.sent);
        }
    }

    /// Everybody, by the identifier in the cookie.
    pub fn show(&self) -> BTreeMap<String, ClientStat> {
        self.lock().iter().map(|(id, seat)| (format!("{id:x}"), seat.shown.clone())).collect()
    }
}

/// A client's place; dropping it leaves.
#[derive(Debug)]
pub struct Ticket {
    id: u64,
    audience: Audience,
}

impl Ticket {
    /// The identifier for the cookie.
    pub fn id(&self) -> String {
        format!("{:x}", self.id)
    }

    /// A frame went out. Gives the client's rate.
    pub fn sent(&self) -> u32 {
        self.audience.lock().get_mut(&self.id).map_or(0, |seat| {
            seat.sent = seat.sent.saturating_add(1);
            seat.shown.fps
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.audience.lock().remove(&self.id);
        self.audience.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_counted_while_it_is_there() {
        let audience = Audience::default();
        let mut news = audience.subscribe();
        let ticket = audience.enter(ClientStat { key: "tag".to_owned(), ..ClientStat::default() });
        assert!(news.has_changed().unwrap());
        news.mark_unchanged();
        ticket.sent();
        ticket.sent();
        audience.count_second();
        let shown = audience.show();
        assert_eq!((shown[&ticket.id()].fps, shown[&ticket.id()].key.as_str()), (2, "tag"));
        audience.count_second();
        assert_eq!(audience.show()[&ticket.id()].fps, 0);
        drop(ticket);
        assert!(news.has_changed().unwrap() && audience.show().is_empty());
    }
}
