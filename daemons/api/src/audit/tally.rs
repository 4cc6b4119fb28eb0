//! Repeats become counts: a program that moves the mouse fifty times a second is one line a minute. A pure machine: time
//! is an argument.
//!
//! ```text
//!   the first ──▶ a line, and counting ──a minute──▶ a line with the count, counting goes on
//!                                          └─ nothing was counted ──▶ forgotten
//! ```
//!
//! What strangers try is counted for ten minutes, by network for the first of them and all together beyond. Who is known
//! has a budget: so many lines a minute, and as many in ten minutes for what is refused; beyond it is one line that says how
//! many more there were. So nobody fills the log quickly, whatever they try.

use super::record::{Record, What, Who};
use auth::Net;
use std::{collections::HashMap, time::Duration};

const WINDOW: Duration = Duration::from_secs(60);
const WINDOW_STRANGER: Duration = Duration::from_secs(600);
/// Of each kind that is counted at once.
const MOST: usize = 256;
const MOST_STRANGERS: usize = 64;

/// Lines that one user or token has in a window, and how many of them are told apart.
const BUDGET: u32 = 60;
const MOST_OWNERS: usize = 256;

/// What counts as the same: everything but the time.
type Key = String;

struct Counting {
    last: Record,
    count: u64,
    until: Duration,
}

struct Budget {
    who: Who,
    lines: u32,
    more: u64,
    until: Duration,
}

#[derive(Default)]
pub(super) struct Tally {
    known: HashMap<Key, Counting>,
    strangers: HashMap<Key, Counting>,
    budgets: HashMap<Key, Budget>,
}

impl Tally {
    /// What has to be written now.
    pub(super) fn take(&mut self, record: Record, now: Duration) -> Option<Record> {
        if record.is_stranger_s() {
            return self.take_stranger(record, now);
        }
        let key = key(&record);
        if let Some(counting) = key.as_ref().and_then(|key| self.known.get_mut(key)) {
            counting.again(record);
            return None;
        }
        let full = key.is_some() && self.known.len() >= MOST;
        if !budget(&mut self.budgets, &record, now).pays(1, full) {
            return None;
        }
        if let Some(key) = key {
            let until = now + window(&record);
            self.known.insert(key, Counting { last: record.clone(), count: 0, until });
        }
        Some(record)
    }

    fn take_stranger(&mut self, mut record: Record, now: Duration) -> Option<Record> {
        let mut key = key(&record)?;
        if self.strangers.len() >= MOST_STRANGERS && !self.strangers.contains_key(&key) {
            key.clear();
            anonymous(&mut record);
        }
        if let Some(counting) = self.strangers.get_mut(&key) {
            counting.again(record);
            return None;
        }
        let until = now + WINDOW_STRANGER;
        self.strangers.insert(key, Counting { last: record.clone(), count: 0, until });
        Some(record)
    }

    /// Counts whose time is over.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Record> {
        let mut due = Vec::new();
        let Self { known, strangers, budgets } = self;
        budgets.retain(|_, budget| {
            if budget.until <= now {
                due.extend(budget.told());
            }
            budget.until > now
        });
        let mut look = |counting: &mut Counting, budgets: Option<&mut HashMap<Key, Budget>>| {
            if counting.until > now {
                return true;
            }
            let count = counting.count;
            let Some(record) = counting.told() else { return false };
            if budgets.is_some_and(|budgets| !budget(budgets, &record, now).pays(count, false)) {
                return false;
            }
            counting.until = now + window(&record);
            due.push(record);
            true
        };
        known.retain(|_, counting| look(counting, Some(budgets)));
        strangers.retain(|_, counting| look(counting, None));
        due
    }

    /// All counts, at the end.
    pub(super) fn all(&mut self) -> Vec<Record> {
        let both = self.known.drain().chain(self.strangers.drain());
        let counted = both.filter_map(|(_, mut counting)| counting.told());
        counted.chain(self.budgets.drain().filter_map(|(_, mut budget)| budget.told())).collect()
    }

    pub(super) fn is_counting(&self) -> bool {
        !self.known.is_empty() || !self.strangers.is_empty() || !self.budgets.is_empty()
    }
}

