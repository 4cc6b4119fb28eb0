//! `kvmd-supervisor`, the program: flags, preparation, the loop.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use client::supervisor::Journal;
use config::{Args, Config};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use supervisor::account::Accounts;
use supervisor::appliance::{self, Appliance, Wishes};
use supervisor::chip::Chip;
use supervisor::control::{self, Policy};
use supervisor::gadget::Gadget;
use supervisor::journald::{self, Place};
use supervisor::label::Devices;
use supervisor::launch::Started;
use supervisor::lines::Lines;
use supervisor::runner::{LetGo, Parts, Runner, Unit};
use supervisor::service::Limits;
use supervisor::socket::{self, Owner};
use supervisor::storage::Storage;
use supervisor::system::{Root, System};
use supervisor::target::{self, Hands};
use supervisor::tool::Tools;
use supervisor::update::Updates;
use supervisor::{JOURNALD, exec_child, launch, preseed};
use tokio::sync::mpsc;

/// Brings the appliance up in order and keeps it honest.
#[derive(Debug, Parser)]
#[command(name = "kvmd-supervisor", version)]
struct Flags {
    #[command(flatten)]
    args: Args,
    /// Listen at this address alone.
    #[arg(long, value_name = "ADDR")]
    listen: Option<IpAddr>,
    /// Serve HTTPS at this port.
    #[arg(long, value_name = "N")]
    https_port: Option<u16>,
    /// Answer HTTP at this port.
    #[arg(long, value_name = "N")]
    http_port: Option<u16>,
    /// Print the address on a line of its own once the first request would succeed.
    #[arg(long)]
    print_url: bool,
    /// Where kvmd and kvmd-streamer are, when not beside this program.
    #[arg(long, value_name = "DIR", hide = true)]
    programs: Option<PathBuf>,
    /// Give a check of the drive's file system up after this many seconds.
    #[arg(long, value_name = "SECONDS", hide = true, default_value_t = 600)]
    check_limit: u64,
}

fn main() -> ExitCode {
    let began = Instant::now();
    if std::env::args_os().nth(1).is_some_and(|argument| argument == launch::SUBCOMMAND) {
        return exec_child::run();
    }
    let flags = Flags::parse();
    // Every mode is said where a file is made; a mask from whoever started us must not make it another.
    umask(Mode::from_bits_truncate(0o022));
    let (config, warnings) = match config::load(&flags.args) {
        Ok(loaded) => loaded,
        Err(errors) => return refuse(&errors),
    };
    let accounts = Accounts::find(&config.supervisor.users);
    let place = own_journal(&flags.args, &config, &accounts);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.context("the runtime").and_then(|runtime| {
        let result = runtime.block_on(supervise(flags, config, &warnings, accounts, &place, began));
        // A remount that hangs on a broken card must not keep us from ending.
        runtime.shutdown_timeout(Duration::from_secs(2));
        result
    });
    if let Ok(Some(place)) = &place {
        place.close();
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            log::logger().flush();
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "there is no log before there are settings")]
fn refuse(errors: &config::Errors) -> ExitCode {
    eprintln!("{errors}");
    ExitCode::from(config::Errors::EXIT_CODE)
}

/// Makes a place for our own journald when the machine has none; the error says why there is none either way.
fn own_journal(args: &Args, config: &Config, accounts: &Accounts) -> Result<Option<Place>, journald::Error> {
    if life::journal_answers(life::JOURNAL) || !config.supervisor.journald.start {
        return Ok(None);
    }
    let layout = args.layout();
    let sockets = layout.run.join("journal");
    let dir = layout.state.unwrap_or(layout.var).join("journal");
    journald::prepare(&dir, &sockets, accounts).map(Some)
}

