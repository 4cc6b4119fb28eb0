//! Keyboard and mouse by a WebSocket: when somebody began and ended to use them, and how often. Never what they did.

use super::{
    Book,
    record::{Record, What, Who},
};
use model::client_event::ClientEvent;
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// How long somebody may do nothing and still be at it.
const PAUSE: Duration = Duration::from_secs(60);

/// Messages of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    keys: u64,
    buttons: u64,
    moves: u64,
    wheels: u64,
    /// Of people who may not, or not now.
    refused: u64,
}

impl Counts {
    fn count(&mut self, event: &ClientEvent, refused: bool) {
        let counter = match event {
            _ if refused => &mut self.refused,
            ClientEvent::Key { .. } => &mut self.keys,
            ClientEvent::Button { .. } => &mut self.buttons,
            ClientEvent::Move { .. } | ClientEvent::Relative { .. } => &mut self.moves,
            ClientEvent::Wheel { .. } => &mut self.wheels,
            ClientEvent::Ping | ClientEvent::BinaryPing => return,
        };
        *counter += 1;
    }
}

struct Spell {
    counts: Counts,
    first: Instant,
    last: Instant,
}

/// One client's use of keyboard and mouse. Dropping it ends what has begun.
pub struct Input {
    book: Option<Book>,
    who: Who,
    spell: Option<Spell>,
}

impl Input {
    /// Of this client; without a book nothing is kept.
    #[must_use]
    pub fn new(book: Option<Book>, who: Who) -> Self {
        Self { book, who, spell: None }
    }

    /// A message came.
    pub fn saw(&mut self, event: &ClientEvent, refused: bool) {
        self.look();
        let now = Instant::now();
        if self.spell.is_none() {
            self.tell(What::InputBegin);
        }
        let spell = self.spell.get_or_insert(Spell { counts: Counts::default(), first: now, last: now });
        spell.last = now;
        spell.counts.count(event, refused);
    }

    /// Ends what was not gone on with. Call it now and then.
    pub fn look(&mut self) {
        if self.spell.as_ref().is_some_and(|spell| spell.last.elapsed() >= PAUSE) {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(Spell { counts, first, last }) = self.spell.take() {
            self.tell(What::InputEnd { counts, seconds: (last - first).as_secs() });
        }
    }

    fn tell(&self, what: What) {
        if let Some(book) = &self.book {
            book.take(Record::new(self.who.clone(), what));
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::store, *};
    use model::client_event::Named;

    fn key(name: &str) -> ClientEvent {
        ClientEvent::Key { key: Named::Name(name.to_owned()), pressed: true, finish: false }
    }

    #[tokio::test(start_paused = true)]
    async fn input_is_told_by_its_begin_its_end_and_counts_and_never_by_what_was_typed() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::start(dir.path().to_owned()).unwrap();
        let mut input = Input::new(Some(book.clone()), Who { by: "session", ..Who::default() });
        for _ in 0..30 {
            input.saw(&key("KeyQ"), false);
            input.saw(&ClientEvent::Move { x: 4711, y: 0 }, false);
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        input.saw(&key("KeyZ"), true);
        tokio::time::advance(PAUSE).await;
        input.look();
        input.look();
        input.saw(&key("KeyX"), false);
        drop(input);
        book.end().await;
        let lines = store::all(dir.path());
        let texts: Vec<&str> = lines.iter().map(|line| &*line.text).collect();
        assert_eq!(texts.len(), 4, "{texts:?}");
        assert!(texts[0].contains("input_begin") && texts[2].contains("input_begin"));
        for part in ["\"keys\":30", "\"moves\":30", "\"refused\":1", "\"seconds\":60"] {
            assert!(texts[1].contains(part), "{part}: {}", texts[1]);
        }
        assert!(!texts.concat().contains("Key") && !texts.concat().contains("4711"));
    }
}
