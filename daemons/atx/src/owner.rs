//! The task that owns the lines, and the handle everybody else has.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{Acts, Click, Error, Leds, Line, Lines, Policy, PowerAction, Settings, State, Step};

/// Requests that may wait for the owner at once. It answers in microseconds: more than this is a flood.
const QUEUE: usize = 16;
/// How often a line that could not be let go is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

enum Want {
    Click(Click),
    Power(PowerAction),
}

struct Request {
    want: Want,
    wait: bool,
    reply: oneshot::Sender<Result<(), Error>>,
}

/// The handle: press buttons, watch the state.
#[derive(Debug, Clone)]
pub struct Atx {
    /// `None`: not fitted.
    requests: Option<mpsc::Sender<Request>>,
    state: watch::Receiver<State>,
}

impl Atx {
    /// The handle of a front panel that is not fitted: every request is refused, the state says so.
    #[must_use]
    pub fn disabled() -> Self {
        // The sender ends here; receivers keep showing the last value.
        Self { requests: None, state: watch::channel(State::default()).1 }
    }

    /// Does what the power light says makes sense, or nothing. With `wait` the answer comes when the button is free
    /// again, else as soon as it is pressed.
    ///
    /// # Errors
    /// [`Error::Disabled`], [`Error::Busy`] (also without `wait`), [`Error::Line`], [`Error::Stopped`].
    pub async fn power(&self, action: PowerAction, wait: bool) -> Result<(), Error> {
        self.request(Want::Power(action), wait).await
    }

    /// Clicks a button whatever the lights say. `wait` as in [`Atx::power`].
    ///
    /// # Errors
    /// As [`Atx::power`].
    pub async fn click(&self, click: Click, wait: bool) -> Result<(), Error> {
        self.request(Want::Click(click), wait).await
    }

    /// The state, now and on every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    async fn request(&self, want: Want, wait: bool) -> Result<(), Error> {
        let requests = self.requests.as_ref().ok_or(Error::Disabled)?;
        let (reply, answer) = oneshot::channel();
        requests.send(Request { want, wait, reply }).await.map_err(|_| Error::Stopped)?;
        answer.await.unwrap_or(Err(Error::Stopped))
    }
}

/// Starts the owner of `lines`. It ends, with both lines let go, when `stop` is cancelled or the last handle is gone.
pub fn spawn(
    settings: Settings,
    lines: impl Lines + 'static,
    stop: CancellationToken,
) -> (Atx, JoinHandle<()>) {
    let (requests, inbox) = mpsc::channel(QUEUE);
    let leds = lines.leds();
    let first = State { enabled: true, leds: *leds.borrow(), ..State::default() };
    let (publish, state) = watch::channel(first);
    let owner = Owner {
        policy: Policy::new(settings),
        held: Held { lines, down: Vec::new(), stuck: Vec::new() },
        waiting: Waiting::default(),
        publish,
        again: None,
    };
    let task = tokio::spawn(owner.run(inbox, leds, stop));
    (Atx { requests: Some(requests), state }, task)
}

/// The lines, and which of them are down: dropping this lets go of every one, whatever the reason.
struct Held<L: Lines> {
    lines: L,
    down: Vec<Line>,
    /// Those of them that should not be down, and why they are.
    stuck: Vec<(Line, Error)>,
}

impl<L: Lines> Held<L> {
    fn press(&mut self, line: Line) -> Result<(), Error> {
        self.stuck.retain(|(stuck, _)| *stuck != line);
        // Noted first: a press that failed half-way is let go as well.
        if !self.down.contains(&line) {
            self.down.push(line);
        }
        self.lines.drive(line, true)
    }

    fn release(&mut self, line: Line) {
        let was_stuck = self.fault(line).is_some();
        self.stuck.retain(|(stuck, _)| *stuck != line);
        match self.lines.drive(line, false) {
            Ok(()) => {
                self.down.retain(|held| *held != line);
                if was_stuck {
                    log::info!("the target's {line} button is let go");
                }
            }
            Err(error) => {
                if !was_stuck {
                    log::error!("the target's {line} button may still be held: {error}");
                }
                self.stuck.push((line, error));
            }
        }
    }