/// What is left of who did this.
fn budget<'a>(budgets: &'a mut HashMap<Key, Budget>, record: &Record, now: Duration) -> &'a mut Budget {
    let (mut key, mut who) = (owner(record), Who { address: None, ..record.who.clone() });
    if budgets.len() >= MOST_OWNERS && !budgets.contains_key(&key) {
        key.clear();
        who = Who { by: "unknown", ..Who::default() };
    }
    let until = now + window(record);
    budgets.entry(key).or_insert(Budget { who, lines: 0, more: 0, until })
}

impl Budget {
    /// Whether there is a line for something that happened so often; if not, it is counted.
    fn pays(&mut self, count: u64, full: bool) -> bool {
        let pays = self.lines < BUDGET && !full;
        match pays {
            true => self.lines += 1,
            false => self.more += count,
        }
        pays
    }

    fn told(&mut self) -> Option<Record> {
        let more = std::mem::take(&mut self.more);
        (more > 0).then(|| Record::more(self.who.clone(), more))
    }
}

impl Counting {
    fn again(&mut self, record: Record) {
        self.count += 1;
        self.last = record;
    }

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
        // A network and what came of it: paths are as many as one likes to try, and so are addresses in a /64.
        true => format!("{:?} {status}", who.address.map(Net::from)),
        false => format!("{who:?} {method} {path} {params:?} {status}"),
    })
}

/// Whose budget it is on: addresses cost nothing, nor does another way in.
fn owner(record: &Record) -> Key {
    let Who { user, token, .. } = &record.who;
    format!("{user:?} {token:?} {}", record.is_refused())
}

fn window(record: &Record) -> Duration {
    if record.is_stranger_s() || record.is_refused() { WINDOW_STRANGER } else { WINDOW }
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
            What::More { count } => Some(count),
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
            (login.who.user, login.who.by) = (Some(user.to_owned()), "password");
            if let What::Call { status, .. } = &mut login.what {
                *status = 200;
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

    #[test]
    fn a_64_of_strangers_is_one() {
        let mut tally = Tally::default();
        let told = (0..1000_u128).filter_map(|number| {
            let mut record = stranger(0);
            record.who.address = Some(std::net::Ipv6Addr::from_bits((0xfd << 120) + number).into());
            tally.take(record, Duration::ZERO)
        });
        assert_eq!(told.count(), 1);
    }

    #[test]
    fn nobody_known_has_more_lines_than_the_budget_whatever_they_do() {
        for (status, minutes, most) in [(200, 10, 10 * (BUDGET as usize + 1)), (403, 10, BUDGET as usize + 1)]
        {
            let (mut tally, mut told, mut asked) = (Tally::default(), Vec::new(), 0);
            for second in (0..minutes * 60).map(Duration::from_secs) {
                told.extend(tally.due(second));
                for number in 0..20 {
                    // Half of it again and again, half of it anew each time.
                    let path = if number % 2 == 0 { asked } else { number };
                    told.extend(tally.take(Record::call("POST", &path.to_string(), status), second));
                    told.extend(tally.take(Record::input(), second));
                    asked += 2;
                }
            }
            let lines = told.iter().filter(|record| status == 200 || record.is_refused()).count();
            assert!(lines <= most, "{status}: {lines}");
            assert!(tally.known.len() <= MOST);
            told.extend(tally.all());
            assert_eq!(told.iter().map(|record| repeated(record).unwrap_or(1)).sum::<u64>(), asked);
        }
    }

    #[test]
    fn somebody_s_flood_takes_nothing_from_anybody_else() {
        let mut tally = Tally::default();
        for number in 0..10_000 {
            tally.take(Record::call("POST", &number.to_string(), 200), Duration::ZERO);
        }
        let mut jane = Record::call("POST", "/atx/power", 200);
        jane.who.user = Some("jane".to_owned());
        assert!(tally.take(jane, Duration::ZERO).is_some());
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
