//! Verbs of the machine itself when another machine is meant: what `kvmd` does of them there.
//!
//! The supervisor's socket and the files of users are not to be had from elsewhere, so the rest is refused.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::face::{Call, Face};
use crate::file::Source;
use crate::gadget::Switch;
use crate::shown::{self, tame, word};
use crate::system::NetworkVerb;
use crate::{Exit, Failure, Here, gadget, password, reach::usage, role, system, update};

/// How often we look how an update gets on.
const LOOK: Duration = Duration::from_secs(1);
/// How long it may be away meanwhile.
const AWAY: Duration = Duration::from_secs(90);

pub(crate) fn run(desk: &mut Desk<'_, '_>, verb: Here) -> Result<Exit, Failure> {
    match verb {
        Here::Gadget(verb) => usb(desk, &verb),
        Here::System(verb) => machine(desk, verb),
        Here::Update(verb) => release(desk, &verb),
        Here::Claim(who) => claim(desk, &who),
        Here::Status { .. } => Err(only_there("status")),
        Here::Restart { .. } => Err(only_there("restart")),
        Here::Config(_) => Err(only_there("config")),
        Here::Passwd(password::Verb::List) => users(desk, false),
        Here::Role(role::Verb::List) => users(desk, true),
        Here::Passwd(_) => Err(only_there("passwd")),
        Here::Role(_) => Err(only_there("role")),
        Here::Totp(_) => Err(only_there("totp")),
        Here::Boot(_) => Err(only_there("boot")),
    }
}

fn only_there(verb: &str) -> Failure {
    usage(format!("kvmctl {verb} works on the appliance itself only: leave --url out, and come by ssh"))
}

fn usb(desk: &mut Desk<'_, '_>, verb: &gadget::Verb) -> Result<Exit, Failure> {
    match verb {
        gadget::Verb::Status { .. } => {
            let told = desk.face.ask(Call::get("/gadget"))?;
            desk.write(&told, shown::tree)?;
            Ok(if told["fault"].is_null() { Exit::Good } else { Exit::NotReady })
        }
        gadget::Verb::BiosSafe { mode } => {
            desk.order(Call::post("/gadget/set_params").with("bios_safe", mode.digit()).patient())
        }
        gadget::Verb::Connect | gadget::Verb::Disconnect => Err(only_there("gadget connect")),
    }
}

fn machine(desk: &mut Desk<'_, '_>, verb: system::Verb) -> Result<Exit, Failure> {
    let network = |verb: &str| Call::post(format!("/system/network{verb}"));
    let call = match verb {
        system::Verb::Show { .. } => {
            let told = desk.face.ask(Call::get("/system"))?;
            let state = serde_json::from_value(told.clone()).context("kvmd gave no proper answer")?;
            return desk.write(&told, |_| system::shown(&state));
        }
        system::Verb::Network(NetworkVerb::Show) => {
            let told = desk.face.ask(Call::get("/system"))?;
            writeln!(desk.console.out, "{}", shown::json(&format!("{:#}", told["network"])))?;
            return Ok(Exit::Good);
        }
        system::Verb::Hostname { name } => Call::post("/system/hostname").with("name", name),
        system::Verb::Timezone { name } => Call::post("/system/timezone").with("name", name),
        system::Verb::SshKeys { file } => {
            Call::post("/system/ssh_keys").body(system::read(&file)?, "text/plain; charset=utf-8")
        }
        system::Verb::SshPassword { mode } => {
            Call::post("/system/ssh_password_login").with("enabled", u8::from(mode == Switch::On))
        }
        system::Verb::Network(NetworkVerb::Set { file }) => {
            writeln!(desk.console.err, "on trial for a minute; to keep it: kvmctl system network confirm")?;
            network("").body(system::read(&file)?, "application/json")
        }
        system::Verb::Network(NetworkVerb::Confirm) => network("/confirm"),
        system::Verb::Network(NetworkVerb::Undo) => network("/undo"),
        system::Verb::Reboot => Call::post("/system/reboot"),
        system::Verb::FactoryReset { drive, yes } => {
            system::really(drive, yes, desk.console)?;
            Call::post("/system/factory_reset").with("confirm", 1).with_flag("drive", drive)
        }
    };
    desk.order(call)
}

