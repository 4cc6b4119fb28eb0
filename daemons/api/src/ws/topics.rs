//! Which events clients get, from whose state, in both generations (section 6.3).
//!
//! Each subsystem has a topic: its full events for whoever is new, and a small task that turns changes of its state
//! into events. The old generation repeats the complete state on every change; a setting turns it off.

use crate::{
    atx as atx_api, gpio as gpio_api, hid as hid_api,
    info::{self as info_api, LoginNeeded},
    msd as msd_api,
    streamer::{owner::Streamer, text},
    switch::{self as switch_api, Switch},
    ws::hub::Hub,
};
use atx::Atx;
use gpio::Gpio;
use hid::Hid;
use info::Info;
use model::{
    Event, event,
    info::{Field, Info as InfoState},
    legacy,
};
use msd::Msd;
use ocr::Ocr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Everything a new client must know of one subsystem.
pub type Full = Box<dyn Fn() -> Vec<Event> + Send>;

/// The subsystems clients hear of.
pub struct Sources {
    /// Keyboard and mouse.
    pub hid: Hid,
    /// What text can be typed with.
    pub keymaps: hid_api::Keymaps,
    /// Front panel.
    pub atx: Atx,
    /// Named switches.
    pub gpio: Gpio,
    /// The lent drive.
    pub msd: Msd,
    /// Video.
    pub streamer: Streamer,
    /// Text on pictures.
    pub ocr: Ocr,
    /// Facts about the appliance.
    pub info: Info,
    /// Whether people must log in.
    pub login: LoginNeeded,
    /// The multi-port switch.
    pub switch: Switch,
    /// The machine that can be woken.
    pub wol: legacy::Wol,
}

/// Sends events of the old generation too.
#[derive(Debug, Clone, Copy)]
pub struct Legacy(pub bool);

impl Legacy {
    fn add(self, mut events: Vec<Event>, old: impl FnOnce() -> Vec<Event>) -> Vec<Event> {
        if self.0 {
            events.extend(old());
        }
        events
    }
}

/// Starts all topics. The tasks end with `stop`.
pub fn start(sources: Sources, hub: &Hub, legacy: Legacy, stop: &CancellationToken) -> Vec<Full> {
    let Sources { hid, keymaps, atx, gpio, msd, streamer, ocr, info, login, switch, wol } = sources;
    let model = Arc::new(gpio_api::show_model(gpio.model()));
    let topic = |feed: Feed| feed.start(hub, stop);
    vec![
        topic(Feed::new(gpio.subscribe(), gpio_api::show, model::gpio::diff, {
            let model = Arc::clone(&model);
            move |state, change| match change {
                None => legacy.add(vec![model::gpio::full(&model, state)], || {
                    vec![legacy::gpio_model(&model), legacy::gpio(state), legacy::wol(&wol)]
                }),
                Some(change) => legacy.add(vec![change], || vec![legacy::gpio(state)]),
            }
        })),
        topic(Feed::new(switch.subscribe(), switch_api::show, switch_api::diff, |state, change| {
            vec![change.unwrap_or_else(|| switch_api::full(state))]
        })),
        topic(Feed::new(hid.subscribe(), hid_api::show, model::hid::diff, move |state, change| {
            let event = change.unwrap_or_else(|| model::hid::full(state));
            legacy.add(vec![event], || vec![legacy::hid(state)])
        })),
        topic(Feed::new(atx.subscribe(), atx_api::show, model::atx::diff, move |state, change| {
            let event = change.unwrap_or_else(|| model::atx::full(state));
            legacy.add(vec![event], || vec![legacy::atx(state)])
        })),
        topic(Feed::new(msd.subscribe(), msd_api::show, model::msd::diff, move |state, change| {
            let event = change.unwrap_or_else(|| model::msd::full(state));
            legacy.add(vec![event], || vec![legacy::msd(state)])
        })),
        topic(Feed::new(streamer.subscribe(), Clone::clone, model::streamer::diff, move |state, change| {
            let event = change.unwrap_or_else(|| model::streamer::full(state));
            legacy.add(vec![event], || vec![legacy::streamer(state)])
        })),
        Box::new(move || {
            let (maps, ocr) = (keymaps.show(), text::show(&ocr));
            let new = vec![Event::new(event::HID_KEYMAPS, maps.wrapped()), model::ocr::full(&ocr)];
            legacy.add(new, || vec![legacy::hid_keymaps(&maps), legacy::ocr(&ocr)])
        }),
        facts(info, login, hub, legacy, stop),
    ]
}

