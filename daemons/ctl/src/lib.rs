//! kvmctl: the same from a shell.
//!
//! | Verb | Does |
//! |---|---|
//! | `config check`, `show`, `diff` | tells whether the settings are good, what they are, what was changed |
//! | `status`, `restart` | asks the supervisor |
//! | `gadget status`, `bios-safe`, `connect`, `disconnect` | asks the supervisor about the USB gadget |
//! | `update status`, `install BUNDLE`, `reboot`, `rollback`, `mark-good` | asks the supervisor about new releases |
//! | `boot get-primary`, `set-primary SLOT`, `set-state SLOT MARK` and so on | reads and writes the boot choice, for RAUC and the system |
//! | `system`, `claim` | asks the supervisor about the machine itself; makes its first user |
//! | `passwd`, `role`, `totp` | edits the files of logins, of roles and of one-time codes |
//! | `completions`, `man` | makes what shells and readers know of the verbs |
//! | all others: `hid`, `msd`, `streamer`, `atx`, `watch`, `api` … | ask `kvmd`, by its API |
//!
//! `kvmd` is asked over its unix socket, or that of another appliance by HTTPS ([`reach`], [`face`]); a verb that asks it is a
//! file that knows its calls and how people read the answers. Every row of the API's route table has a verb; `api` takes any.
//! `system`, `gadget` and `update` go that way, too, when another appliance is meant ([`elsewhere`]).
//!
//! Called `kvmd-htpasswd` or `kvmd-totp`, it is `kvmctl passwd` or `kvmctl totp`, so that instructions written for
//! PiKVM work. Exit codes are in [`Exit`]. It decides nothing: what may be done is up to the daemons and to file modes.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write;
use std::path::Path;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

mod audit;
mod boot;
mod call;
mod desk;
mod edid;
mod elsewhere;
mod face;
mod file;
mod gadget;
mod hid;
mod log;
mod msd;
mod page;
mod panel;
mod password;
mod reach;
mod role;
#[cfg(test)]
mod scripted;
mod service;
mod session;
mod setting;
mod shown;
mod streamer;
mod switch;
mod system;
mod token;
mod totp;
mod update;
mod watch;

use desk::Desk;
use face::{Call, Face};
use reach::Reach;

/// Controls and asks a KVM appliance.
#[derive(Debug, Parser)]
#[command(name = "kvmctl", version, after_help = EXITS)]
pub struct Cli {
    #[command(flatten)]
    args: config::Args,

    /// Results as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(flatten)]
    Kvmd(Kvmd),
    #[command(flatten)]
    Here(Here),
    /// A script that completes verbs and flags, for a shell: `source <(kvmctl completions bash)`.
    Completions(page::Completions),
    /// Writes manual pages: one for kvmctl, one for each verb.
    Man(page::Man),
}

/// What `kvmd` is asked, wherever it is.
#[derive(Debug, Subcommand)]
enum Kvmd {
    /// What the appliance is: release, health, name, extras.
    Info {
        /// Only these: `auth`, `extras`, `fan`, `health`, `meta`, `node`, `system`, `uptime`.
        fields: Vec<String>,
    },
    /// The target's keyboard and mouse.
    #[command(subcommand)]
    Hid(hid::Verb),
    /// Who has keyboard and mouse, where only one may.
    #[command(subcommand)]
    Holder(hid::Holder),
    /// The target's power and reset buttons.
    #[command(subcommand)]
    Atx(panel::Atx),
    /// The lent drive and its images.
    #[command(subcommand)]
    Msd(msd::Verb),
    /// The target's screen.
    #[command(subcommand)]
    Streamer(streamer::Verb),
    /// The monitor that the capture device shows the target.
    #[command(subcommand)]
    Edid(edid::Verb),
    /// The appliance's own switches and lights.
    #[command(subcommand)]
    Gpio(panel::Gpio),
    /// The multi-port switch.
    #[command(subcommand)]
    Switch(switch::Verb),
    /// What happens, as it happens: one JSON object a line.
    Watch(watch::Watch),
    /// Any call of the API.
    Api(call::Any),
    /// The log of all daemons.
    #[command(visible_alias = "log")]
    Logs(log::Logs),
    /// Who changed what.
    Audit(audit::Audit),
    /// Figures for Prometheus.
    Metrics,
    /// Who is logged in.
    #[command(subcommand, visible_alias = "sessions")]
    Session(session::Verb),
    /// API tokens: what programs show instead of a password.
    #[command(subcommand)]
    Token(token::Verb),
}

