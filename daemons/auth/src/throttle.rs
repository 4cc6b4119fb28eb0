//! Who typed too many wrong passwords. A pure machine: time is an argument, in milliseconds since boot.
//!
//! ```text
//!              wrong password                limit reached
//!   (unknown) ───────────────> counting ──────────────────────> locked
//!       ▲    right password │  window over        lock is over   │
//!       └───────────────────┴────────────────────────────────────┘
//! ```
//!
//! Counted per (address, user) and, with a higher limit, per address; an IPv6 address counts by its /64. Only wrong
//! passwords count. While a lock lasts nothing is checked, so nothing more is counted, and the lock does not grow.
//! Both tables are bounded; the entry that failed longest ago gives way, a locked one last.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::clock::millis;

/// How many wrong passwords are too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Wrong passwords for one user from one network within the window that lock this pair; 0 = no limit.
    pub per_user: u32,
    /// Wrong passwords from one network within the window that lock it for all users; 0 = no limit.
    pub per_address: u32,
    /// How long a wrong password counts.
    pub window: Duration,
    /// How long a lock lasts.
    pub lock: Duration,
    /// How many entries each table may have.
    pub capacity: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let window = Duration::from_mins(10);
        Self { per_user: 20, per_address: 60, window, lock: window, capacity: 1_024 }
    }
}

/// What is counted together: an IPv4 address or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Net {
    /// An IPv4 address, also when it came mapped into IPv6.
    V4(u32),
    /// The upper half of an IPv6 address.
    V6(u64),
}

impl From<IpAddr> for Net {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => Self::V6(u64::try_from(v6.to_bits() >> 64).unwrap_or(u64::MAX)),
        }
    }
}

impl std::fmt::Display for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::V4(bits) => write!(f, "{}", std::net::Ipv4Addr::from_bits(*bits)),
            Self::V6(bits) => write!(f, "{}/64", std::net::Ipv6Addr::from_bits(u128::from(*bits) << 64)),
        }
    }
}

/// A user name as the counters know it: salted and hashed, of fixed size. People type passwords into the user field,
/// and these land in a file.
type Name = [u8; 16];

#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
struct Record {
    /// When the passwords were wrong, oldest first.
    fails: VecDeque<i64>,
    /// 0 = not locked.
    locked_until: i64,
}

impl Record {
    fn is_locked(&self, now: i64) -> bool {
        self.locked_until > now
    }

    fn last(&self) -> i64 {
        self.fails.back().copied().unwrap_or(i64::MIN)
    }
}

/// The counters.
#[derive(Debug)]
pub(crate) struct Throttle {
    limits: Limits,
    salt: [u8; 16],
    users: HashMap<(Net, Name), Record>,
    addresses: HashMap<Net, Record>,
}

/// The counters as they are written, all times relative to the moment of writing.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Saved {
    salt: [u8; 16],
    users: Vec<(Net, Name, Record)>,
    addresses: Vec<(Net, Record)>,
}

impl Throttle {
    pub(crate) fn new(limits: Limits, salt: [u8; 16]) -> Self {
        Self { limits, salt, users: HashMap::new(), addresses: HashMap::new() }
    }

    /// Whether a password of this user from there may be looked at.
    pub(crate) fn is_locked(&self, net: Net, user: &str, now: i64) -> bool {
        if self.addresses.is_empty() && self.users.is_empty() {
            return false;
        }
        self.addresses.get(&net).is_some_and(|record| record.is_locked(now))
            || self.users.get(&(net, self.name(user))).is_some_and(|record| record.is_locked(now))
    }

    /// Counts a wrong password. Answers whether this one locked something.
    pub(crate) fn failed(&mut self, net: Net, user: &str, now: i64) -> bool {
        let key = (net, self.name(user));
        let user_locked = count(&mut self.users, key, self.limits.per_user, &self.limits, now);
        let address_locked = count(&mut self.addresses, net, self.limits.per_address, &self.limits, now);
        user_locked || address_locked
    }

    /// A right password: this user's slips from there are forgotten, those of the address are not.
    /// Answers whether there were any.
    pub(crate) fn succeeded(&mut self, net: Net, user: &str) -> bool {
        !self.users.is_empty() && self.users.remove(&(net, self.name(user))).is_some()
    }

    fn name(&self, user: &str) -> Name {
        let digest = Sha256::new().chain_update(self.salt).chain_update(user).finalize();
        std::array::from_fn(|at| digest[at])
    }

