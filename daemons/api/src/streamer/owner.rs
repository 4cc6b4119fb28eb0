//! The streamer's life as seen from here: when it runs, and with which settings.
//!
//! ```text
//! off ──a client wants pictures──▶ on ──the last one left──▶ lingering ──shutdown_delay──▶ off
//!                                   ▲                            │
//!                                   └──────a client comes────────┘
//! reset: off for reset_delay, then as before
//! ```
//!
//! The supervisor starts and stops the process and restarts it when it dies; this task only says what is wanted.
//! Settings are applied to the running streamer at once.

use super::{audience::Audience, frames::Frames, frames::Shot, shown::show};
use client::{
    streamer::{Set, Size, State as Report, Streamer as Link},
    supervisor::Supervisor,
};
use model::streamer::{self as wire, Features, Limits, Params, Range};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How the streamer is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What clients may set.
    pub features: Features,
    /// Between which values.
    pub limits: Limits,
    /// The values at start.
    pub params: Params,
    /// Run even while nobody watches.
    pub forever: bool,
    /// How long it runs on after the last one stopped watching.
    pub shutdown_delay: Duration,
    /// How long a reset keeps it stopped.
    pub reset_delay: Duration,
    /// How long a snapshot may take.
    pub snapshot_timeout: Duration,
    /// The streamer's socket.
    pub socket: PathBuf,
}

/// New settings of the stream; what is none stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// JPEG quality.
    pub quality: Option<u32>,
    /// Frames a second.
    pub desired_fps: Option<u32>,
    /// Width and height.
    pub resolution: Option<(u32, u32)>,
    /// kbit/s.
    pub h264_bitrate: Option<u32>,
    /// Frames between key frames.
    pub h264_gop: Option<u32>,
}

enum Command {
    Change(Change),
    Reset,
    Remember(Option<Arc<Shot>>),
    /// Keep it running for so long, whoever watches.
    Hold(Duration),
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Streamer {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<wire::State>,
    saved: watch::Receiver<Option<Arc<Shot>>>,
    settings: Arc<Settings>,
    /// The frames.
    pub frames: Frames,
    /// The MJPEG clients.
    pub audience: Audience,
}

impl Streamer {
    /// What clients are told.
    pub fn subscribe(&self) -> watch::Receiver<wire::State> {
        self.state.clone()
    }

    /// The settings it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The remembered picture.
    pub fn saved(&self) -> Option<Arc<Shot>> {
        self.saved.borrow().clone()
    }

    /// Takes new settings; values outside the limits are left out silently.
    pub async fn change(&self, change: Change) {
        self.send(Command::Change(change)).await;
    }

    /// Stops it and starts it again, if it was wanted.
    pub async fn reset(&self) {
        self.send(Command::Reset).await;
    }

    /// Keeps it running for that long at least, whoever watches; starts it if need be.
    pub async fn hold(&self, time: Duration) {
        self.send(Command::Hold(time)).await;
    }

    /// Remembers a picture, or forgets it.
    pub async fn remember(&self, shot: Option<Arc<Shot>>) {
        self.send(Command::Remember(shot)).await;
    }

