use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    ready: Some(Duration::from_secs(30)),
    stop: Duration::from_secs(5),
    watchdog: Some(Duration::from_secs(20)),
    patience: Patience {
        first_delay: Duration::from_millis(100),
        max_delay: Duration::from_secs(30),
        deaths: 5,
        forgiven_after: Duration::from_secs(60),
    },
};

const MS: Duration = Duration::from_millis(1);

fn ended(how: &str) -> Event {
    Event::Ended { how: how.to_owned(), killed: false }
}

fn killed() -> Event {
    Event::Ended { how: "killed by SIGKILL".to_owned(), killed: true }
}

/// A ready service and the time at which it is.
fn ready() -> (Service, Instant) {
    let now = Instant::now();
    let mut service = Service::new(LIMITS, now);
    assert_eq!(service.on(Event::Want, now), Some(Action::Spawn));
    assert_eq!(service.on(Event::Ready, now + MS), None);
    assert!(service.is_ready());
    (service, now + MS)
}

/// Lets the service's own dates pass until it is spawned; how long that took.
fn until_spawned(service: &mut Service, mut now: Instant) -> Duration {
    let from = now;
    loop {
        now = now.max(service.next_tick().expect("something is due"));
        if service.on(Event::Tick, now) == Some(Action::Spawn) {
            return now - from;
        }
    }
}

#[test]
fn the_first_restart_is_immediate() {
    let (mut service, now) = ready();
    assert_eq!(service.on(killed(), now), Some(Action::Spawn));
    let (mut service, now) = ready();
    assert_eq!(service.on(ended("exit status 1"), now), Some(Action::Spawn));
}

#[test]
fn forty_kills_in_a_row_never_cost_more_than_half_a_second_each() {
    for get_ready in [true, false] {
        let (mut service, mut now) = ready();
        for _ in 0..GENTLE_LOOP - 1 {
            now += MS;
            if service.on(killed(), now) != Some(Action::Spawn) {
                let waited = until_spawned(&mut service, now);
                assert!(waited <= 500 * MS, "{waited:?}");
                now += waited;
            }
            if get_ready {
                service.on(Event::Ready, now);
            }
        }
        assert!(!service.is_looping());
    }
}

#[test]
fn a_service_that_never_gets_ready_waits_longer_each_time_and_is_called_a_crash_loop() {
    let mut now = Instant::now();
    let mut service = Service::new(LIMITS, now);
    service.on(Event::Want, now);
    let mut waits = Vec::new();
    for _ in 0..12 {
        let waited = match service.on(ended("exit status 78"), now) {
            Some(Action::Spawn) => Duration::ZERO,
            None => until_spawned(&mut service, now),
            other => panic!("{other:?}"),
        };
        waits.push(waited);
        now += waited;
    }
    assert!(waits.is_sorted(), "{waits:?}");
    assert_eq!(waits[0], Duration::ZERO);
    assert_eq!(*waits.last().unwrap(), Duration::from_secs(30));
    assert!(service.is_looping());
    assert_eq!(service.last_end(), Some("exit status 78"));
}

#[test]
fn getting_ready_ends_a_crash_loop_of_early_ends() {
    let mut now = Instant::now();
    let mut service = Service::new(LIMITS, now);
    service.on(Event::Want, now);
    for _ in 0..8 {
        if service.on(ended("exit status 1"), now).is_none() {
            now += until_spawned(&mut service, now);
        }
    }
    assert!(service.is_looping());
    service.on(Event::Ready, now);
    assert_eq!(service.on(ended("exit status 1"), now + LIMITS.patience.forgiven_after), Some(Action::Spawn));
    assert!(!service.is_looping());
}

#[test]
fn a_service_that_is_not_ready_in_time_is_stopped_and_tried_again() {
    let now = Instant::now();
    let mut service = Service::new(LIMITS, now);
    service.on(Event::Want, now);
    let late = now + Duration::from_secs(30);
    assert_eq!(service.on(Event::Tick, late - MS), None);
    assert_eq!(service.on(Event::Tick, late), Some(Action::Terminate));
    assert_eq!(service.on(Event::Tick, late + LIMITS.stop), Some(Action::Kill));
    assert_eq!(service.next_tick(), None, "a killed process is only waited for");
    assert_eq!(service.on(killed(), late + LIMITS.stop), Some(Action::Spawn));
    assert_eq!(service.last_end(), Some("not ready in time (killed by SIGKILL)"));
}