    pub(crate) fn save(&self, now: i64) -> Saved {
        let shift = |record: &Record| shifted(record, now.saturating_neg());
        Saved {
            salt: self.salt,
            users: self.users.iter().map(|((net, name), record)| (*net, *name, shift(record))).collect(),
            addresses: self.addresses.iter().map(|(net, record)| (*net, shift(record))).collect(),
        }
    }

    /// Takes over what was saved `elapsed_ms` ago. Nothing may lie in the future, no lock longer than one from now.
    pub(crate) fn restore(limits: Limits, saved: &Saved, now: i64, elapsed_ms: i64) -> Self {
        let by = now.saturating_sub(elapsed_ms);
        let cap = now.saturating_add(millis(limits.lock));
        let fit = |record: &Record| {
            let mut record = shifted(record, by);
            record.fails.iter_mut().for_each(|at| *at = (*at).min(now));
            record.locked_until = record.locked_until.min(cap);
            record
        };
        let mut restored = Self::new(limits, saved.salt);
        let capacity = restored.limits.capacity;
        restored.users =
            saved.users.iter().take(capacity).map(|(net, name, r)| ((*net, *name), fit(r))).collect();
        restored.addresses = saved.addresses.iter().take(capacity).map(|(net, r)| (*net, fit(r))).collect();
        restored
    }
}

fn shifted(record: &Record, by: i64) -> Record {
    Record {
        fails: record.fails.iter().map(|at| at.saturating_add(by)).collect(),
        locked_until: if record.locked_until == 0 { 0 } else { record.locked_until.saturating_add(by) },
    }
}

fn count<K: Copy + Eq + std::hash::Hash>(
    table: &mut HashMap<K, Record>,
    key: K,
    limit: u32,
    limits: &Limits,
    now: i64,
) -> bool {
    if limit == 0 || limits.capacity == 0 {
        return false;
    }
    let window_start = now.saturating_sub(millis(limits.window));
    if !table.contains_key(&key) && table.len() >= limits.capacity {
        make_room(table, now, window_start);
    }
    let record = table.entry(key).or_default();
    if record.is_locked(now) {
        // A check that was under way when the lock fell.
        return false;
    }
    while record.fails.front().is_some_and(|&at| at <= window_start) {
        record.fails.pop_front();
    }
    record.fails.push_back(now);
    if record.fails.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
        return false;
    }
    record.fails.clear();
    record.locked_until = now.saturating_add(millis(limits.lock));
    true
}

