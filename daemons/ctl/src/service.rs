//! `kvmctl status` and `kvmctl restart`: what the supervisor says.

use std::time::Duration;

use client::supervisor::{Error, ServiceState, Status, Supervisor};

use crate::{Console, Exit, Failure};

pub(crate) fn status(
    config: &config::Config,
    json: bool,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let status = ask(config, async |supervisor| supervisor.status().await)?;
    if json {
        writeln!(console.out, "{:#}", serde_json::to_value(&status)?)?;
    } else {
        write!(console.out, "{}", table(&status))?;
    }
    Ok(if status.ready { Exit::Good } else { Exit::NotReady })
}

pub(crate) fn restart(
    config: &config::Config,
    service: &str,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let status = ask(config, async |supervisor| {
        supervisor.restart(service).await?;
        supervisor.status().await
    })?;
    writeln!(console.out, "{service} {}", restarted(&status, service))?;
    Ok(Exit::Good)
}

/// What has become of a service that was told to restart.
fn restarted(status: &Status, service: &str) -> &'static str {
    match status.services.iter().find(|known| known.name == service).map(|known| known.state) {
        Some(ServiceState::Stopped) => "stays stopped: nobody wants it",
        _ => "restarts",
    }
}

/// Asks the supervisor, and makes of its errors what the shell should see.
pub(crate) fn ask<T>(
    config: &config::Config,
    question: impl AsyncFnOnce(Supervisor) -> Result<T, Error>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let supervisor = Supervisor::new(&config.supervisor.unix);
    runtime.block_on(question(supervisor)).map_err(|error| Failure::new(exit(&error), error))
}

/// What an error of the call means for the shell.
fn exit(error: &Error) -> Exit {
    match error {
        Error::Unreachable { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Exit::Refused
        }
        Error::Unreachable { .. } | Error::Timeout | Error::NoAnswer | Error::Line(_) => Exit::Unreachable,
        Error::Refused => Exit::Refused,
        Error::Failed(_) => Exit::Failed,
    }
}

/// One line a service.
fn table(status: &Status) -> String {
    let mut rows =
        vec![["SERVICE", "STATE", "PID", "SINCE", "RESTARTS", "LAST END", "SAYS"].map(str::to_owned)];
    let dash = || "-".to_owned();
    rows.extend(status.services.iter().map(|service| {
        [
            service.name.clone(),
            state(service.state).to_owned(),
            service.pid.map_or_else(dash, |pid| pid.to_string()),
            span(Duration::from_millis(service.since_ms)),
            service.restarts.to_string(),
            service.last_end.clone().unwrap_or_else(dash),
            service.text.clone().unwrap_or_else(dash),
        ]
    }));
    let widths: [usize; 7] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let readiness = if status.ready { "ready" } else { "not ready" };
    let mut text = format!("kvmd-supervisor {}, pid {}, {readiness}\n", status.version, status.pid);
    let access = if status.msd.rw { "writable" } else { "read-only" };
    text.push_str(&format!("drive storage {}, {access}\n", status.msd.path.display()));
    for row in rows {
        let line: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn state(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Stopped => "stopped",
        ServiceState::Starting => "starting",
        ServiceState::Ready => "ready",
        ServiceState::Stopping => "stopping",
        ServiceState::Backoff => "waiting",
        ServiceState::CrashLoop => "crash loop",
    }
}

/// A time for people: its largest unit and the next.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86_400 => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::supervisor::{Journal, MsdStorage, ServiceStatus};

    #[test]
    fn a_time_has_two_units() {
        let cases = [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3_661, "1h 1m"), (90_000, "1d 1h")];
        for (seconds, text) in cases {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    fn service(name: &str, state: ServiceState, pid: Option<u32>) -> ServiceStatus {
        ServiceStatus {
            name: name.to_owned(),
            state,
            since_ms: 61_000,
            pid,
            restarts: 2,
            last_end: None,
            text: None,
        }
    }

    fn status(services: Vec<ServiceStatus>) -> Status {
        Status {
            version: "0.1.0".to_owned(),
            pid: 1,
            ready: false,
            journal: Journal::None,
            msd: MsdStorage { path: "/s/msd".into(), mounted: false, rw: true },
            services,
        }
    }

    #[test]
    fn a_service_nobody_wants_is_not_said_to_restart() {
        let status = status(vec![
            service("kvmd", ServiceState::Stopping, None),
            service("kvmd-streamer", ServiceState::Stopped, None),
        ]);
        assert_eq!(restarted(&status, "kvmd"), "restarts");
        assert_eq!(restarted(&status, "kvmd-streamer"), "stays stopped: nobody wants it");
    }

    #[test]
    fn the_table_lines_up() {
        let status = status(vec![
            service("kvmd", ServiceState::CrashLoop, None),
            service("kvmd-streamer", ServiceState::Ready, Some(12345)),
        ]);
        assert_eq!(
            table(&status),
            "kvmd-supervisor 0.1.0, pid 1, not ready\n\
             drive storage /s/msd, writable\n\
             SERVICE        STATE       PID    SINCE  RESTARTS  LAST END  SAYS\n\
             kvmd           crash loop  -      1m 1s  2         -         -\n\
             kvmd-streamer  ready       12345  1m 1s  2         -         -\n"
        );
    }
}
