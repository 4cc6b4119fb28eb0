//! `kvmctl config`: whether the settings are good, what they are, what was changed.

use clap::Subcommand;
use serde_json::{Value as Json, json};

use crate::{Console, Exit, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Tells every bad value and every unknown key. Exit code 64 when the daemons would not start.
    Check {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// All settings in force, secrets hidden.
    Show {
        /// Only this key or section, for example `kvmd.auth`.
        key: Option<String>,
        /// As JSON instead of YAML.
        #[arg(long)]
        json: bool,
    },
    /// The settings that are not at their default.
    Diff {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// The page `docs/configuration.md`.
    #[command(hide = true)]
    Docs,
}

pub(crate) fn run(verb: &Verb, args: &config::Args, console: &mut Console<'_>) -> Result<Exit, Failure> {
    match verb {
        Verb::Check { json } => check(args, *json, console),
        Verb::Show { key, json } => show(args, key.as_deref(), *json, console),
        Verb::Diff { json } => diff(args, *json, console),
        Verb::Docs => {
            console.out.write_all(config::documentation().as_bytes())?;
            Ok(Exit::Good)
        }
    }
}

fn check(args: &config::Args, as_json: bool, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let (errors, warnings) = match config::load(args) {
        Ok((_, warnings)) => (Vec::new(), warnings),
        Err(errors) => (errors.iter().cloned().collect(), errors.warnings().cloned().collect()),
    };
    if as_json {
        let errors: Vec<_> =
            errors.iter().map(|error| line(error.at.as_ref(), &error.key, &error.text)).collect();
        let warnings: Vec<_> =
            warnings.iter().map(|warning| line(Some(&warning.at), &warning.key, &warning.text)).collect();
        writeln!(
            console.out,
            "{:#}",
            json!({"ok": errors.is_empty(), "errors": errors, "warnings": warnings})
        )?;
    } else {
        for error in &errors {
            writeln!(console.err, "error: {error}")?;
        }
        for warning in &warnings {
            writeln!(console.err, "warning: {warning}")?;
        }
        if errors.is_empty() {
            writeln!(console.out, "the settings are good")?;
        }
    }
    Ok(if errors.is_empty() { Exit::Good } else { Exit::BadSettings })
}

fn line(at: Option<&config::At>, key: &str, text: &str) -> Json {
    let file = at.map(|at| at.file.to_string_lossy());
    json!({"file": file, "line": at.map(|at| at.line), "column": at.map(|at| at.column), "key": key, "text": text})
}

fn show(
    args: &config::Args,
    key: Option<&str>,
    as_json: bool,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let all = crate::settings(args, console)?.show();
    let part = key.into_iter().flat_map(|key| key.split('.')).try_fold(&all, |json, key| json.get(key));
    let Some(part) = part else {
        return Err(Failure::new(Exit::Failed, anyhow::anyhow!("no key {}", key.unwrap_or_default())));
    };
    if as_json {
        writeln!(console.out, "{part:#}")?;
    } else {
        console.out.write_all(config::to_yaml(part).as_bytes())?;
    }
    Ok(Exit::Good)
}

fn diff(args: &config::Args, as_json: bool, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let changes = crate::settings(args, console)?.diff(&args.layout());
    if as_json {
        let changes: Vec<_> = changes
            .iter()
            .map(|change| json!({"key": change.key, "value": change.value, "default": change.default}))
            .collect();
        writeln!(console.out, "{:#}", Json::from(changes))?;
        return Ok(Exit::Good);
    }
    for change in changes {
        writeln!(console.out, "{}: {}  # default: {}", change.key, change.value, change.default)?;
    }
    Ok(Exit::Good)
}
