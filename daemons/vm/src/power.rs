//! The power button and the reset button of a virtual machine.
//!
//! Off is one of two run states: `shutdown` (the guest powered off, QEMU stays because of `-no-shutdown`) or
//! `paused` (the plug was pulled, played by stopping the processor). Either way the next start is a reset.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use crate::qmp::{Error, Qmp, RunState};

/// How long QEMU may take from accepting a reset to having done it.
const RESET_TIME: Duration = Duration::from_secs(5);

/// Switches the machine on. Does nothing if it runs.
///
/// # Errors
/// See [`Error`].
pub async fn on(qmp: &Qmp) -> Result<(), Error> {
    if powered(qmp).await? {
        return Ok(());
    }
    // A reset is only noted by the command; continuing before it is done is refused or resumes the old guest.
    let mut events = qmp.events();
    qmp.execute::<Value>("system_reset", Value::Null).await?;
    let done = async {
        loop {
            match events.recv().await {
                Ok(event) if event.name != "RESET" => {}
                // Having missed events, the reset may be among them.
                Ok(_) | Err(RecvError::Lagged(_)) => return Ok(()),
                Err(RecvError::Closed) => return Err(Error::Lost("system_reset".into())),
            }
        }
    };
    timeout(RESET_TIME, done).await.unwrap_or_else(|_| Err(Error::Timeout("system_reset".into())))?;
    qmp.execute::<Value>("cont", Value::Null).await.map(drop)
}

/// A short press of the power button: asks the guest to shut down. Does nothing if the machine is off.
///
/// # Errors
/// See [`Error`].
pub async fn off_acpi(qmp: &Qmp) -> Result<(), Error> {
    if !powered(qmp).await? {
        return Ok(());
    }
    qmp.execute::<Value>("system_powerdown", Value::Null).await.map(drop)
}

/// A long press of the power button: off at once.
///
/// # Errors
/// See [`Error`].
pub async fn off_hard(qmp: &Qmp) -> Result<(), Error> {
    qmp.execute::<Value>("stop", Value::Null).await.map(drop)
}

/// The reset button. Does nothing if the machine is off.
///
/// # Errors
/// See [`Error`].
pub async fn reset(qmp: &Qmp) -> Result<(), Error> {
    if !powered(qmp).await? {
        return Ok(());
    }
    qmp.execute::<Value>("system_reset", Value::Null).await.map(drop)
}

/// Asks, rather than looks at the watch, which follows a command by some milliseconds.
async fn powered(qmp: &Qmp) -> Result<bool, Error> {
    #[derive(serde::Deserialize)]
    struct Status {
        status: String,
    }
    let status: Status = qmp.execute("query-status", Value::Null).await?;
    Ok(status.status == "running" && *qmp.run_state().borrow() != RunState::Unreachable)
}
