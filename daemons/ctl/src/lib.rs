//! kvmctl: the same from a shell.
//!
//! | Verb | Does |
//! |---|---|
//! | `config check`, `show`, `diff` | tells whether the settings are good, what they are, what was changed |
//! | `status`, `restart` | asks the supervisor |
//! | `edid show`, `set FILE`, `confirm`, `undo` | asks `kvmd` about the monitor that the target sees |
//! | `gadget status`, `bios-safe`, `connect`, `disconnect` | asks the supervisor about the USB gadget |
//! | `update status`, `install BUNDLE`, `reboot`, `rollback`, `mark-good` | asks the supervisor about new releases |
//! | `boot get-primary`, `set-primary SLOT`, `set-state SLOT MARK` and so on | reads and writes the boot choice, for RAUC and the system |
//! | `logs` | reads the log through `kvmd`'s unix socket, or from the journal while `kvmd` is down |
//! | `system`, `claim` | asks the supervisor about the machine itself; makes its first user |
//! | `passwd`, `role`, `totp` | edits the files of logins, of roles and of one-time codes |
//! | `token create`, `list`, `revoke` | asks `kvmd` about API tokens |
//!
//! Called `kvmd-htpasswd` or `kvmd-totp`, it is `kvmctl passwd` or `kvmctl totp`, so that instructions written for
//! PiKVM work. Exit codes are in [`Exit`]. It decides nothing: what may be done is up to the daemons and to file modes.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write;
use std::path::Path;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

mod boot;
mod edid;
mod gadget;
mod log;
mod password;
mod role;
mod service;
mod setting;
mod system;
mod token;
mod totp;
mod update;

/// Controls and asks a KVM appliance.
#[derive(Debug, Parser)]
#[command(name = "kvmctl", version)]
pub struct Cli {
    #[command(flatten)]
    args: config::Args,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The settings.
    #[command(subcommand)]
    Config(setting::Verb),
    /// What runs and how it is. Exit code 3 when something is not ready.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Stops a service and starts it again.
    Restart {
        /// `kvmd`, `kvmd-streamer`, `vm`.
        service: String,
    },
    /// The monitor that the capture device shows the target.
    #[command(subcommand)]
    Edid(edid::Verb),
    /// The USB gadget: keyboard, mice and drive as the target sees them.
    #[command(subcommand)]
    Gadget(gadget::Verb),
    /// New releases of the system.
    #[command(subcommand)]
    Update(update::Verb),
    /// Which slot is started next, as RAUC asks for it.
    #[command(subcommand)]
    Boot(boot::Verb),
    /// The log of all daemons.
    Logs(log::Logs),
    /// The machine itself: names, network, SSH, restart, factory reset.
    #[command(subcommand)]
    System(system::Verb),
    /// Makes the first user of an appliance that nobody owns yet, without a code: for root at the machine itself.
    Claim(system::Claim),
    /// The logins.
    #[command(subcommand)]
    Passwd(password::Verb),
    /// What each user may do.
    #[command(subcommand)]
    Role(role::Verb),
    /// API tokens: what programs show instead of a password.
    #[command(subcommand)]
    Token(token::Verb),
    /// The secret of the one-time codes, everybody's or one user's own.
    #[command(subcommand)]
    Totp(totp::Verb),
}

/// How a run ends, as the shell sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, and all is well.
    Good = 0,
    /// It was tried and did not work.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Something that should run does not.
    NotReady = 3,
    /// The settings cannot be used.
    BadSettings = config::Errors::EXIT_CODE,
    /// The daemon that was asked does not answer.
    Unreachable = 69,
    /// This user may not do that.
    Refused = 77,
}

/// Why a run ended early.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Exit::Failed, error)
    }
}

/// Where a run writes and what it reads; a test gives its own.
pub struct Console<'a> {
    /// Results.
    pub out: &'a mut dyn Write,
    /// Everything else: warnings, prompts, errors.
    pub err: &'a mut dyn Write,
    /// Asks for a password with this prompt, unseen; `None` reads a line of standard input without one.
    pub secret: &'a mut dyn FnMut(Option<&str>) -> std::io::Result<String>,
}

impl fmt::Debug for Console<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Console")
    }
}

/// Runs one command line, the program's name first.
pub fn run(line: impl IntoIterator<Item = OsString>, console: &mut Console<'_>) -> Exit {
    // The flags that say which settings to read may stand anywhere on the line.
    let command = Cli::command().mut_args(|arg| arg.global(true));
    let matches = command.try_get_matches_from(renamed(line));
    let cli = match matches.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let _ = write!(console.err, "{error}");
            return Exit::Usage;
        }
        Err(help) => {
            let _ = write!(console.out, "{help}");
            return Exit::Good;
        }
    };
    match dispatch(cli, console) {
        Ok(exit) => exit,
        Err(failure) => {
            // Nobody reads our output any more: that is how `kvmctl logs | head` ends.
            let cause = failure.error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            if cause == Some(std::io::ErrorKind::BrokenPipe) {
                return Exit::Good;
            }
            let _ = writeln!(console.err, "{:#}", failure.error);
            failure.exit
        }
    }
}

/// The line with the verb put in that PiKVM's program names stand for.
fn renamed(line: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut line: Vec<_> = line.into_iter().collect();
    let verb = match line.first().and_then(|name| Path::new(name).file_name()).and_then(OsStr::to_str) {
        Some("kvmd-htpasswd") => "passwd",
        Some("kvmd-totp") => "totp",
        _ => return line,
    };
    line.insert(1, verb.into());
    line
}

fn dispatch(cli: Cli, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let Cli { args, verb } = cli;
    match verb {
        Verb::Config(verb) => setting::run(&verb, &args, console),
        Verb::Status { json } => service::status(&settings(&args, console)?, json, console),
        Verb::Restart { service } => service::restart(&settings(&args, console)?, &service, console),
        Verb::Edid(verb) => edid::run(&settings(&args, console)?, &verb, console),
        Verb::Gadget(verb) => gadget::run(&settings(&args, console)?, &verb, console),
        Verb::Update(verb) => update::run(&settings(&args, console)?, &verb, console),
        Verb::Boot(verb) => boot::run(&args, &verb, console),
        Verb::Logs(logs) => log::run(&settings(&args, console)?, &args.layout(), &logs, console),
        Verb::System(verb) => system::run(&settings(&args, console)?, verb, console),
        Verb::Claim(who) => system::claim(&settings(&args, console)?, &who, console),
        Verb::Passwd(verb) => password::run(&settings(&args, console)?, &args.layout(), verb, console),
        Verb::Role(verb) => role::run(&settings(&args, console)?, &args.layout(), verb, console),
        Verb::Token(verb) => token::run(&settings(&args, console)?, &verb, console),
        Verb::Totp(verb) => totp::run(&settings(&args, console)?, &args.layout(), verb, console),
    }
}

/// The settings; what is odd about them is for `config check` to say.
fn settings(args: &config::Args, console: &mut Console<'_>) -> Result<config::Config, Failure> {
    let (config, warnings) = config::load(args).map_err(|errors| Failure::new(Exit::BadSettings, errors))?;
    if !warnings.is_empty() {
        let count = warnings.len();
        writeln!(console.err, "{count} warning(s) about the settings, see: kvmctl config check")?;
    }
    Ok(config)
}
