//! `kvmctl audit`: who changed what.

use serde_json::Value;

use crate::desk::Desk;
use crate::face::Call;
use crate::shown::{tame, word};
use crate::{Exit, Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Audit {
    /// The first lines behind this one, instead of the last ones there are.
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    /// So many lines at most: 1 to 1000.
    #[arg(short, long)]
    limit: Option<u16>,
    /// Only the last N seconds.
    #[arg(long, value_name = "N")]
    seek: Option<u64>,
    /// Waits for new lines.
    #[arg(short, long)]
    follow: bool,
}

pub(crate) fn run(desk: &mut Desk<'_, '_>, audit: &Audit) -> Result<Exit, Failure> {
    let call = Call::get("/audit")
        .with_some("after", audit.after)
        .with_some("limit", audit.limit)
        .with_some("seek", audit.seek)
        .with_flag("follow", audit.follow);
    if !audit.follow {
        return desk.show(call, |told| told["records"].as_array().into_iter().flatten().map(line).collect());
    }
    let (face, json, console) = (&desk.face, desk.json, &mut *desk.console);
    face.lines(call, |record| crate::desk::write_line(json, console, &record, line))?;
    Ok(Exit::Good)
}

/// Number, time, who from where, what, and what came of it.
fn line(record: &Value) -> String {
    let who = match (record["user"].as_str(), record["token"].as_str()) {
        (_, Some(token)) => format!("token {}", tame(token)),
        (Some(user), None) => tame(user),
        (None, None) => word(&record["by"]),
    };
    let from =
        record["address"].as_str().map_or_else(String::new, |address| format!(" from {}", tame(address)));
    let what = match record["kind"].as_str() {
        Some("call") => call(record),
        Some("input_begin") => "begins to type or to move the mouse".to_owned(),
        Some("input_end") => format!("has typed or moved the mouse for {} s", word(&record["seconds"])),
        Some("more") => format!("{} times more of the same kind", word(&record["count"])),
        Some("lost") => format!("{} lines are missing here", word(&record["count"])),
        _ => word(&record["kind"]),
    };
    let time = crate::update::date_and_second(record["time"].as_f64().unwrap_or(0.0));
    format!("{}  {time}  {who}{from}  {what}\n", word(&record["seq"]))
}

fn call(record: &Value) -> String {
    let mut text = format!("{} {}", word(&record["method"]), word(&record["path"]));
    for (name, value) in record["params"].as_object().into_iter().flatten() {
        text += &format!(" {}={}", tame(name), word(value));
    }
    text += &format!("  {}", word(&record["status"]));
    if let Some(class) = record["error"].as_str() {
        text += &format!(" {}", tame(class));
    }
    if let Some(count) = record["repeated"].as_u64() {
        text += &format!(", and {count} times more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_record_is_a_line() {
        let record = json!({"seq": 7, "time": 1_790_000_000.25, "user": "jane", "token": null, "by": "session",
            "address": "10.0.0.9", "kind": "call", "method": "POST", "path": "/atx/power",
            "params": {"action": "on"}, "status": 409, "error": "AtxIsBusyError"});
        assert_eq!(
            line(&record),
            "7  2026-09-21 14:13:20Z  jane from 10.0.0.9  POST /atx/power action=on  409 AtxIsBusyError\n"
        );
        let record = json!({"seq": 8, "time": 0, "user": null, "token": "ci", "by": "token", "address": null,
            "kind": "input_end", "seconds": 12});
        assert_eq!(
            line(&record),
            "8  1970-01-01 00:00:00Z  token ci  has typed or moved the mouse for 12 s\n"
        );
    }
}
