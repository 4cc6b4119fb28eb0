//! The thread that owns the serial port.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use hid_wire::Leds;
use hid_wire::ch9329::{ADDRESS, Answer, Command, Info, MAX_FRAME, Parser, Status};
use log::{info, warn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{self, BaudRate, ControlFlags, FlushArg, SetArg};
use tokio::sync::watch;

use super::Settings;
use crate::link::{Error, Presence};

/// Between two questions for lights and for the host.
const ASK: Duration = Duration::from_millis(250);
/// The same while the line is closed or nobody answers.
const ASK_SILENT: Duration = Duration::from_secs(1);
/// Questions in vain after which nobody is taken to be there.
const PATIENCE: u32 = 3;

/// One order, and where its outcome goes.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) command: Command,
    pub(super) answer: SyncSender<Result<(), Error>>,
}

/// The line and what is known of the chip.
#[derive(Debug)]
pub(super) struct Line {
    settings: Settings,
    speed: BaudRate,
    port: Option<File>,
    parser: Parser,
    leds: watch::Sender<Leds>,
    presence: watch::Sender<Presence>,
    arrivals: u64,
    unanswered: u32,
    complained: bool,
}

impl Line {
    pub(super) fn new(
        settings: Settings,
        leds: watch::Sender<Leds>,
        presence: watch::Sender<Presence>,
    ) -> io::Result<Self> {
        let speed = baud_rate(settings.speed).ok_or_else(|| {
            let text = format!("no serial port has a speed of {}", settings.speed);
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        Ok(Self {
            settings,
            speed,
            port: None,
            parser: Parser::new(),
            leds,
            presence,
            arrivals: 0,
            unanswered: 0,
            complained: false,
        })
    }

    /// Obeys until nobody can give orders any more.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        let mut next = Instant::now();
        loop {
            match orders.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(order) => {
                    let outcome = self.obey(&order.command);
                    // Who asked may have ended; that is its business.
                    let _ = order.answer.send(outcome);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Also in the midst of many orders.
            if next <= Instant::now() {
                self.ask();
                next = Instant::now() + if self.unanswered == 0 { ASK } else { ASK_SILENT };
            }
        }
    }

    fn obey(&mut self, command: &Command) -> Result<(), Error> {
        // Nobody there: the queue must not wait for each of its events in vain.
        if self.unanswered >= PATIENCE && *command != Command::Reset {
            return Err(Error::Broken("the chip does not answer".to_owned()));
        }
        self.exchange(command)?;
        if *command == Command::Reset {
            // What comes back has everything up and no lights, and may come back before the next question.
            self.publish(Presence::Away);
        }
        Ok(())
    }

    /// One order, whether or not anybody is taken to be there.
    pub(super) fn order(&mut self, command: &Command) -> Result<(), Error> {
        self.exchange(command).map(drop)
    }

    /// Asks for lights and for the host.
    fn ask(&mut self) {
        if let Ok(Answer::Info(info)) = self.exchange(&Command::GetInfo) {
            self.learn(info);
        }
    }

    fn learn(&mut self, chip: Info) {
        if std::mem::take(&mut self.complained) || self.arrivals == 0 && self.presence.borrow().is_broken() {
            info!("a CH9329 of version {:#04x} is at {}", chip.version, self.settings.device.display());
        }
        let lights = if chip.is_configured { chip.leds } else { Leds::default() };
        self.leds.send_if_modified(|seen| std::mem::replace(seen, lights) != lights);
        if !chip.is_configured {
            self.publish(Presence::Away);
        } else if !self.presence.borrow().is_here() {
            self.arrivals += 1;
            self.publish(Presence::Here { arrival: self.arrivals });
        }
    }

    fn publish(&self, now: Presence) {
        self.presence.send_if_modified(|seen| std::mem::replace(seen, now) != now);
    }

    /// One order and its answer.
    fn exchange(&mut self, command: &Command) -> Result<Answer, Error> {
        let failure = match self.converse(command) {
            Ok(answer) => {
                self.unanswered = 0;
                // It was not obeyed, for a mangled order or for want of a host.
                return answer.map_err(|status| Error::NoHost(format!("the chip says: {status}")));
            }
            Err(failure) => failure,
        };
        self.unanswered = self.unanswered.saturating_add(1);
        if !matches!(failure, Failure::Silent) {
            // The next one opens it anew: an adapter that was pulled out comes back as another device.
            self.unanswered = PATIENCE;
            self.port = None;
        }
        let error = match failure {
            Failure::Unsent(error) => Error::Broken(error.to_string()),
            Failure::Lost(error) => Error::Unsure(error.to_string()),
            Failure::Silent => Error::Unsure("the chip does not answer".to_owned()),
        };
        if self.unanswered >= PATIENCE {
            self.publish(Presence::Broken);
            if !std::mem::replace(&mut self.complained, true) {
                warn!("no CH9329 at {}: {error}", self.settings.device.display());
            }
        }
        Err(error)
    }

    fn converse(&mut self, command: &Command) -> Result<Result<Answer, Status>, Failure> {
        let port = match &mut self.port {
            Some(port) => port,
            none => none.insert(open(&self.settings, self.speed).map_err(Failure::Unsent)?),
        };
        // An answer that comes too late must not be taken for the answer to this.
        termios::tcflush(&*port, FlushArg::TCIFLUSH).map_err(|error| Failure::Unsent(error.into()))?;
        self.parser.clear();
        let until = Instant::now() + self.settings.read_timeout;
        write_all(port, &command.frame(ADDRESS), until).map_err(Failure::Unsent)?;
        let mut bytes = [0; MAX_FRAME];
        while wait(port, PollFlags::POLLIN, until).map_err(Failure::Lost)? {
            let len = match port.read(&mut bytes) {
                Ok(0) => return Err(Failure::Lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(Failure::Lost(error)),
            };
            let frames = self.parser.push(bytes.get(..len).unwrap_or_default());
            if let Some(answer) = frames.iter().find_map(|frame| frame.answer_to(command)) {
                return Ok(answer);
            }
        }
        Err(Failure::Silent)
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    /// The order did not get out as a whole, so that nobody obeyed it.
    Unsent(io::Error),
    /// The port broke after it was sent.
    Lost(io::Error),
    /// Nothing came that answers it.
    Silent,
}

fn write_all(port: &mut File, mut bytes: &[u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        if !wait(port, PollFlags::POLLOUT, until)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match port.write(bytes) {
            Ok(len) => bytes = bytes.get(len..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits for the port; false when the time is up. A port that has hung up is ready: using it says so.
fn wait(port: &File, wanted: PollFlags, until: Instant) -> io::Result<bool> {
    loop {
        let rest = until.saturating_duration_since(Instant::now());
        // Rounded up, so that the last fraction of a millisecond is not spent turning round.
        let rest = PollTimeout::try_from(rest.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(port.as_fd(), wanted)], rest) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens the port raw: eight bits, no parity, one stop bit, no flow control, nobody's terminal.
fn open(settings: &Settings, speed: BaudRate) -> io::Result<File> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY | nix::libc::O_CLOEXEC;
    let port = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&settings.device)?;
    let mut modes = termios::tcgetattr(&port)?;
    termios::cfmakeraw(&mut modes);
    modes.control_flags |= ControlFlags::CLOCAL | ControlFlags::CREAD;
    modes.control_flags &= !(ControlFlags::CSTOPB | ControlFlags::CRTSCTS | ControlFlags::HUPCL);
    termios::cfsetspeed(&mut modes, speed)?;
    termios::tcsetattr(&port, SetArg::TCSANOW, &modes)?;
    Ok(port)
}

fn baud_rate(speed: u32) -> Option<BaudRate> {
    Some(match speed {
        1200 => BaudRate::B1200,
        2400 => BaudRate::B2400,
        4800 => BaudRate::B4800,
        9600 => BaudRate::B9600,
        19_200 => BaudRate::B19200,
        38_400 => BaudRate::B38400,
        57_600 => BaudRate::B57600,
        115_200 => BaudRate::B115200,
        230_400 => BaudRate::B230400,
        460_800 => BaudRate::B460800,
        921_600 => BaudRate::B921600,
        _ => return None,
    })
}