fn make_room<K: Copy + Eq + std::hash::Hash>(table: &mut HashMap<K, Record>, now: i64, window_start: i64) {
    let before = table.len();
    table.retain(|_, record| record.is_locked(now) || record.last() > window_start);
    if table.len() == before {
        let rank = |record: &Record| (record.is_locked(now), record.locked_until.max(record.last()));
        let oldest = table.iter().min_by_key(|(_, record)| rank(record)).map(|(key, _)| *key);
        oldest.and_then(|key| table.remove(&key));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;

    fn net(text: &str) -> Net {
        Net::from(text.parse::<IpAddr>().unwrap())
    }

    fn throttle() -> Throttle {
        Throttle::new(Limits::default(), [7; 16])
    }

    #[test]
    fn the_twentieth_wrong_password_in_ten_minutes_locks_the_user_from_there_only() {
        let mut throttle = throttle();
        let here = net("192.0.2.1");
        for n in 0..19 {
            assert!(!throttle.failed(here, "admin", n * 31_000));
        }
        assert!(!throttle.is_locked(here, "admin", 19 * 31_000));
        assert!(throttle.failed(here, "admin", 19 * 31_000));
        assert!(throttle.is_locked(here, "admin", 19 * 31_000));
        assert!(!throttle.is_locked(here, "jane", 19 * 31_000));
        assert!(!throttle.is_locked(net("192.0.2.2"), "admin", 19 * 31_000));
    }

    #[test]
    fn a_lock_ends_by_itself_and_starts_counting_anew() {
        let mut throttle = throttle();
        let here = net("192.0.2.1");
        for _ in 0..20 {
            throttle.failed(here, "admin", 0);
        }
        assert!(throttle.is_locked(here, "admin", 10 * MINUTE - 1));
        assert!(!throttle.is_locked(here, "admin", 10 * MINUTE));
        assert!(!throttle.failed(here, "admin", 10 * MINUTE));
    }

    #[test]
    fn slow_mistakes_never_lock() {
        let mut throttle = throttle();
        for n in 0..1_000 {
            assert!(!throttle.failed(net("192.0.2.1"), "admin", n * 32_000), "mistake {n}");
        }
    }

    #[test]
    fn many_names_from_one_address_lock_the_address() {
        let mut throttle = throttle();
        let here = net("192.0.2.1");
        let locked: Vec<bool> = (0..60).map(|n| throttle.failed(here, &format!("u{n}"), n)).collect();
        assert_eq!(locked.iter().position(|&locked| locked), Some(59));
        assert!(throttle.is_locked(here, "anybody", 60));
    }

    #[test]
    fn an_ipv6_neighbour_in_the_same_64_counts_as_the_same_and_a_mapped_v4_as_v4() {
        assert_eq!(net("2001:db8:1:2::1"), net("2001:db8:1:2:ffff::9"));
        assert_ne!(net("2001:db8:1:2::1"), net("2001:db8:1:3::1"));
        assert_eq!(net("::ffff:192.0.2.1"), net("192.0.2.1"));
        assert_eq!(net("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn a_right_password_forgives_the_user_but_not_the_address() {
        let mut throttle = throttle();
        let here = net("192.0.2.1");
        for round in 0..4 {
            for _ in 0..15 {
                throttle.failed(here, "jane", round);
            }
            assert!(throttle.succeeded(here, "jane"));
        }
        assert!(throttle.is_locked(here, "admin", 5), "60 mistakes of the address");
    }

    #[test]
    fn counters_survive_a_restart_and_time_goes_on_meanwhile() {
        let mut before = throttle();
        let (locked, counting) = (net("192.0.2.1"), net("192.0.2.2"));
        for _ in 0..20 {
            before.failed(locked, "admin", 0);
        }
        for _ in 0..19 {
            before.failed(counting, "admin", 0);
        }
        let saved: Saved =
            serde_json::from_str(&serde_json::to_string(&before.save(MINUTE)).unwrap()).unwrap();
        // A new boot, one second old; two minutes went by on the wall.
        let now = 1_000;
        let mut after = Throttle::restore(Limits::default(), &saved, now, 2 * MINUTE);
        assert!(after.is_locked(locked, "admin", now + 7 * MINUTE - 1));
        assert!(!after.is_locked(locked, "admin", now + 7 * MINUTE));
        assert!(after.failed(counting, "admin", now));
        let later = Throttle::restore(Limits::default(), &saved, now, 60 * MINUTE);
        assert!(!later.is_locked(locked, "admin", now));
    }

    #[test]
    fn limits_of_zero_switch_the_counting_off() {
        let mut throttle =
            Throttle::new(Limits { per_user: 0, per_address: 0, ..Limits::default() }, [0; 16]);
        for _ in 0..1_000 {
            assert!(!throttle.failed(net("192.0.2.1"), "admin", 0));
        }
        assert!(throttle.users.is_empty() && throttle.addresses.is_empty());
    }

    #[test]
    fn a_flood_of_addresses_pushes_out_the_oldest_and_a_locked_one_last() {
        let mut throttle = Throttle::new(Limits { capacity: 8, ..Limits::default() }, [0; 16]);
        let locked = net("192.0.2.1");
        for _ in 0..20 {
            throttle.failed(locked, "admin", 0);
        }
        for n in 0..1_000_u32 {
            throttle.failed(Net::V4(n), "admin", 1);
        }
        assert!(throttle.users.len() <= 8 && throttle.addresses.len() <= 8);
        assert!(throttle.is_locked(locked, "admin", 2));
    }

    proptest! {
        #[test]
        fn tables_stay_bounded_and_a_lock_needs_its_number_of_mistakes(
            attempts in prop::collection::vec((0_u32..12, 0_u8..4, 0_i64..MINUTE), 0..300),
        ) {
            let limits = Limits { per_user: 3, per_address: 5, capacity: 4, ..Limits::default() };
            let mut throttle = Throttle::new(limits, [1; 16]);
            let (mut now, mut failures) = (0, HashMap::<u32, u32>::new());
            for (address, user, pause) in attempts {
                now += pause;
                let (net, user) = (Net::V4(address), format!("u{user}"));
                if throttle.is_locked(net, &user, now) {
                    prop_assert!(failures.get(&address).is_some_and(|&count| count >= 3));
                    continue;
                }
                throttle.failed(net, &user, now);
                *failures.entry(address).or_default() += 1;
                prop_assert!(throttle.users.len() <= 4 && throttle.addresses.len() <= 4);
                prop_assert!(throttle.users.values().all(|record| record.fails.len() < 3));
            }
            let saved = throttle.save(now);
            prop_assert_eq!(Throttle::restore(throttle.limits.clone(), &saved, now, 0).save(now).users.len(), saved.users.len());
        }
    }
}
