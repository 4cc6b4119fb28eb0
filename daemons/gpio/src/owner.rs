//! The task that owns the drivers, and the handle everybody else has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::model::{Channel, InputState, IoState, Mode, Model, OutputState, Settings, SetupError};
use crate::{Driver, Error, Marks, Offline, PinUse, Wake};

/// Requests that may wait for the owner at once.
const QUEUE: usize = 64;
/// How often a driver that is offline is asked again, where it cannot say itself that it is back.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Drivers by their names in the configuration.
pub type Drivers = BTreeMap<String, Box<dyn Driver>>;

enum Action {
    Switch(bool),
    Pulse(Duration),
}

struct Request {
    channel: String,
    action: Action,
    wait: bool,
    reply: oneshot::Sender<Result<(), Error>>,
}

/// The handle: read the model and the state, switch and pulse.
#[derive(Debug, Clone)]
pub struct Gpio {
    model: Arc<Model>,
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<IoState>,
}

impl Gpio {
    /// What there is.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The levels, now and on every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<IoState> {
        self.state.clone()
    }

    /// Switches an output. With `wait` the answer comes when the channel is free again, and tells of an offline
    /// driver; without, as soon as the channel is taken.
    ///
    /// # Errors
    /// [`Error::ChannelNotFound`], [`Error::SwitchNotSupported`], [`Error::ChannelIsBusy`]; with `wait` also
    /// [`Error::DriverOffline`].
    pub async fn switch(&self, channel: &str, state: bool, wait: bool) -> Result<(), Error> {
        self.request(channel, Action::Switch(state), wait).await
    }

    /// Pulses an output for `delay`, brought inside the channel's limits; zero means the configured length. `wait` as
    /// in [`Gpio::switch`].
    ///
    /// # Errors
    /// As [`Gpio::switch`], with [`Error::PulseNotSupported`].
    pub async fn pulse(&self, channel: &str, delay: Duration, wait: bool) -> Result<(), Error> {
        self.request(channel, Action::Pulse(delay), wait).await
    }

    async fn request(&self, channel: &str, action: Action, wait: bool) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let request = Request { channel: channel.to_owned(), action, wait, reply };
        self.requests.send(request).await.map_err(|_| Error::Stopped)?;
        answer.await.unwrap_or(Err(Error::Stopped))
    }
}

/// Starts the owner. It ends when `stop` is cancelled.
///
/// # Errors
/// [`SetupError`] when a channel names a driver that is not in `drivers`.
pub fn spawn(
    settings: Settings,
    drivers: Drivers,
    stop: CancellationToken,
) -> Result<(Gpio, JoinHandle<()>), SetupError> {
    spawn_marked(settings, drivers, None, stop)
}

/// As [`spawn`], with a place that outlives us for what is pulsed. What is found there was not ended by our predecessor:
/// it is ended now.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_marked(
    settings: Settings,
    drivers: Drivers,
    marks: Option<Marks>,
    stop: CancellationToken,
) -> Result<(Gpio, JoinHandle<()>), SetupError> {
    let (requests, inbox) = mpsc::channel(QUEUE);
    let model = Arc::new(Model::build(&settings));
    let (owner, state) = Owner::new(settings, drivers, marks)?;
    let task = tokio::spawn(owner.run(inbox, stop));
    Ok((Gpio { model, requests, state }, task))
}

/// Channels to be switched off, each with whether its driver has been told so.
type Left = BTreeMap<String, bool>;

/// What an output is doing.
enum Phase {
    Idle,
    /// On until then, by a pulse.
    Pulsing {
        until: Instant,
    },
    /// Done, not free yet.
    Cooling {
        until: Instant,
    },
}

struct Output {
    phase: Phase,
    /// Answered when the output is free again.
    waiting: Option<oneshot::Sender<Result<(), Error>>>,
    /// What the action came to.
    result: Result<(), Error>,
}