    async fn send(&self, command: Command) {
        // The owner only ends with the daemon; whoever asks then is about to be disconnected anyway.
        let _ = self.commands.send(command).await;
    }
}

struct Owner {
    settings: Arc<Settings>,
    params: Params,
    link: Option<Link>,
    report: Option<Report>,
    audience: Audience,
    saved: watch::Sender<Option<Arc<Shot>>>,
    state: watch::Sender<wire::State>,
    power: watch::Sender<bool>,
    linger_until: Option<Instant>,
    reset_until: Option<Instant>,
    hold_until: Option<Instant>,
}

/// Starts the owner. `viewers` is how many clients want pictures.
pub fn spawn(
    settings: Settings,
    frames: Frames,
    viewers: watch::Receiver<usize>,
    supervisor: Supervisor,
    stop: CancellationToken,
) -> (Streamer, JoinHandle<()>) {
    const COMMANDS: usize = 16;
    let settings = Arc::new(settings);
    let (commands, orders) = mpsc::channel(COMMANDS);
    let (saved_to, saved) = watch::channel(None);
    let (power, power_from) = watch::channel(false);
    let audience = Audience::default();
    let params = settings.params.clone();
    let initial = show(&settings, &params, None, &audience, None);
    let (state_to, state) = watch::channel(initial);
    let owner = Owner {
        settings: Arc::clone(&settings),
        params,
        link: None,
        report: None,
        audience: audience.clone(),
        saved: saved_to,
        state: state_to,
        power,
        linger_until: None,
        reset_until: None,
        hold_until: None,
    };
    tokio::spawn(obey(power_from, supervisor, settings.shutdown_delay, stop.clone()));
    let task = tokio::spawn(owner.run(orders, viewers, stop));
    (Streamer { commands, state, saved, settings, frames, audience }, task)
}

impl Owner {
    async fn run(
        mut self,
        mut orders: mpsc::Receiver<Command>,
        mut viewers: watch::Receiver<usize>,
        stop: CancellationToken,
    ) {
        let mut audience = self.audience.subscribe();
        let mut reports = None;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let watched = *viewers.borrow_and_update() > 0 || self.settings.forever;
            self.decide(watched, Instant::now());
            self.follow(&mut reports);
            self.publish();
            let deadline = [self.linger_until, self.reset_until, self.hold_until].into_iter().flatten().min();
            let counting = !self.audience.show().is_empty();
            tokio::select! {
                () = stop.cancelled() => break,
                changed = viewers.changed() => if changed.is_err() { break },
                Some(order) = orders.recv() => self.obey(order),
                () = heard(&mut reports) => self.report = reports.as_mut().and_then(|reports| reports.borrow_and_update().clone()),
                Ok(()) = audience.changed() => {}
                _ = second.tick(), if counting => self.audience.count_second(),
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            }
        }
        self.power.send_replace(false);
    }

    /// Whether the process should run, from who watches and what time it is.
    fn decide(&mut self, watched: bool, now: Instant) {
        self.reset_until = self.reset_until.filter(|until| *until > now);
        self.hold_until = self.hold_until.filter(|until| *until > now);
        let watched = watched || self.hold_until.is_some();
        let running = *self.power.borrow();
        self.linger_until = match (watched, running) {
            (true, _) | (false, false) => None,
            (false, true) => self.linger_until.or(Some(now + self.settings.shutdown_delay)),
        };
        let lingering = self.linger_until.is_some_and(|until| until > now);
        let on = self.reset_until.is_none() && (watched || lingering);
        if !on && self.reset_until.is_none() {
            self.linger_until = None;
        }
        self.power.send_if_modified(|power| std::mem::replace(power, on) != on);
    }

    /// Listens to the process while it should run, and only then.
    fn follow(&mut self, reports: &mut Option<watch::Receiver<Option<Report>>>) {
        let on = *self.power.borrow();
        if on && self.link.is_none() {
            let link = Link::follow(&self.settings.socket);
            link.set(wanted(&self.params));
            *reports = Some(link.subscribe());
            self.link = Some(link);
        } else if !on {
            self.link = None;
            self.report = None;
            *reports = None;
        }
    }

    fn obey(&mut self, order: Command) {
        match order {
            Command::Change(change) => {
                apply(&mut self.params, &self.settings, &change);
                if let Some(link) = &self.link {
                    link.set(wanted(&self.params));
                }
            }
            Command::Reset => self.reset_until = Some(Instant::now() + self.settings.reset_delay),
            Command::Hold(time) => self.hold_until = self.hold_until.max(Some(Instant::now() + time)),
            Command::Remember(shot) => drop(self.saved.send_replace(shot)),
        }
    }

    fn publish(&self) {
        let saved = self.saved.borrow().clone();
        let new = show(&self.settings, &self.params, self.report.as_ref(), &self.audience, saved.as_deref());
        self.state.send_if_modified(|old| {
            let changed = *old != new;
            *old = new;
            changed
        });
    }
}

