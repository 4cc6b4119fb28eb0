//! `kvmctl token`: API tokens, asked from `kvmd`.

use std::time::Duration;

use anyhow::Context;
use auth::Role;
use clap::Subcommand;
use serde_json::Value;

use crate::desk::Desk;
use crate::face::Call;
use crate::shown::tame;
use crate::{Exit, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Makes a token and shows it, this once. It is shown alone: `TOKEN=$(kvmctl token create ci viewer)`.
    Create {
        /// What it is for: letters, digits, blanks and `._@-`.
        name: String,
        /// `viewer`, `operator` or `admin`.
        role: Role,
        /// How long it is good: a number with `s`, `m`, `h` or `d`; for ever when this is left out.
        #[arg(short, long, value_parser = lifetime)]
        expire: Option<Duration>,
        /// The subsystems it is for, with commas between (`atx,hid,ws`); all when this is left out.
        #[arg(short, long)]
        scopes: Option<String>,
    },
    /// All tokens, without their secrets.
    List,
    /// Ends a token; what is open by it closes at once.
    Revoke {
        /// Its name, or its number as `list` shows it.
        token: String,
    },
}

pub(crate) fn run(desk: &mut Desk<'_, '_>, verb: &Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::Create { name, role, expire, scopes } => {
            let call = Call::post("/tokens")
                .with("name", name)
                .with("role", role)
                .with("expire", expire.map_or(0, |time| time.as_secs()))
                .with("scopes", scopes.as_deref().unwrap_or(""));
            let made = desk.face.ask(call)?;
            let secret = made.get("secret").and_then(Value::as_str).context("kvmd gave no token")?;
            desk.write(&made, |_| format!("{secret}\n"))
        }
        Verb::List => desk.show(Call::get("/tokens"), |told| table(&tokens(told))),
        Verb::Revoke { token } => {
            let all = tokens(&desk.face.ask(Call::get("/tokens"))?);
            let id = meant(&all, token).with_context(|| format!("there is no token {token}"))?;
            desk.order(Call::delete("/tokens").with("id", id))
        }
    }
}

/// The number of the token that is meant. Numbers go first: a token may be named like the number of another.
fn meant<'a>(all: &'a [Value], token: &str) -> Option<&'a str> {
    let by = |field: &str| all.iter().find(|known| known[field] == token);
    by("id").or_else(|| by("name")).and_then(|known| known["id"].as_str())
}

fn tokens(told: &Value) -> Vec<Value> {
    told.get("tokens").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// One line a token. Times are told as they are: seconds since 1970, which `date -d @…` reads.
fn table(tokens: &[Value]) -> String {
    let mut rows = vec![["ID", "NAME", "ROLE", "SCOPES", "EXPIRES", "LAST USED"].map(str::to_owned)];
    let number =
        |value: &Value| value.as_u64().map_or_else(|| "never".to_owned(), |number| number.to_string());
    let text = |value: &Value| tame(value.as_str().unwrap_or("?"));
    rows.extend(tokens.iter().map(|token| {
        let scopes: Vec<String> =
            token["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).map(tame).collect();
        let expires = match token["expired"].as_bool() {
            Some(true) => "over".to_owned(),
            _ => number(&token["expires"]),
        };
        [
            text(&token["id"]),
            text(&token["name"]),
            text(&token["role"]),
            if scopes.is_empty() { "all".to_owned() } else { scopes.join(",") },
            expires,
            number(&token["last_used"]),
        ]
    }));
    let widths: [usize; 6] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut table = String::new();
    for row in rows {
        let line: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        table.push_str(line.join("  ").trim_end());
        table.push('\n');
    }
    table
}

/// A time as people write it: `90s`, `15m`, `12h`, `30d`.
fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number with s, m, h or d, as 30d".to_owned();
    let at = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(seconds).filter(|seconds| *seconds > 0).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_time_is_a_number_with_its_unit() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000)] {
            assert_eq!(lifetime(text), Ok(Duration::from_secs(seconds)));
        }
        for bad in ["", "30", "d", "0s", "-1d", "1w", "1.5h", "99999999999999999999s", "999999999999999999d"]
        {
            assert!(lifetime(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_is_never_taken_for_a_name() {
        let tokens = [json!({"id": "a1", "name": "b2"}), json!({"id": "b2", "name": "ci"})];
        assert_eq!(meant(&tokens, "b2"), Some("b2"));
        assert_eq!(meant(&tokens, "ci"), Some("b2"));
        assert_eq!(meant(&tokens, "none"), None);
    }

    #[test]
    fn the_table_tells_what_is_over_and_what_is_for_ever() {
        let tokens = [
            json!({"id": "00", "name": "c\u{1b}i", "role": "viewer", "scopes": ["atx", "ws"], "expires": 5, "expired": true, "last_used": 4}),
            json!({"id": "01", "name": "x y", "role": "admin", "scopes": [], "expires": null, "expired": false, "last_used": null}),
        ];
        assert_eq!(
            table(&tokens),
            "ID  NAME  ROLE    SCOPES  EXPIRES  LAST USED\n\
             00  ci    viewer  atx,ws  over     4\n\
             01  x y   admin   all     never    never\n"
        );
    }
}