/// How updates of the system stand; the old generation knows nothing of them.
pub fn updates(
    states: watch::Receiver<Option<model::update::State>>,
    hub: &Hub,
    stop: &CancellationToken,
) -> Full {
    let events = |state: &Option<model::update::State>, change: Option<Event>| {
        change.or_else(|| state.as_ref().map(model::update::full)).into_iter().collect()
    };
    Feed::new(states, Clone::clone, model::update::diff, events).start(hub, stop)
}

/// One subsystem's state on its way to clients.
struct Feed {
    full: Full,
    run: Box<dyn FnOnce(Hub, CancellationToken) + Send>,
}

impl Feed {
    /// `show` converts the state, `diff` compares two, `events` makes the messages of a state: the full ones without a
    /// change, else those of the change.
    fn new<S, M, E>(
        states: watch::Receiver<S>,
        show: fn(&S) -> M,
        diff: fn(&M, &M) -> Option<Event>,
        events: E,
    ) -> Self
    where
        S: Send + Sync + 'static,
        M: Send + 'static,
        E: Fn(&M, Option<Event>) -> Vec<Event> + Send + Sync + 'static,
    {
        let events = Arc::new(events);
        let full = {
            let (states, events) = (states.clone(), Arc::clone(&events));
            Box::new(move || events(&show(&states.borrow()), None))
        };
        let run = move |hub: Hub, stop: CancellationToken| {
            let mut states = states;
            let mut old = show(&states.borrow_and_update());
            let work = async move {
                while states.changed().await.is_ok() {
                    let new = show(&states.borrow_and_update());
                    if let Some(change) = diff(&old, &new) {
                        hub.tell(events(&new, Some(change))).await;
                    }
                    old = new;
                }
            };
            tokio::spawn(async move { stop.run_until_cancelled(work).await });
        };
        Self { full, run: Box::new(run) }
    }

    fn start(self, hub: &Hub, stop: &CancellationToken) -> Full {
        (self.run)(hub.clone(), stop.clone());
        self.full
    }
}

/// The facts of the appliance. Gathered when somebody comes, watched only while somebody is there.
fn facts(info: Info, login: LoginNeeded, hub: &Hub, legacy: Legacy, stop: &CancellationToken) -> Full {
    let known: Arc<Mutex<Option<InfoState>>> = Arc::default();
    let shown = Arc::clone(&known);
    let full = move || {
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map_or_else(Vec::new, |info| fact_events(info, Field::CURRENT, legacy))
    };
    let (hub, stop) = (hub.clone(), stop.clone());
    tokio::spawn(async move { stop.run_until_cancelled(watch_facts(info, login, hub, legacy, shown)).await });
    Box::new(full)
}

async fn watch_facts(
    info: Info,
    login: LoginNeeded,
    hub: Hub,
    legacy: Legacy,
    shown: Arc<Mutex<Option<InfoState>>>,
) {
    let mut population = hub.population();
    loop {
        if population.wait_for(|clients| *clients > 0).await.is_err() {
            return;
        }
        // What was known before nobody was there may be long out of date.
        let mut facts = info_api::gather(&info, login.0).await;
        keep(&shown, Some(facts.clone()));
        hub.tell(fact_events(&facts, Field::CURRENT, legacy)).await;
        let (mut health, mut node) = (info.watch_health(), info.watch_node());
        let (mut uptime, mut fan) = (info.watch_uptime(), info.watch_fan());
        while *population.borrow_and_update() > 0 {
            let before = facts.clone();
            let mut fields = Vec::new();
            tokio::select! {
                changed = population.changed() => if changed.is_err() { return },
                Ok(()) = health.changed() => facts.health = info_api::show_health(&health.borrow_and_update()),
                Ok(()) = node.changed() => facts.node = info_api::show_node(&node.borrow_and_update()),
                Ok(()) = fan.changed() => facts.fan = info_api::show_fan(&fan.borrow_and_update()),
                Ok(()) = uptime.changed() => {
                    facts.uptime = info_api::show_uptime(*uptime.borrow_and_update());
                    fields.push(Field::Uptime);
                }
            }
            fields.extend(model::info::changed(&before, &facts));
            if !fields.is_empty() {
                keep(&shown, Some(facts.clone()));
                hub.tell(fact_events(&facts, &fields, legacy)).await;
            }
        }
        keep(&shown, None);
    }
}

fn keep(shown: &Mutex<Option<InfoState>>, facts: Option<InfoState>) {
    *shown.lock().unwrap_or_else(PoisonError::into_inner) = facts;
}

fn fact_events(info: &InfoState, fields: &[Field], legacy: Legacy) -> Vec<Event> {
    let new = fields.iter().map(|field| info.event(*field)).collect();
    legacy.add(new, || fields.iter().filter_map(|field| legacy::info(info, *field)).collect())
}