/// What needs this machine's files and supervisor. Some of it `kvmd` does elsewhere.
#[derive(Debug, Subcommand)]
enum Here {
    /// The USB gadget: keyboard, mice and drive as the target sees them.
    #[command(subcommand)]
    Gadget(gadget::Verb),
    /// The machine itself: names, network, SSH, restart, factory reset.
    #[command(subcommand)]
    System(system::Verb),
    /// New releases of the system.
    #[command(subcommand)]
    Update(update::Verb),
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
    /// The settings.
    #[command(subcommand)]
    Config(setting::Verb),
    /// Makes the first user of an appliance that nobody owns yet: without a code for root at the machine itself, else with it.
    Claim(system::Claim),
    /// The logins.
    #[command(subcommand)]
    Passwd(password::Verb),
    /// What each user may do.
    #[command(subcommand)]
    Role(role::Verb),
    /// The secret of the one-time codes, everybody's or one user's own.
    #[command(subcommand)]
    Totp(totp::Verb),
    /// Which slot is started next, as RAUC asks for it.
    #[command(subcommand)]
    Boot(boot::Verb),
}

/// What the help says of [`Exit`].
const EXITS: &str = "Exit codes: 0 done, 1 refused or failed (class and reason are on standard error), 2 the line makes no sense, \
    3 something is not ready, 64 the settings cannot be used, 69 nobody answers, 77 this user may not do that.";

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

    /// Whether what was asked for is not there.
    fn is_missing(&self) -> bool {
        let refusal = self.error.downcast_ref::<face::Refusal>();
        refusal.is_some_and(|refusal| refusal.status == reqwest::StatusCode::NOT_FOUND)
    }

    /// Whether the same may go well a moment later: nobody answered or, if something `ran` before, it is starting anew.
    fn is_passing(&self, ran: bool) -> bool {
        self.exit == Exit::Unreachable || (ran && self.exit == Exit::NotReady)
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
    let matches = command().try_get_matches_from(renamed(line));
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
    // What was written is only given when it is out: the last of it may find a full disk.
    let ran = dispatch(cli, console).and_then(|exit| {
        console.out.flush()?;
        Ok(exit)
    });
    match ran {
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

/// The verbs. Flags that say which appliance and which settings may stand anywhere on the line.
fn command() -> clap::Command {
    let command = Cli::command();
    let user = command.get_arguments().find(|arg| arg.get_id() == "reach-user").cloned();
    // `totp` has a `--user` of its own: there, the other one stands before the verb.
    let command = command.mut_args(|arg| if arg.get_id() == "reach-user" { arg } else { arg.global(true) });
    command.mut_subcommands(|verb| match &user {
        Some(user) if verb.get_name() != "totp" => verb.arg(user.clone().global(true)),
        _ => verb,
    })
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
    let Cli { args, json, reach, verb } = cli;
    match verb {
        Verb::Kvmd(verb) => {
            let face = Face::open(&reach, &args, console)?;
            kvmd(&mut Desk { face, json, console }, &args.layout(), verb)
        }
        Verb::Here(verb) if reach.address()?.is_some() => {
            let face = Face::open(&reach, &args, console)?;
            elsewhere::run(&mut Desk { face, json, console }, verb)
        }
        Verb::Here(verb) => here(verb, &args, console),
        Verb::Completions(wanted) => page::completions(&wanted, console),
        Verb::Man(wanted) => page::man(&wanted),
    }
}

fn kvmd(desk: &mut Desk<'_, '_>, layout: &config::Layout, verb: Kvmd) -> Result<Exit, Failure> {
    match verb {
        Kvmd::Info { fields } => {
            let fields = (!fields.is_empty()).then(|| fields.join(","));
            desk.show(Call::get("/info").with_some("fields", fields), shown::tree)
        }
        Kvmd::Hid(verb) => hid::run(desk, verb),
        Kvmd::Holder(verb) => hid::holder(desk, &verb),
        Kvmd::Atx(verb) => panel::atx(desk, &verb),
        Kvmd::Msd(verb) => msd::run(desk, verb),
        Kvmd::Streamer(verb) => streamer::run(desk, verb),
        Kvmd::Edid(verb) => edid::run(desk, &verb),
        Kvmd::Gpio(verb) => panel::gpio(desk, verb),
        Kvmd::Switch(verb) => switch::run(desk, verb),
        Kvmd::Watch(watched) => watch::run(desk, &watched),
        Kvmd::Api(any) => call::run(desk, any),
        Kvmd::Logs(logs) => log::run(desk, layout, &logs),
        Kvmd::Audit(audit) => audit::run(desk, &audit),
        Kvmd::Metrics => {
            let call = Call::get("/export/prometheus/metrics");
            let (face, console) = (&desk.face, &mut *desk.console);
            face.copy(call, |piece| Ok(console.out.write_all(piece)?))?;
            Ok(Exit::Good)
        }
        Kvmd::Session(verb) => session::run(desk, &verb),
        Kvmd::Token(verb) => token::run(desk, &verb),
    }
}

fn here(verb: Here, args: &config::Args, console: &mut Console<'_>) -> Result<Exit, Failure> {
    match verb {
        Here::Config(verb) => setting::run(&verb, args, console),
        Here::Status { json } => service::status(&settings(args, console)?, json, console),
        Here::Restart { service } => service::restart(&settings(args, console)?, &service, console),
        Here::Gadget(verb) => gadget::run(&settings(args, console)?, &verb, console),
        Here::Update(verb) => update::run(&settings(args, console)?, &verb, console),
        Here::Boot(verb) => boot::run(args, &verb, console),
        Here::System(verb) => system::run(&settings(args, console)?, verb, console),
        Here::Claim(who) => system::claim(&settings(args, console)?, &who, console),
        Here::Passwd(verb) => password::run(&settings(args, console)?, &args.layout(), verb, console),
        Here::Role(verb) => role::run(&settings(args, console)?, &args.layout(), verb, console),
        Here::Totp(verb) => totp::run(&settings(args, console)?, &args.layout(), verb, console),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verbs_fit_together() {
        command().debug_assert();
    }

    #[test]
    fn flags_that_say_which_appliance_stand_anywhere_and_totp_keeps_its_user() {
        let parsed = |line: &str| {
            let mut matches = command().try_get_matches_from(line.split(' ')).unwrap();
            Cli::from_arg_matches_mut(&mut matches).unwrap()
        };
        for line in
            ["kvmctl --user jane --url kvm --json atx state", "kvmctl atx state --user jane --json --url kvm"]
        {
            let cli = parsed(line);
            assert_eq!(
                (cli.reach.user.as_deref(), cli.reach.url.as_deref()),
                (Some("jane"), Some("kvm")),
                "{line}"
            );
            assert!(cli.json, "{line}");
        }
        let totp = parsed("kvmctl totp show --user jane");
        assert_eq!(totp.reach.user, None);
        assert!(format!("{:?}", totp.verb).contains("jane"));
        let before = parsed("kvmctl --user bob totp show");
        assert!(!format!("{:?}", before.verb).contains("bob"));
    }

    #[test]
    fn every_verb_and_flag_is_explained() {
        fn explained(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
            command.get_subcommands().for_each(explained);
        }
        explained(&command());
    }
}