struct Owner {
    settings: Settings,
    drivers: Drivers,
    outputs: BTreeMap<String, Output>,
    publish: watch::Sender<IoState>,
    wake: Wake,
    marks: Option<Marks>,
    /// Pulses that are over and not ended yet, ours and our predecessor's: the driver has not answered, or not carried
    /// it out so far.
    left: Left,
    /// Some driver did not answer at the last look.
    is_offline: bool,
}

impl Owner {
    fn new(
        settings: Settings,
        mut drivers: Drivers,
        marks: Option<Marks>,
    ) -> Result<(Self, watch::Receiver<IoState>), SetupError> {
        let mut uses: BTreeMap<String, Vec<PinUse>> = BTreeMap::new();
        for (name, channel) in &settings.scheme {
            if !drivers.contains_key(&channel.hw.driver) {
                return Err(SetupError::UnknownDriver {
                    channel: name.clone(),
                    driver: channel.hw.driver.clone(),
                });
            }
            uses.entry(channel.hw.driver.clone()).or_default().push(pin_use(channel));
        }
        // Without marks every start is the first: nobody has told us of one before.
        let is_first = marks.as_ref().is_none_or(|marks| {
            marks.start().unwrap_or_else(|error| {
                log::error!("outputs are not set to their first levels: {error}");
                false
            })
        });
        let wake = Wake::default();
        for (name, driver) in &mut drivers {
            let mut pins = uses.remove(name).unwrap_or_default();
            if driver.keeps_levels() && !is_first {
                pins.iter_mut().for_each(PinUse::keep);
            }
            if let Err(Offline(why)) = driver.attach(&pins, wake.clone()) {
                log::warn!("gpio driver {name:?} is offline: {why}");
            }
        }
        let idle = || Output { phase: Phase::Idle, waiting: None, result: Ok(()) };
        let visible = Model::build(&settings).scheme.outputs;
        let outputs = visible.into_keys().map(|name| (name, idle())).collect();
        let (publish, state) = watch::channel(IoState::default());
        let left = marks.as_ref().map(Marks::get).unwrap_or_default();
        let left = left.into_iter().map(|name| (name, false)).collect();
        let mut owner = Self { settings, drivers, outputs, publish, wake, marks, left, is_offline: false };
        owner.show();
        Ok((owner, state))
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Request>, stop: CancellationToken) {
        let wake = self.wake.clone();
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => self.advance(),
                () = wake.woken() => {}
                () = sleep(ASK_AGAIN), if self.is_offline => {}
                request = inbox.recv() => match request {
                    Some(request) => self.serve(request),
                    None => return self.wind_down().await,
                },
            }
            self.show();
        }
    }

    /// Nobody is left to ask for anything: pulses under way still last as long as they were meant to.
    async fn wind_down(mut self) {
        while let Some(deadline) = self.deadline() {
            sleep_until(deadline).await;
            self.advance();
            self.end_left();
        }
    }

    fn serve(&mut self, request: Request) {
        let Request { channel, action, wait, reply } = request;
        match self.begin(&channel, &action) {
            Err(error) => {
                let _ = reply.send(Err(error));
            }
            Ok(output) if wait => output.waiting = Some(reply),
            Ok(_) => {
                let _ = reply.send(Ok(()));
            }
        }
    }

    fn begin(&mut self, name: &str, action: &Action) -> Result<&mut Output, Error> {
        let not_found = || Error::ChannelNotFound(name.to_owned());
        let output = self.outputs.get_mut(name).ok_or_else(not_found)?;
        let channel = self.settings.scheme.get(name).ok_or_else(not_found)?;
        let Mode::Output { switch, pulse, busy_delay, .. } = &channel.mode else {
            return Err(not_found());
        };
        let supported = match action {
            Action::Switch(_) => {
                switch.then_some(()).ok_or_else(|| Error::SwitchNotSupported(name.to_owned()))
            }
            Action::Pulse(_) => {
                pulse.enabled().then_some(()).ok_or_else(|| Error::PulseNotSupported(name.to_owned()))
            }
        };
        supported?;
        if !matches!(output.phase, Phase::Idle) {
            return Err(Error::ChannelIsBusy(name.to_owned()));
        }
        let now = Instant::now();
        let (level, phase) = match action {
            Action::Switch(state) => (*state, Phase::Cooling { until: now + *busy_delay }),
            Action::Pulse(delay) => (true, Phase::Pulsing { until: now + pulse.clamp(*delay) }),
        };
        let cooling = Phase::Cooling { until: now + *busy_delay };
        let was_left = self.left.remove(name);
        output.phase = phase;
        // Before the line is driven: from here on it may be our last word.
        mark(self.marks.as_ref(), &self.outputs, &self.left);
        let output = self.outputs.get_mut(name).ok_or_else(not_found)?;
        output.result = write(&mut self.drivers, channel, level);
        // A pulse that could not begin needs no end. Its mark stays until the next one: that does no harm.
        match (&output.result, action) {
            (Err(_), _) => output.phase = cooling,
            // A pulse lasts from when its line was on: driving it may take its time.
            (Ok(()), Action::Pulse(delay)) => {
                output.phase = Phase::Pulsing { until: Instant::now() + pulse.clamp(*delay) };
            }
            (Ok(()), Action::Switch(_)) => {}
        }
        // Still not what it should be: nothing was changed, or the same was ordered again.
        if was_left.is_some() && (output.result.is_err() || matches!(action, Action::Switch(false))) {
            self.left.insert(name.to_owned(), output.result.is_ok());
        }
        Ok(output)
    }

    fn deadline(&self) -> Option<Instant> {
        let actions = self.outputs.values().filter_map(|output| match output.phase {
            Phase::Idle => None,
            Phase::Pulsing { until } | Phase::Cooling { until } => Some(until),
        });
        actions.min()
    }

    fn advance(&mut self) {
        let now = Instant::now();
        for (name, output) in &mut self.outputs {
            let Some(channel) = self.settings.scheme.get(name) else { continue };
            let Mode::Output { busy_delay, .. } = &channel.mode else { continue };
            match output.phase {
                Phase::Pulsing { until } if until <= now => {
                    output.result = write(&mut self.drivers, channel, false);
                    output.phase = Phase::Cooling { until: now + *busy_delay };
                    if let Err(error) = &output.result {
                        log::error!("gpio channel {name:?} may still be on: {error}");
                    }
                    // It has ended when the driver says so, and stays marked until then.
                    self.left.insert(name.clone(), output.result.is_ok());
                }
                Phase::Cooling { until } if until <= now => {
                    output.phase = Phase::Idle;
                    // A driver that is slow says only now whether it could.
                    let result = std::mem::replace(&mut output.result, Ok(()))
                        .and_then(|()| read(&mut self.drivers, channel).map(drop));
                    match (output.waiting.take(), result) {
                        (Some(reply), result) => drop(reply.send(result)),
                        (None, Err(error)) => log::warn!("gpio channel {name:?}: {error}"),
                        (None, Ok(())) => {}
                    }
                }
                Phase::Idle | Phase::Pulsing { .. } | Phase::Cooling { .. } => {}
            }
        }
    }

    /// Ends pulses that are not ended, and forgets those that are.
    fn end_left(&mut self) {
        if self.left.is_empty() {
            return;
        }
        let (scheme, drivers) = (&self.settings.scheme, &mut self.drivers);
        self.left.retain(|name, told| {
            let Some(channel) =
                scheme.get(name).filter(|channel| matches!(channel.mode, Mode::Output { .. }))
            else {
                return false;
            };
            if *told && let Ok(done) = is_done(drivers, channel) {
                return !done;
            }
            *told = write(drivers, channel, false).is_ok();
            let ended = *told && is_done(drivers, channel) == Ok(true);
            if ended {
                log::info!("gpio channel {name:?}: a pulse that was cut off is ended");
            }
            !ended
        });
        mark(self.marks.as_ref(), &self.outputs, &self.left);
    }

    fn show(&mut self) {
        self.end_left();
        self.is_offline = !self.left.is_empty();
        let mut state = IoState::default();
        for (name, channel) in &self.settings.scheme {
            let is_offline = &mut self.is_offline;
            let mut read = |drivers: &mut Drivers| {
                let level = read(drivers, channel).ok();
                *is_offline |= level.is_none();
                level
            };
            if let Mode::Input { .. } = channel.mode {
                let level = read(&mut self.drivers);
                let input = InputState { online: level.is_some(), state: level.unwrap_or(false) };
                state.inputs.insert(name.clone(), input);
            } else if let Some(output) = self.outputs.get(name) {
                let shown = if matches!(output.phase, Phase::Idle) {
                    let level = read(&mut self.drivers);
                    OutputState { online: level.is_some(), state: level.unwrap_or(false), busy: false }
                } else {
                    OutputState { online: true, state: false, busy: true }
                };
                state.outputs.insert(name.clone(), shown);
            }
        }
        self.publish.send_if_modified(|shown| {
            let changed = *shown != state;
            *shown = state;
            changed
        });
    }

    /// Ends pulses under way: nothing stays on that was meant to be on for a moment.
    fn rest(&mut self) {
        for (name, output) in &mut self.outputs {
            let Some(channel) = self.settings.scheme.get(name) else { continue };
            if matches!(output.phase, Phase::Pulsing { .. }) {
                let ended = write(&mut self.drivers, channel, false);
                if let Err(error) = &ended {
                    log::error!("gpio channel {name:?} may still be on: {error}");
                }
                output.phase = Phase::Idle;
                self.left.insert(name.clone(), ended.is_ok());
            }
        }
        self.end_left();
        mark(self.marks.as_ref(), &self.outputs, &self.left);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.rest();
    }
}

