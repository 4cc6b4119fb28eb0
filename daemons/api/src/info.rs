//! `/info`: facts about the appliance (section 8.1).

use crate::{
    answer::{self, Answer},
    query::Query,
    routes::Entry,
};
use actix_web::web::{self, Data};
use info::Info;
use model::{
    check::{self, Invalid},
    info::{self as wire, Field},
};

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[Entry::get("/info", || web::to(get))];

/// Whether people must log in; the one fact `info` does not know.
#[derive(Debug, Clone, Copy)]
pub struct LoginNeeded(pub bool);

async fn get(info: Data<Info>, login: Data<LoginNeeded>, query: Query) -> Answer {
    let legacy = query.optional("legacy", check::boolean)?.unwrap_or(true);
    let default = if legacy { Field::LEGACY_DEFAULT } else { Field::CURRENT };
    let fields = query.optional("fields", |raw| parse(raw, legacy))?.filter(|fields| !fields.is_empty());
    let fields = fields.unwrap_or_else(|| default.to_vec());
    Ok(answer::ok(&gather(&info, login.0).await.select(&fields)))
}

fn parse(raw: &str, legacy: bool) -> check::Checked<Vec<Field>> {
    if raw.len() > 512 {
        return Err(Invalid::new("a list of info fields", raw));
    }
    check::list(raw, |item| Field::parse(item, legacy).ok_or_else(|| Invalid::new("an info field", item)))
}

/// Everything there is to know, asked for at once.
pub async fn gather(info: &Info, login_needed: bool) -> wire::Info {
    let (extras, fan, health, meta) = tokio::join!(info.extras(), info.fan(), info.health(), info.meta());
    let (node, system, uptime) = tokio::join!(info.node(), info.system(), info.uptime());
    wire::Info {
        auth: wire::Auth { enabled: login_needed },
        // Where there is no directory of extras there are none; pages read the object without looking.
        extras: Some(
            extras.unwrap_or_default().into_iter().map(|(name, extra)| (name, extra.into())).collect(),
        ),
        fan: show_fan(&fan),
        health: show_health(&health),
        meta,
        node: show_node(&node),
        system: show_system(system),
        uptime: show_uptime(uptime),
    }
}

/// The fan as clients see it.
pub fn show_fan(fan: &info::Fan) -> wire::Fan {
    wire::Fan { monitored: fan.monitored, state: fan.state.clone() }
}

/// The host's name as clients see it.
pub fn show_node(node: &info::Node) -> wire::Node {
    wire::Node { host: node.host.clone() }
}

/// The time since boot as clients see it.
pub fn show_uptime(uptime: info::Uptime) -> wire::Uptime {
    wire::Uptime::from_secs(uptime.total())
}

/// Temperatures and load as clients see them.
pub fn show_health(health: &info::Health) -> wire::Health {
    let flag = |flag: info::NowPast| wire::NowPast { now: flag.now, past: flag.past };
    wire::Health {
        temp: wire::Temperature { cpu: health.temp.cpu, gpu: health.temp.gpu },
        cpu: wire::Cpu { percent: health.cpu.percent.map(u32::from) },
        mem: wire::Memory {
            percent: health.mem.percent,
            total: health.mem.total_bytes,
            available: health.mem.available_bytes,
        },
        throttling: health.throttling.as_ref().map(|throttling| wire::Throttling {
            raw_flags: throttling.raw_flags,
            parsed_flags: wire::ThrottlingFlags {
                undervoltage: flag(throttling.undervoltage),
                freq_capped: flag(throttling.freq_capped),
                throttled: flag(throttling.throttled),
            },
            ignore_past: throttling.ignore_past,
        }),
    }
}

/// Pages join these three with dashes and need texts.
fn told(name: Option<String>) -> Option<String> {
    name.or_else(|| Some("unknown".to_owned()))
}

fn show_system(system: info::System) -> wire::System {
    wire::System {
        kvmd: wire::Version { version: system.kvmd_version },
        release: Some(system.release),
        streamer: wire::StreamerVersion {
            app: system.streamer.app,
            version: system.streamer.version,
            features: system.streamer.features,
        },
        kernel: wire::Kernel {
            system: system.kernel.system,
            release: system.kernel.release,
            version: system.kernel.version,
            machine: system.kernel.machine,
        },
        platform: wire::Platform {
            kind: system.platform.kind.to_owned(),
            base: system.platform.base,
            serial: system.platform.serial,
            model: told(system.platform.model),
            video: told(system.platform.video),
            board: told(system.platform.board),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_a_list_of_known_names() {
        assert_eq!(parse("auth, META", true), Ok(vec![Field::Auth, Field::Meta]));
        assert_eq!(parse("", true), Ok(vec![]));
        for (bad, legacy) in [("nope", true), ("auth,nope", true), (" meta ; auth ", true), ("hw", false)] {
            assert!(parse(bad, legacy).is_err(), "{bad}");
        }
    }
}