    /// Why a line that should be let go is not.
    fn fault(&self, line: Line) -> Option<&Error> {
        self.stuck.iter().find(|(stuck, _)| *stuck == line).map(|(_, why)| why)
    }

    /// Tries again what could not be let go.
    fn free(&mut self) {
        for (line, _) in self.stuck.clone() {
            self.release(line);
        }
    }
}

impl<L: Lines> Drop for Held<L> {
    fn drop(&mut self) {
        for line in self.down.clone() {
            self.release(line);
        }
    }
}

/// Who is to be told when a button is free again.
#[derive(Default)]
struct Waiting {
    power: Option<oneshot::Sender<Result<(), Error>>>,
    reset: Option<oneshot::Sender<Result<(), Error>>>,
}

impl Waiting {
    fn of(&mut self, line: Line) -> &mut Option<oneshot::Sender<Result<(), Error>>> {
        match line {
            Line::Power => &mut self.power,
            Line::Reset => &mut self.reset,
        }
    }
}

struct Owner<L: Lines> {
    policy: Policy,
    held: Held<L>,
    waiting: Waiting,
    publish: watch::Sender<State>,
    /// When what could not be let go is tried again.
    again: Option<Instant>,
}

impl<L: Lines> Owner<L> {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Request>,
        mut leds: watch::Receiver<Leds>,
        stop: CancellationToken,
    ) {
        let mut lights_live = true;
        loop {
            let deadline = self.policy.deadline();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => self.advance(),
                () = sleep_until(self.again.unwrap_or_else(Instant::now)), if self.again.is_some() => {
                    self.held.free();
                    self.again = None;
                }
                changed = leds.changed(), if lights_live => lights_live = changed.is_ok(),
                request = inbox.recv() => match request {
                    Some(request) => {
                        // Copied first: a driver may change its lights while it is driven, and the guard would shut it out.
                        let lit = *leds.borrow();
                        self.serve(request, lit);
                    }
                    None => return self.wind_down().await,
                },
            }
            if self.again.is_none() && !self.held.stuck.is_empty() {
                self.again = Some(Instant::now() + TRY_AGAIN);
            }
            let leds = *leds.borrow();
            self.show(leds);
        }
    }

    /// Nobody is left to ask for anything: presses under way still last as long as they were meant to.
    async fn wind_down(mut self) {
        while let Some(deadline) = self.policy.deadline() {
            sleep_until(deadline).await;
            self.advance();
        }
    }

    fn serve(&mut self, request: Request, leds: Leds) {
        let click = match request.want {
            Want::Click(click) => Some(click),
            Want::Power(action) => action.click(leds),
        };
        let Some(click) = click else {
            let _ = request.reply.send(Ok(()));
            return;
        };
        match self.begin(click) {
            Ok(line) if request.wait => *self.waiting.of(line) = Some(request.reply),
            result => {
                let _ = request.reply.send(result.map(|_| ()));
            }
        }
    }

    fn begin(&mut self, click: Click) -> Result<Line, Error> {
        let line = self.policy.begin(click, Instant::now())?;
        if let Err(error) = self.held.press(line) {
            self.held.release(line);
            self.policy.cancel(line);
            return Err(error);
        }
        self.policy.pressed(click, Instant::now());
        log::info!("pressed {click:?}");
        Ok(line)
    }

    fn advance(&mut self) {
        while let Some(step) = self.policy.advance(Instant::now()) {
            match step {
                Step::Release(line) => self.held.release(line),
                Step::Done(line) => {
                    if let Some(reply) = self.waiting.of(line).take() {
                        let _ = reply.send(self.held.fault(line).cloned().map_or(Ok(()), Err));
                    }
                }
            }
        }
    }

    fn show(&self, leds: Leds) {
        let acts @ Acts { power, reset } = self.policy.acts();
        let state = State { enabled: true, busy: power || reset, acts, leds };
        self.publish.send_if_modified(|shown| std::mem::replace(shown, state) != state);
    }
}
