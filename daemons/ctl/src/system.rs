//! `kvmctl system` and `kvmctl claim`: the machine itself, as the supervisor tells and does.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use auth::htpasswd::Entries;
use clap::Subcommand;
use client::system::{Ask, Network, State, Told, rule};

use crate::service::ask;
use crate::shown::tame;
use crate::{Console, Exit, Failure};

/// More than any file of keys or network settings has.
const FILE_BYTES: u64 = 60 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Release, names, network, and who may come by SSH.
    Show {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Calls the machine so.
    Hostname {
        /// Letters, digits and dashes.
        name: String,
    },
    /// Reads the clock there.
    Timezone {
        /// Such as Europe/Berlin.
        name: String,
    },
    /// Lets exactly the keys of a file in by SSH, beside keys with options.
    SshKeys {
        /// Lines as in `authorized_keys`; `-` reads standard input.
        file: PathBuf,
    },
    /// Lets passwords in by SSH, or not.
    SshPassword {
        /// Whether.
        mode: crate::gadget::Switch,
    },
    /// The network's settings.
    #[command(subcommand)]
    Network(NetworkVerb),
    /// Restarts the machine.
    Reboot,
    /// Restarts the machine as it came: settings, users, logs and keys are gone.
    FactoryReset {
        /// The drive's images too.
        #[arg(long)]
        drive: bool,
        /// Does it without a question.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkVerb {
    /// As JSON, to be changed and given to `set`.
    Show,
    /// Tries the settings of a file for a minute; `confirm` keeps them.
    Set {
        /// JSON as `show` prints it; `-` reads standard input.
        file: PathBuf,
    },
    /// Keeps what is on trial.
    Confirm,
    /// Takes back what is on trial, at once.
    Undo,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Claim {
    /// The owner's name.
    #[arg(default_value = "admin")]
    pub(crate) user: String,
    /// Reads the password as one line of standard input, instead of asking for it twice.
    #[arg(short = 'i', long)]
    pub(crate) read_stdin: bool,
    /// The code on the appliance's console, with `--url`; asked for when this is left out.
    #[arg(long)]
    pub(crate) code: Option<String>,
}

pub(crate) fn run(config: &config::Config, verb: Verb, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let (wish, done) = match verb {
        Verb::Show { json } => {
            let state = state(config)?;
            if json {
                writeln!(console.out, "{:#}", serde_json::to_value(&state)?)?;
            } else {
                write!(console.out, "{}", shown(&state))?;
            }
            return Ok(Exit::Good);
        }
        Verb::Network(NetworkVerb::Show) => {
            writeln!(console.out, "{:#}", serde_json::to_value(state(config)?.network)?)?;
            return Ok(Exit::Good);
        }
        Verb::Hostname { name } => (Ask::SetHostname { name }, ""),
        Verb::Timezone { name } => (Ask::SetTimezone { name }, ""),
        Verb::SshKeys { file } => {
            let keys = rule::ssh_keys(read(&file)?.lines())?;
            (Ask::SetSshKeys { keys }, "")
        }
        Verb::SshPassword { mode } => (Ask::AllowSshPassword { on: mode == crate::gadget::Switch::On }, ""),
        Verb::Network(NetworkVerb::Set { file }) => {
            let network: Network = serde_json::from_str(&read(&file)?)?;
            (Ask::TryNetwork { network }, "on trial for a minute; to keep it: kvmctl system network confirm")
        }
        Verb::Network(NetworkVerb::Confirm) => (Ask::ConfirmNetwork, "kept"),
        Verb::Network(NetworkVerb::Undo) => (Ask::UndoNetwork, "taken back"),
        Verb::Reboot => (Ask::Reboot, "restarting"),
        Verb::FactoryReset { drive, yes } => {
            really(drive, yes, console)?;
            (Ask::FactoryReset { drive }, "restarting as it came")
        }
    };
    change(config, wish)?;
    if !done.is_empty() {
        writeln!(console.err, "{done}")?;
    }
    Ok(Exit::Good)
}

/// Asks whether everything shall be forgotten.
pub(crate) fn really(drive: bool, yes: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let what = if drive { "settings, users, logs and all images" } else { "settings, users and logs" };
    if yes
        || (console.secret)(Some(&format!("This forgets {what}. Type \"reset\" to go on: ")))?.trim()
            == "reset"
    {
        return Ok(());
    }
    Err(anyhow::anyhow!("nothing was done").into())
}

/// Makes the first user: whoever may write the file needs no code.
pub(crate) fn claim(
    config: &config::Config,
    who: &Claim,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let path = &config.kvmd.auth.internal.file;
    let mut entries = Entries::read_or_new(path)?;
    if entries.entries().next().is_some() {
        return Err(anyhow::anyhow!("there is an owner already: kvmctl passwd changes users").into());
    }
    let user = auth::syntax::user(&who.user)?.to_owned();
    let passwd = crate::password::typed(who.read_stdin, console)?;
    auth::strength::judge(&user, &passwd)?;
    entries.add(&user, &passwd)?;
    entries.write(path)?;
    writeln!(console.err, "{user} owns this appliance")?;
    // kvmd sees the file; only the code on the console has to go.
    if let Err(failure) = change(config, Ask::Claimed) {
        writeln!(console.err, "the code stays on the console until the next start: {:#}", failure.error)?;
    }
    Ok(Exit::Good)
}

fn state(config: &config::Config) -> Result<State, Failure> {
    match ask(config, async |supervisor| supervisor.system(Ask::Show).await)? {
        Told::State { state } => Ok(*state),
        other => Err(refused(other)),
    }
}

fn change(config: &config::Config, wish: Ask) -> Result<(), Failure> {
    match ask(config, async |supervisor| supervisor.system(wish).await)? {
        Told::Done => Ok(()),
        other => Err(refused(other)),
    }
}

fn refused(told: Told) -> Failure {
    let why = match told {
        Told::NotImage => "this is not a system that was started from an appliance image".to_owned(),
        Told::Invalid { reason } => reason,
        Told::Done | Told::State { .. } | Told::Claim { .. } => {
            "the supervisor gave no proper answer".to_owned()
        }
    };
    anyhow::anyhow!(why).into()
}

/// The text of a small file.
pub(crate) fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let named = |error: std::io::Error| anyhow::anyhow!("{}: {error}", file.display());
    match file.to_str() {
        Some("-") => std::io::stdin().lock().take(FILE_BYTES).read_to_string(&mut text).map_err(named)?,
        _ => std::fs::File::open(file)
            .map_err(named)?
            .take(FILE_BYTES)
            .read_to_string(&mut text)
            .map_err(named)?,
    };
    Ok(text)
}

/// The system for people.
pub(crate) fn shown(state: &State) -> String {
    let mut text = match (&state.release, state.image) {
        (Some(release), true) => {
            let slot = tame(state.slot.as_deref().unwrap_or("?"));
            let (version, board) = (tame(&release.version), tame(&release.board));
            format!("release   {version} for {board} ({}), slot {slot}\n", tame(&release.build))
        }
        _ => "release   none: not started from an image\n".to_owned(),
    };
    text.push_str(&format!("name      {}\ntime zone {}\n", tame(&state.hostname), tame(&state.timezone)));
    text.push_str(if state.claimed {
        "owner     yes\n"
    } else {
        "owner     none: the code to claim it is on the console\n"
    });
    if state.data_lost {
        text.push_str("WARNING   what was kept could not be read; nothing is kept now\n");
    }
    if state.image {
        let passwords = if state.ssh.password_login { "and passwords" } else { "no passwords" };
        let others = match state.ssh.others {
            0 => String::new(),
            others => format!(", {others} with options"),
        };
        text.push_str(&format!("SSH       {} keys{others}, {passwords}\n", state.ssh.keys.len()));
    }
    for link in &state.interfaces {
        let up = if link.up { tame(&link.addresses.join(", ")) } else { "not connected".to_owned() };
        text.push_str(&format!("network   {} ({}): {up}\n", tame(&link.name), tame(&link.mac)));
    }
    if let Some(left) = state.network_trial_ms {
        text.push_str(&format!("          on trial: taken back in {} s unless confirmed\n", left / 1000));
    }
    for stage in &state.stages {
        text.push_str(&format!(
            "start     {:>8.3} s {}\n",
            std::time::Duration::from_millis(stage.at_ms).as_secs_f64(),
            tame(&stage.name)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::system::{Link, Release, Ssh};

    #[test]
    fn the_system_is_shown_with_what_a_person_has_to_know() {
        let state = State {
            image: true,
            release: Some(Release { version: "1.0.0".into(), board: "rpi4".into(), build: "abc".into() }),
            slot: Some("a".into()),
            hostname: "kvm\u{9b}2J-1234".into(),
            timezone: "Europe/Berlin".into(),
            claimed: true,
            data_lost: true,
            ssh: Ssh { keys: vec!["k".into()], others: 2, ..Ssh::default() },
            interfaces: vec![Link {
                name: "eth0".into(),
                mac: "02:00:00:00:00:01".into(),
                wireless: false,
                up: true,
                addresses: vec!["10.0.0.2/8".into()],
            }],
            network_trial_ms: Some(59_500),
            ..State::default()
        };
        let text = shown(&state);
        for part in [
            "1.0.0 for rpi4 (abc), slot a",
            "name      kvm2J-1234\n",
            "WARNING",
            "1 keys, 2 with options, no passwords",
            "10.0.0.2/8",
            "in 59 s",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let elsewhere = shown(&State::default());
        assert!(elsewhere.contains("not started from an image") && elsewhere.contains("on the console"));
    }
}