fn release(desk: &mut Desk<'_, '_>, verb: &update::Verb) -> Result<Exit, Failure> {
    match verb {
        update::Verb::Status { .. } => {
            let told = desk.face.ask(Call::get("/system/update"))?;
            desk.write(&told, shown::tree)?;
            let proves = matches!(told["state"].as_str(), Some("trial" | "rolled_back"));
            Ok(if proves { Exit::NotReady } else { Exit::Good })
        }
        update::Verb::Install { bundle } => desk.in_session(|desk| install(desk, bundle)),
        update::Verb::Reboot => desk.order(Call::post("/system/update/reboot")),
        update::Verb::Rollback => desk.order(Call::post("/system/update/rollback")),
        update::Verb::MarkGood => Err(only_there("update mark-good")),
    }
}

/// Brings a bundle there unless it is an address, has it installed, and follows that to its end.
fn install(desk: &mut Desk<'_, '_>, bundle: &str) -> Result<Exit, Failure> {
    let mut call = Call::post("/system/update/install").patient();
    if bundle.contains("://") {
        call = call.with("url", bundle);
    } else {
        let source = Source::of(Path::new(bundle))?;
        let sha256 = source.digest(desk)?;
        let upload = Call::post("/system/update/upload").with("sha256", sha256);
        source.send(desk, upload, 0)?;
    }
    desk.face.ask(call)?;
    loop {
        let told = look(&desk.face)?;
        let version = word(&told["version"]);
        match told["state"].as_str() {
            Some("checking") => desk.progress("looking at the bundle")?,
            Some("installing") => {
                desk.progress(&format!(
                    "{version}: {} % {}",
                    word(&told["percent"]),
                    word(&told["message"])
                ))?;
            }
            state => {
                desk.progress("")?;
                return ended(desk, &told, state == Some("ready"));
            }
        }
        desk.face.pause(LOOK);
    }
}

/// How it gets on. Who is away for a moment is asked again: the installation goes on meanwhile.
fn look(face: &Face) -> Result<Value, Failure> {
    let begin = Instant::now();
    loop {
        match face.ask(Call::get("/system/update")) {
            Err(failure) if failure.is_passing(true) && begin.elapsed() < AWAY => face.pause(LOOK),
            ended => return ended,
        }
    }
}

fn ended(desk: &mut Desk<'_, '_>, told: &Value, ready: bool) -> Result<Exit, Failure> {
    if !ready {
        let error = &told["error"];
        let text = |name: &str| error[name].as_str().map(tame);
        let (class, why) = (text("error").unwrap_or_default(), text("error_msg"));
        return Err(
            anyhow!("{class}: {}", why.unwrap_or_else(|| "it ended without a word".to_owned())).into()
        );
    }
    let version = word(&told["version"]);
    desk.write(told, |_| format!("release {version} is installed: kvmctl update reboot\n"))
}

/// Who there is, and what they may do.
fn users(desk: &mut Desk<'_, '_>, roles: bool) -> Result<Exit, Failure> {
    desk.show(Call::get("/users"), |told| {
        let line = |user: &Value| match roles {
            true => format!("{} {}\n", word(&user["user"]), word(&user["role"])),
            false => format!("{}\n", word(&user["user"])),
        };
        told["users"].as_array().into_iter().flatten().map(line).collect()
    })
}

/// Makes the first user by the code that stands on the console.
fn claim(desk: &mut Desk<'_, '_>, who: &system::Claim) -> Result<Exit, Failure> {
    desk.face.keeps_secrets()?;
    let told = desk.face.ask(Call::get("/system/claim").anonymous())?;
    if told["claimed"] == true {
        return Err(anyhow!("there is an owner already").into());
    }
    let code = match &who.code {
        Some(code) => code.clone(),
        None => (desk.console.secret)(Some("Code on the console: "))?,
    };
    let passwd = password::typed(who.read_stdin, desk.console)?;
    let body = json!({"code": code.trim(), "user": who.user, "passwd": passwd}).to_string();
    desk.order(Call::post("/system/claim").body(body, "application/json").anonymous())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Scripted, answer};

    #[test]
    fn an_update_is_followed_over_a_lost_answer() {
        let there = Scripted::start([
            String::new(),
            answer("503 No", &json!({})),
            answer("200 OK", &json!({"ok": true, "result": {"state": "ready"}})),
            answer("403 No", &json!({})),
        ]);
        assert_eq!(look(&there.face).ok().unwrap(), json!({"state": "ready"}));
        assert_eq!(there.asked().len(), 3);
        assert_eq!(look(&there.face).map_err(|failure| failure.exit), Err(Exit::Refused));
    }
}
