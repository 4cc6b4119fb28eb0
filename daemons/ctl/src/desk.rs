//! One run of a verb that asks `kvmd`: which appliance, and how what it tells is written.

use std::io::{IsTerminal as _, Read as _};

use serde_json::Value;

use crate::face::{Call, Face};
use crate::{Console, Exit, Failure, reach::usage, session, shown};

/// A verb at work.
pub(crate) struct Desk<'a, 'b> {
    pub(crate) face: Face,
    /// Results are JSON.
    pub(crate) json: bool,
    pub(crate) console: &'a mut Console<'b>,
}

impl Desk<'_, '_> {
    /// Asks, and shows what is told.
    pub(crate) fn show(&mut self, call: Call, human: impl FnOnce(&Value) -> String) -> Result<Exit, Failure> {
        let told = self.face.ask(call)?;
        self.write(&told, human)
    }

    /// Gives an order. Done, there is nothing to say to people.
    pub(crate) fn order(&mut self, call: Call) -> Result<Exit, Failure> {
        self.show(call, |_| String::new())
    }

    /// Gives an order that has to say something.
    pub(crate) fn order_with(&mut self, call: Call, why: &str) -> Result<Exit, Failure> {
        if call.has_parameters() { self.order(call) } else { Err(usage(why)) }
    }

    /// Does what takes its time by one session where a password shows who asks: with a one-time code it is good for a minute.
    pub(crate) fn in_session(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<Exit, Failure>,
    ) -> Result<Exit, Failure> {
        let session = session::open(&mut self.face)?;
        let done = work(self);
        if let Some(session) = session {
            // It would end by itself, later.
            let _ = self.face.ask(Call::delete(session));
        }
        done
    }

    /// Writes a result.
    pub(crate) fn write(
        &mut self,
        told: &Value,
        human: impl FnOnce(&Value) -> String,
    ) -> Result<Exit, Failure> {
        if self.json {
            writeln!(self.console.out, "{}", shown::json(&format!("{told:#}")))?;
        } else {
            self.console.out.write_all(human(told).as_bytes())?;
        }
        Ok(Exit::Good)
    }

    /// Shows how something gets on, where somebody looks.
    pub(crate) fn progress(&mut self, text: &str) -> Result<(), Failure> {
        progress(self.json, self.console, text)
    }
}

/// Writes one result of many, at once.
pub(crate) fn write_line(
    json: bool,
    console: &mut Console<'_>,
    told: &Value,
    human: impl FnOnce(&Value) -> String,
) -> Result<(), Failure> {
    if json {
        writeln!(console.out, "{}", shown::json(&told.to_string()))?;
    } else {
        console.out.write_all(human(told).as_bytes())?;
    }
    Ok(console.out.flush()?)
}

/// Shows how something gets on, where somebody looks; empty, it takes that away again.
pub(crate) fn progress(json: bool, console: &mut Console<'_>, text: &str) -> Result<(), Failure> {
    if !json && std::io::stderr().is_terminal() {
        write!(console.err, "\r\x1b[K{text}")?;
        console.err.flush()?;
    }
    Ok(())
}

/// What is piped in, which must not be longer.
pub(crate) fn piped(most: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        return Err(anyhow::anyhow!("standard input has more than {most} bytes").into());
    }
    Ok(bytes)
}
