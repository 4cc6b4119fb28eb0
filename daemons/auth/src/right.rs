//! Passwords that came in a header, for as long as something lives by them: a WebSocket, a stream.
//!
//! They end as sessions do, when the user has another password or is gone. Who only asks and gets an answer leaves nothing
//! here. A pure machine.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use tokio_util::sync::CancellationToken;

use crate::origin::{Fingerprint, Origin, Seen};

/// A password that was right when it was shown.
#[derive(Debug, Clone)]
pub struct Right(Arc<CancellationToken>);

impl Right {
    /// Returns once the user has another password, or is gone.
    pub async fn ended(&self) {
        self.0.cancelled().await;
    }

    /// Whether that is so.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.is_cancelled()
    }
}

#[derive(Debug)]
struct Entry {
    id: u64,
    seen: Seen,
    right: Weak<CancellationToken>,
}

/// Those that somebody lives by, one for all who showed the same.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    entries: HashMap<(Arc<str>, Option<Fingerprint>), Entry>,
    next_id: u64,
}

impl Rights {
    /// Somebody has shown a password that was checked against this.
    pub(crate) fn grant(&mut self, user: &str, (origin, seen): (Origin, Seen)) -> Right {
        let key = (Arc::from(user), origin.fingerprint());
        if let Some(right) = self.entries.get(&key).and_then(|entry| entry.right.upgrade()) {
            return Right(right);
        }
        let right = Arc::new(CancellationToken::new());
        let entry = Entry { id: self.next_id, seen, right: Arc::downgrade(&right) };
        self.next_id += 1;
        self.entries.insert(key, entry);
        Right(right)
    }

    /// Whether anybody lives by one. Forgets the others.
    pub(crate) fn tidy(&mut self) -> bool {
        self.entries.retain(|_, entry| entry.right.strong_count() > 0);
        !self.entries.is_empty()
    }

    /// Whose there are, when what they were checked against was last seen, and a mark for [`Rights::judge`].
    pub(crate) fn seen(&self) -> (Vec<(Arc<str>, Seen)>, u64) {
        let all = self.entries.iter().map(|((user, _), entry)| (Arc::clone(user), entry.seen));
        (all.collect(), self.next_id)
    }

    /// Ends those of a user that were checked against something else than there is now; how many. Later ones than the mark
    /// may know more.
    pub(crate) fn judge(&mut self, user: &str, mark: u64, (origin, seen): (Origin, Seen)) -> usize {
        let mut count = 0;
        self.entries.retain(|(whose, fingerprint), entry| {
            if &**whose != user || entry.id >= mark {
                return true;
            }
            entry.seen = seen;
            let stays = origin != Origin::Absent && *fingerprint == origin.fingerprint();
            if let Some(right) = entry.right.upgrade().filter(|_| !stays) {
                right.cancel();
                count += 1;
            }
            stays
        });
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: (Origin, Seen) = (Origin::Entry([1; 32]), Seen::Never);
    const NEW: (Origin, Seen) = (Origin::Entry([2; 32]), Seen::Never);

    #[test]
    fn what_was_opened_by_another_password_ends_and_nothing_else_does() {
        let mut rights = Rights::default();
        let (old, same, new) =
            (rights.grant("jane", OLD), rights.grant("jane", OLD), rights.grant("jane", NEW));
        let other = rights.grant("bob", OLD);
        assert_eq!(rights.seen(), (rights.seen().0, 3), "those of one password are one");
        assert_eq!(rights.judge("jane", 3, NEW), 1);
        assert!(old.has_ended() && same.has_ended() && !new.has_ended() && !other.has_ended());
        assert_eq!(rights.judge("jane", 3, (Origin::Absent, Seen::Never)), 1);
        assert!(new.has_ended() && !other.has_ended());
    }

    #[test]
    fn one_that_came_after_the_look_is_left_alone() {
        let mut rights = Rights::default();
        let (_, mark) = rights.seen();
        let newer = rights.grant("jane", NEW);
        assert_eq!(rights.judge("jane", mark, OLD), 0);
        assert!(!newer.has_ended());
    }

    #[test]
    fn nobody_s_are_forgotten() {
        let mut rights = Rights::default();
        let one = rights.grant("jane", OLD);
        assert!(rights.tidy());
        drop(one);
        assert!(!rights.tidy() && rights.entries.is_empty());
        let again = rights.grant("jane", OLD);
        assert!(!again.has_ended());
    }
}