/// The next word from the streamer; never, while nobody listens to it.
async fn heard(reports: &mut Option<watch::Receiver<Option<Report>>>) {
    let Some(receiver) = reports else { return std::future::pending().await };
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Tells the supervisor what is wanted, until it has heard it.
///
/// Whether the streamer runs already is not known at first: an earlier life of this daemon may have left it running. One
/// that nobody has wanted for `patience` is told to stop; whoever watched before has come back by then, or will not.
async fn obey(
    mut power: watch::Receiver<bool>,
    supervisor: Supervisor,
    patience: Duration,
    stop: CancellationToken,
) {
    const RETRY: Duration = Duration::from_secs(1);
    let until = Instant::now() + patience;
    let mut told = None;
    let mut complained = false;
    loop {
        let on = *power.borrow_and_update();
        let unknown = told.is_none() && !on && Instant::now() < until;
        if unknown || told == Some(on) {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = power.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(until), if unknown => {}
            }
            continue;
        }
        let asked =
            async { if on { supervisor.start_streamer().await } else { supervisor.stop_streamer().await } };
        match asked.await {
            Ok(()) => {
                (told, complained) = (Some(on), false);
                log::info!("the streamer is {}", if on { "wanted" } else { "not wanted" });
            }
            Err(why) => {
                if !std::mem::replace(&mut complained, true) {
                    log::warn!("cannot ask for the streamer: {why}");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }
}

/// Takes over what lies inside the limits.
fn apply(params: &mut Params, settings: &Settings, change: &Change) {
    let limits = &settings.limits;
    let inside = |value: Option<u32>, range: Option<Range>| {
        value.filter(|value| range.is_some_and(|r| r.contains(*value)))
    };
    let keep = |old: Option<u32>, new: Option<u32>| old.and(new).or(old);
    if let Some(fps) = inside(change.desired_fps, Some(limits.desired_fps)) {
        params.desired_fps = fps;
    }
    params.quality = keep(params.quality, inside(change.quality, Some(Range { min: 1, max: 100 })));
    params.h264_bitrate = keep(params.h264_bitrate, inside(change.h264_bitrate, limits.h264_bitrate));
    params.h264_gop = keep(params.h264_gop, inside(change.h264_gop, limits.h264_gop));
    let named = change.resolution.map(|(width, height)| format!("{width}x{height}"));
    let known =
        |name: &String| limits.available_resolutions.as_ref().is_some_and(|known| known.contains(name));
    if let Some(name) = named.filter(known) {
        params.resolution = Some(name);
    }
}

/// What the running streamer is told.
fn wanted(params: &Params) -> Set {
    Set {
        quality: params.quality.and_then(|quality| u8::try_from(quality).ok()),
        desired_fps: Some(params.desired_fps),
        resolution: params.resolution.as_deref().and_then(|text| text.parse::<Size>().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::{line, supervisor::Request};
    use std::path::Path;
    use tokio::{io::BufReader, net::UnixListener};

    const FPS: Range = Range { min: 0, max: 90 };

    fn settings(dir: &Path) -> Settings {
        Settings {
            features: Features { quality: true, resolution: true, h264: false },
            limits: Limits {
                desired_fps: FPS,
                available_resolutions: Some(vec!["1280x720".to_owned()]),
                ..Limits::default()
            },
            params: Params { desired_fps: 30, quality: Some(80), ..Params::default() },
            forever: false,
            shutdown_delay: Duration::from_secs(10),
            reset_delay: Duration::from_secs(1),
            snapshot_timeout: Duration::from_secs(1),
            socket: dir.join("streamer.sock"),
        }
    }

    fn owner() -> Owner {
        let settings = Arc::new(settings(Path::new("/nonexistent")));
        let audience = Audience::default();
        let state = show(&settings, &settings.params, None, &audience, None);
        Owner {
            params: settings.params.clone(),
            settings,
            link: None,
            report: None,
            audience,
            saved: watch::channel(None).0,
            state: watch::channel(state).0,
            power: watch::channel(false).0,
            linger_until: None,
            reset_until: None,
            hold_until: None,
        }
    }

    impl Owner {
        fn on_at(&mut self, watched: bool, now: Instant) -> bool {
            self.decide(watched, now);
            *self.power.borrow()
        }
    }

    #[tokio::test]
    async fn it_runs_while_somebody_watches_and_a_while_longer() {
        let mut owner = owner();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!owner.on_at(false, at(0)), "nobody ever came");
        assert!(owner.on_at(true, at(1)));
        assert!(owner.on_at(false, at(5)), "lingers");
        assert!(owner.on_at(false, at(14)), "still lingers");
        assert!(owner.on_at(true, at(14)), "somebody came back");
        assert!(owner.on_at(false, at(20)), "and left: the delay starts again");
        assert!(owner.on_at(false, at(29)));
        assert!(!owner.on_at(false, at(30)));
        assert!(!owner.on_at(false, at(31)), "and stays off");
    }

    #[tokio::test]
    async fn a_reset_is_a_pause() {
        let mut owner = owner();
        let start = Instant::now();
        assert!(owner.on_at(true, start));
        owner.reset_until = Some(start + Duration::from_secs(1));
        assert!(!owner.on_at(true, start));
        assert!(owner.on_at(true, start + Duration::from_secs(1)));
    }

    #[tokio::test]
    async fn held_it_runs_without_anybody_and_then_lingers() {
        let mut owner = owner();
        let start = Instant::now();
        owner.obey(Command::Hold(Duration::from_secs(40)));
        owner.obey(Command::Hold(Duration::from_secs(20)));
        assert!(owner.on_at(false, start + Duration::from_secs(39)));
        assert!(owner.on_at(false, start + Duration::from_secs(45)), "lingers");
        assert!(!owner.on_at(false, start + Duration::from_secs(60)));
    }

    #[test]
    fn values_outside_the_limits_are_left_out() {
        let settings = settings(Path::new("/nonexistent"));
        let mut params = settings.params.clone();
        let change = Change {
            quality: Some(50),
            desired_fps: Some(120),
            resolution: Some((1, 1)),
            h264_bitrate: Some(5000),
            h264_gop: Some(30),
        };
        apply(&mut params, &settings, &change);
        assert_eq!(params, Params { desired_fps: 30, quality: Some(50), ..Params::default() });
        apply(&mut params, &settings, &Change { resolution: Some((1280, 720)), ..Change::default() });
        assert_eq!(params.resolution.as_deref(), Some("1280x720"));
    }

    /// A supervisor that agrees to everything.
    fn supervisor(dir: &Path) -> (Supervisor, mpsc::Receiver<Request>) {
        let path = dir.join("supervisor.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (heard, requests) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (from, mut to) = stream.split();
                let request = line::read(&mut BufReader::new(from)).await.unwrap().unwrap();
                line::write(&mut to, &client::supervisor::Answer::Done).await.unwrap();
                heard.send(request).await.unwrap();
            }
        });
        (Supervisor::new(path), requests)
    }

    #[tokio::test(start_paused = true)]
    async fn the_supervisor_hears_what_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let (supervisor, mut requests) = supervisor(dir.path());
        let (viewers, watched) = watch::channel(0);
        let settings = settings(dir.path());
        let stop = CancellationToken::new();
        let (streamer, task) = spawn(settings, Frames::none(), watched, supervisor, stop.clone());
        viewers.send_replace(1);
        assert_eq!(requests.recv().await, Some(Request::StartStreamer));
        viewers.send_replace(0);
        assert_eq!(requests.recv().await, Some(Request::StopStreamer));
        let mut state = streamer.subscribe();
        streamer.change(Change { quality: Some(10), ..Change::default() }).await;
        state.wait_for(|state| state.params.quality == Some(10)).await.unwrap();
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_streamer_left_running_by_an_earlier_life_is_stopped_once() {
        let dir = tempfile::tempdir().unwrap();
        let (supervisor, mut requests) = supervisor(dir.path());
        let (power, power_from) = watch::channel(false);
        let (stop, begin) = (CancellationToken::new(), Instant::now());
        tokio::spawn(obey(power_from, supervisor, Duration::from_secs(10), stop.clone()));
        assert_eq!(requests.recv().await, Some(Request::StopStreamer));
        assert_eq!(begin.elapsed().as_secs(), 10);
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(requests.try_recv().is_err(), "it was told already");
        power.send_replace(true);
        assert_eq!(requests.recv().await, Some(Request::StartStreamer));
        stop.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn a_streamer_left_running_goes_on_for_a_viewer_who_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (supervisor, mut requests) = supervisor(dir.path());
        let (power, power_from) = watch::channel(false);
        let stop = CancellationToken::new();
        tokio::spawn(obey(power_from, supervisor, Duration::from_secs(10), stop.clone()));
        tokio::time::sleep(Duration::from_secs(9)).await;
        power.send_replace(true);
        assert_eq!(requests.recv().await, Some(Request::StartStreamer), "and never the stop");
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(requests.try_recv().is_err());
        stop.cancel();
    }
}