#[test]
fn silence_is_death_and_a_sign_of_life_puts_it_off() {
    let (mut service, now) = ready();
    let fed = now + Duration::from_secs(15);
    service.on(Event::Alive, fed);
    assert_eq!(service.on(Event::Tick, now + Duration::from_secs(20)), None);
    assert_eq!(service.on(Event::Tick, fed + Duration::from_secs(20)), Some(Action::Terminate));
    service.on(ended("exit status 0"), fed + Duration::from_secs(21));
    assert_eq!(service.last_end(), Some("watchdog (exit status 0)"));
}

#[test]
fn a_stop_is_final_until_somebody_wants_it_again() {
    let (mut service, now) = ready();
    assert_eq!(service.on(Event::Unwant, now), Some(Action::Terminate));
    assert_eq!(service.on(Event::Unwant, now), None);
    assert_eq!(service.on(ended("exit status 0"), now), None);
    assert_eq!(service.state(), State::Stopped);
    assert_eq!(service.restarts(), 0);
    assert_eq!(service.on(Event::Want, now), Some(Action::Spawn));
}

#[test]
fn wanted_while_it_stops_means_started_as_soon_as_it_has_ended() {
    let (mut service, now) = ready();
    service.on(Event::Unwant, now);
    assert_eq!(service.on(Event::Want, now), None);
    assert_eq!(service.on(ended("exit status 0"), now), Some(Action::Spawn));
    assert_eq!(service.restarts(), 0);
}

#[test]
fn a_stop_while_it_waits_cancels_the_date() {
    let (mut service, now) = ready();
    service.on(killed(), now);
    service.on(Event::Ready, now);
    assert_eq!(service.on(killed(), now), None);
    assert!(matches!(service.state(), State::Waiting { looping: false, .. }));
    assert_eq!(service.on(Event::Unwant, now), None);
    assert_eq!((service.state(), service.next_tick()), (State::Stopped, None));
}

#[test]
fn a_restart_asked_for_is_no_crash() {
    let (mut service, now) = ready();
    assert_eq!(service.on(Event::Restart, now), Some(Action::Terminate));
    assert_eq!(service.on(ended("exit status 0"), now), Some(Action::Spawn));
    assert_eq!((service.restarts(), service.is_looping()), (0, false));
}

#[test]
fn a_restart_does_not_start_what_nobody_wants() {
    let (mut service, now) = ready();
    service.on(Event::Unwant, now);
    assert_eq!(service.on(Event::Restart, now), None);
    assert_eq!(service.on(ended("exit status 0"), now), None);
    assert_eq!(service.on(Event::Restart, now), None);
    assert_eq!(service.state(), State::Stopped);
}

#[test]
fn a_service_without_readiness_is_ready_at_once() {
    let now = Instant::now();
    let mut service = Service::new(Limits { ready: None, ..LIMITS }, now);
    assert_eq!(service.on(Event::Want, now), Some(Action::Spawn));
    assert!(service.is_ready());
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Want),
        Just(Event::Unwant),
        Just(Event::Restart),
        Just(Event::Ready),
        Just(Event::Alive),
        Just(Event::Tick),
        any::<bool>().prop_map(|killed| Event::Ended { how: "x".to_owned(), killed }),
    ]
}

proptest! {
    /// A process model beside the machine: it never has two processes, and never signals one that is not there.
    #[test]
    fn there_is_never_more_than_one_process(events in proptest::collection::vec((event(), 0_u64..40_000), 0..200)) {
        let mut now = Instant::now();
        let mut service = Service::new(LIMITS, now);
        let mut alive = false;
        for (event, ms) in events {
            now += Duration::from_millis(ms);
            if matches!(event, Event::Ended { .. }) {
                if !alive {
                    continue;
                }
                alive = false;
            }
            match service.on(event, now) {
                Some(Action::Spawn) => {
                    prop_assert!(!alive);
                    alive = true;
                }
                Some(Action::Terminate | Action::Kill) => prop_assert!(alive),
                None => {}
            }
            let running = !matches!(service.state(), State::Stopped | State::Waiting { .. });
            prop_assert_eq!(alive, running);
            if service.wanted() && !alive {
                prop_assert!(service.next_tick().is_some(), "a wanted service is always on its way back");
            }
        }
        // Whatever came before, a stop followed by patience ends with nothing running.
        service.on(Event::Unwant, now);
        while let Some(due) = service.next_tick().filter(|_| alive) {
            if service.on(Event::Tick, due) == Some(Action::Kill) {
                service.on(Event::Ended { how: "x".to_owned(), killed: true }, due);
                alive = false;
            }
        }
        let only_awaited = matches!(service.state(), State::Stopping { killed: true, .. });
        prop_assert!(!alive || only_awaited);
    }
}