/// Writes down what is on for a moment only.
fn mark(marks: Option<&Marks>, outputs: &BTreeMap<String, Output>, left: &Left) {
    let Some(marks) = marks else { return };
    let pulsing = outputs.iter().filter(|(_, output)| matches!(output.phase, Phase::Pulsing { .. }));
    let names = pulsing.map(|(name, _)| name.as_str()).chain(left.keys().map(String::as_str));
    if let Err(error) = marks.set(names) {
        log::error!("pulses under way cannot be marked: {error}");
    }
}

/// What a channel's driver is told of it.
#[must_use]
pub fn pin_use(channel: &Channel) -> PinUse {
    let pin = channel.hw.pin.clone();
    match &channel.mode {
        Mode::Input { debounce } => PinUse::Input { pin, debounce: *debounce },
        Mode::Output { initial, .. } => {
            PinUse::Output { pin, initial: initial.map(|on| on ^ channel.inverted) }
        }
    }
}

fn read(drivers: &mut Drivers, channel: &Channel) -> Result<bool, Error> {
    let offline = |why| Error::DriverOffline { driver: channel.hw.driver.clone(), why };
    let driver = drivers.get_mut(&channel.hw.driver).ok_or_else(|| offline("not configured".to_owned()))?;
    let level = driver.read(&channel.hw.pin).map_err(|Offline(why)| offline(why))?;
    Ok(level ^ channel.inverted)
}

fn write(drivers: &mut Drivers, channel: &Channel, state: bool) -> Result<(), Error> {
    let offline = |why| Error::DriverOffline { driver: channel.hw.driver.clone(), why };
    let driver = drivers.get_mut(&channel.hw.driver).ok_or_else(|| offline("not configured".to_owned()))?;
    driver.write(&channel.hw.pin, state ^ channel.inverted).map_err(|Offline(why)| offline(why))
}

fn is_done(drivers: &mut Drivers, channel: &Channel) -> Result<bool, Error> {
    let offline = |why| Error::DriverOffline { driver: channel.hw.driver.clone(), why };
    let driver = drivers.get_mut(&channel.hw.driver).ok_or_else(|| offline("not configured".to_owned()))?;
    driver.is_done(&channel.hw.pin).map_err(|Offline(why)| offline(why))
}