async fn supervise(
    flags: Flags,
    config: Config,
    warnings: &[config::Warning],
    accounts: Accounts,
    place: &Result<Option<Place>, journald::Error>,
    began: Instant,
) -> anyhow::Result<()> {
    nix::sys::prctl::set_child_subreaper(true).context("adopting orphans")?;
    let life = life::Life::start()?;
    let layout = flags.args.layout();
    let mut units = Vec::new();
    let mut journal = if life::journal_answers(life::JOURNAL) { Journal::Host } else { Journal::None };
    let mut own = None;
    let mut silence = None;
    if let Ok(Some(place)) = place {
        let started = launch::start(place.launch()).context("journald")?;
        if journal_comes(&place.socket(), &started).await {
            (journal, own) = (Journal::Own, Some(place.clone()));
            place.open_to_readers();
            // It speaks no readiness to us: that it answers was seen, and a restart is quick.
            let limits = Limits { ready: None, watchdog: None, ..appliance::limits(&config) };
            let again = place.clone();
            units.push(Unit::new(JOURNALD, limits, Box::new(move || Ok(again.launch()))).running(started));
        } else {
            silence =
                Some(launch::failure(&started.outcome).unwrap_or_else(|| "it does not answer".to_owned()));
            // Reaped with all the others.
            let _ = nix::sys::signal::kill(started.pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
    // Somebody sits before a run below --state, and should see what concerns a person.
    let echo = if layout.has_state() { log::LevelFilter::Warn } else { log::LevelFilter::Off };
    let socket = own.as_ref().map_or_else(|| life::JOURNAL.into(), Place::socket);
    life::init_logging_at("kvmd-supervisor", &socket, echo)?;
    log::info!("kvmd-supervisor {} begins", env!("CARGO_PKG_VERSION"));
    for warning in warnings {
        log::warn!("{warning}");
    }
    if let Some(why) = place.as_ref().err().map(ToString::to_string).or(silence) {
        log::warn!("no journal here, and none can be started ({why}): logging to stderr");
    }
    if !accounts.switch() {
        log::warn!("not root: every child runs as this user, and nothing is mounted");
    }

    let wishes = Wishes {
        listen: flags.listen,
        https_port: flags.https_port,
        http_port: flags.http_port,
        programs: flags.programs,
    };
    let (tools, jobs) = Tools::new();
    let system = System::new(Root::new("/"), &layout, &config, tools.clone());
    system.stage("supervisor");
    system.first();
    preseed::apply(&system, &layout, &config, &accounts);
    let storage = find_storage(&layout, &config, &accounts);
    let appliance = Rc::new(Appliance::prepare(flags.args, config.clone(), accounts.clone(), &wishes, own)?);
    system.open_claim(&layout, &config);
    let hands = config.vm.enabled.then(|| Hands::connect(&config, life.stop()));
    let target = match &hands {
        Some(hands) => Some((target::command(&config, &layout.run, &accounts).await?, hands.clone())),
        None => None,
    };
    units.extend(appliance.units(target));
    if let Some(nodes) = appliance.nodes() {
        tokio::spawn(nodes.clone().watch(life.stop().clone()));
    }
    let gadget = Gadget::start(&config, &layout, &accounts).await;

    let (calls, called) = mpsc::channel(16);
    let control = &config.supervisor.unix;
    let owner = Owner { uid: 0, gid: accounts.socket_gid, mode: 0o660 };
    let listener = socket::unix(control, owner, &accounts)?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let serving = tokio::spawn(control::serve(listener, Policy::new(&accounts, &config.supervisor), calls));

    let url = flags.print_url.then(|| appliance.url());
    let (renewing, ready) = (Rc::clone(&appliance), system.clone());
    let parts = Parts {
        life,
        accounts,
        calls: called,
        storage,
        before_storage: system.before_storage(&config),
        after_storage: Some(system.after_storage()),
        check_limit: Duration::from_secs(flags.check_limit),
        journal,
        let_go: let_go(hands, gadget.clone(), appliance.lines().cloned(), Chip::new(&config)),
        gadget,
        system: system.clone(),
        updates: Updates::start(&config, &appliance, tools).await,
        jobs,
        renew: Box::new(move || renewing.renew()),
        on_ready: Box::new(move || {
            ready.stage("ready");
            log::info!("ready {} ms after our start", began.elapsed().as_millis());
            url.iter().for_each(|url| print(url));
        }),
        shutdown: config.supervisor.deadlines.shutdown,
    };
    system.stage("kvmd");
    tokio::spawn(system.catch_up());
    Runner::new(units, parts).run().await?;
    serving.abort();
    let _ = std::fs::remove_file(control);
    appliance.close();
    log::info!("everything has stopped");
    Ok(())
}

/// What is at rest before the next `kvmd` starts.
fn let_go(
    hands: Option<Hands>,
    gadget: Option<Gadget>,
    lines: Option<Lines>,
    chip: Option<Chip>,
) -> Vec<LetGo> {
    let hands = hands.map(|hands| -> LetGo {
        Box::new(move || {
            let hands = hands.clone();
            Box::pin(async move { hands.let_go().await })
        })
    });
    let gadget = gadget.map(|gadget| -> LetGo {
        Box::new(move || {
            let gadget = gadget.clone();
            Box::pin(async move { gadget.let_go().await })
        })
    });
    let lines = lines.map(|lines| -> LetGo {
        Box::new(move || {
            let lines = lines.clone();
            Box::pin(async move { lines.let_go().await })
        })
    });
    let chip = chip.map(|chip| -> LetGo {
        Box::new(move || {
            let chip = chip.clone();
            Box::pin(async move { chip.let_go().await })
        })
    });
    hands.into_iter().chain(gadget).chain(lines).chain(chip).collect()
}

/// For the script that started us; nothing else ever goes to standard output.
fn print(url: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{url}").and_then(|()| out.flush());
}

/// Waits until the journal that was just started answers; false when it has ended or does not in time.
async fn journal_comes(socket: &Path, started: &Started) -> bool {
    let mut tries = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..250 {
        tries.tick().await;
        if life::journal_answers(socket) {
            return true;
        }
        let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        if waitid(Id::Pid(started.pid), ended).is_ok_and(|status| status.pid().is_some()) {
            return false;
        }
    }
    false
}

/// Checked and mounted only when the children run: a slow or broken drive is no reason to have no keyboard.
fn find_storage(layout: &config::Layout, config: &Config, accounts: &Accounts) -> Storage {
    let fstab = match &layout.state {
        Some(_) => layout.etc.join("fstab"),
        None => "/etc/fstab".into(),
    };
    let msd = &config.kvmd.msd.path;
    Storage::find(&fstab, &Devices::default(), &config.supervisor.storage, msd, accounts)
}
