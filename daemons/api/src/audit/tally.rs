//! Repeats become counts: a program that moves the mouse fifty times a second is one line a minute. A pure machine: time
//! is an argument.
//!
//! ```text
//!   the first ──▶ a line, and counting ──a minute──▶ a line with the count, counting goes on
//!                                          └─ nothing was counted ──▶ forgotten
//! ```
//!
//! What strangers try is counted for ten minutes, by address for the first of them and all together beyond, so that
//! nobody who has no password can fill the log, whatever they try.

use super::record::{Record, What};
use std::{collections::HashMap, time::Duration};

const WINDOW: Duration = Duration::from_secs(60);
const WINDOW_STRANGER: Duration = Duration::from_secs(600);
/// Of each kind that is counted at once.
const MOST: usize = 256;
const MOST_STRANGERS: usize = 64;

/// What counts as the same: everything but the time.
type Key = String;

struct Counting {
    last: Record,
    count: u64,
    until: Duration,
}

#[derive(Default)]
pub(super) struct Tally {
    known: HashMap<Key, Counting>,
    strangers: HashMap<Key, Counting>,
}

impl Tally {
    /// What has to be written now.
    pub(super) fn take(&mut self, mut record: Record, now: Duration) -> Option<Record> {
        let stranger = record.is_stranger_s();
        let (table, most, window) = match stranger {
            false => (&mut self.known, MOST, WINDOW),
            true => (&mut self.strangers, MOST_STRANGERS, WINDOW_STRANGER),
        };
        let Some(mut key) = key(&record) else { return Some(record) };
        if table.len() >= most && !table.contains_key(&key) {
            if !stranger {
                return Some(record);
            }
            key.clear();
            anonymous(&mut record);
        }
        if let Some(counting) = table.get_mut(&key) {
            counting.count += 1;
            counting.last = record;
            return None;
        }
        table.insert(key, Counting { last: record.clone(), count: 0, until: now + window });
        Some(record)
    }

    /// Counts whose time is over.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Record> {
        let mut due = Vec::new();
        for (table, window) in [(&mut self.known, WINDOW), (&mut self.strangers, WINDOW_STRANGER)] {
            table.retain(|_, counting| {
                if counting.until > now {
                    return true;
                }
                let Some(record) = counting.told() else { return false };
                due.push(record);
                counting.until = now + window;
                true
            });
        }
        due
    }

    /// All counts, at the end.
    pub(super) fn all(&mut self) -> Vec<Record> {
        let both = self.known.drain().chain(self.strangers.drain());
        both.filter_map(|(_, mut counting)| counting.told()).collect()
    }

    pub(super) fn is_counting(&self) -> bool {
        !self.known.is_empty() || !self.strangers.is_empty()
    }
}

impl Counting {
    /// The count, if there is any, which begins anew.
    fn told(&mut self) -> Option<Record> {
        let count = std::mem::take(&mut self.count);
        let mut record = self.last.clone();
        if let What::Call { repeated, .. } = &mut record.what {
            *repeated = Some(count);
        }
        (count > 0).then_some(record)
    }
}

/// None for what is told each time.
fn key(record: &Record) -> Option<Key> {
    let What::Call { method, path, params, status, .. } = &record.what else { return None };
    let who = &record.who;
    Some(match record.is_stranger_s() {
        // An address and what came of it: paths are as many as one likes to try.
        true => format!("{:?} {status}", who.address),
        false => format!("{who:?} {method} {path} {params:?} {status}"),
    })
}

/// Stands for many.
fn anonymous(record: &mut Record) {
    record.who.address = None;
    if let What::Call { path, params, .. } = &mut record.what {
        "…".clone_into(path);
        params.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::record::Who, *};
    use proptest::prelude::*;

    fn repeated(record: &Record) -> Option<u64> {
        match record.what {
            What::Call { repeated, .. } => repeated,
            _ => None,
        }
    }

    fn stranger(number: u32) -> Record {
        let address = Some(std::net::Ipv4Addr::from_bits(number).into());
        let mut record = Record::call("POST", "/auth/login", 403);
        record.who = Who { by: "unknown", address, ..Who::default() };
        record
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_as_a_count_a_minute() {
        let (mut tally, second) = (Tally::default(), Duration::from_secs(1));
        let mut told = Vec::new();
        for number in 0..180 {
            told.extend(tally.due(second * number));
            told.extend(tally.take(Record::call("POST", "/hid/events/send_key", 200), second * number));
        }
        told.extend(tally.all());
        assert_eq!(told.iter().map(repeated).collect::<Vec<_>>(), [None, Some(59), Some(60), Some(60)]);
        assert!(!tally.is_counting());
    }

    #[test]
    fn other_parameters_another_outcome_or_somebody_else_are_not_the_same() {
        let mut tally = Tally::default();
        let mut other = Record::call("POST", "/atx/power", 200);
        other.who.user = Some("jane".to_owned());
        for record in
            [Record::call("POST", "/atx/power", 200), Record::call("POST", "/atx/power", 409), other]
        {
            assert!(tally.take(record.clone(), Duration::ZERO).is_some());
            assert!(tally.take(record, Duration::ZERO).is_none());
        }
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut tally = Tally::default();
        tally.take(Record::call("POST", "/atx/power", 200), Duration::ZERO);
        assert!(tally.due(WINDOW - Duration::from_secs(1)).is_empty() && tally.is_counting());
        assert!(tally.due(WINDOW).is_empty() && !tally.is_counting());
    }

    #[test]
    fn every_good_login_is_told_though_nobody_was_known_before_it() {
        let mut tally = Tally::default();
        for user in ["admin", "jane"] {
            let mut login = stranger(1);
            if let What::Call { status, params, .. } = &mut login.what {
                *status = 200;
                params.insert("user".to_owned(), user.to_owned());
            }
            assert!(tally.take(login, Duration::ZERO).is_some(), "{user}");
        }
        assert!(tally.take(stranger(1), Duration::ZERO).is_some());
        assert!(tally.take(stranger(1), Duration::ZERO).is_none());
    }

    #[test]
    fn a_thousand_strangers_are_few_lines() {
        let mut tally = Tally::default();
        let told = (0..100_000).filter_map(|number| tally.take(stranger(number), Duration::ZERO)).count();
        assert!(told <= MOST_STRANGERS + 1, "{told}");
        let summary = tally.due(WINDOW_STRANGER);
        assert_eq!(summary.len(), 1, "one for all who came later");
        assert_eq!(summary.iter().filter_map(repeated).sum::<u64>() + told as u64, 100_000);
    }

    proptest! {
        #[test]
        fn nothing_is_counted_twice_or_lost(calls in prop::collection::vec((0_u8..4, 0_u64..40), 1..200)) {
            let (mut tally, mut now, mut told) = (Tally::default(), Duration::ZERO, Vec::new());
            for (path, pause) in &calls {
                now += Duration::from_secs(*pause);
                told.extend(tally.due(now));
                told.extend(tally.take(Record::call("POST", &path.to_string(), 200), now));
            }
            told.extend(tally.all());
            let sum: u64 = told.iter().map(|record| repeated(record).unwrap_or(1)).sum();
            prop_assert_eq!(sum, calls.len() as u64);
        }
    }
}
