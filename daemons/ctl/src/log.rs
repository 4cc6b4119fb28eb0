//! `kvmctl logs`: what `/api/log` gives; on the appliance itself from the journal when `kvmd` does not answer, because that is
//! when a log is wanted most.

use std::sync::Arc;
use std::time::Duration;

use journal::{Place, Query, Reader, SystemJournal};

use crate::desk::Desk;
use crate::face::Call;
use crate::{Console, Exit, Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// Waits for new lines.
    #[arg(short, long)]
    follow: bool,
    /// Only the last N seconds; 0 = all since the machine started.
    #[arg(long, visible_alias = "seek", value_name = "N", default_value_t = 0)]
    since: u32,
}

pub(crate) fn run(desk: &mut Desk<'_, '_>, layout: &config::Layout, logs: &Logs) -> Result<Exit, Failure> {
    let call = Call::get("/log").with("seek", logs.since).with("follow", u8::from(logs.follow));
    let (local, console) = (desk.face.local, &mut *desk.console);
    let mut shown = false;
    let read = desk.face.copy(call, |piece| {
        shown = true;
        console.out.write_all(piece)?;
        Ok(console.out.flush()?)
    });
    match read {
        Err(failure) if failure.exit == Exit::Unreachable && local && !shown => {
            writeln!(console.err, "{:#}: reading the journal", failure.error)?;
            from_journal(layout, logs, console)
        }
        read => read.map(|()| Exit::Good),
    }
}

fn from_journal(layout: &config::Layout, logs: &Logs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let settings = journal::Settings { place: place(layout), ..journal::Settings::default() };
    let reader = Reader::new(Arc::new(SystemJournal::new(settings)), 1);
    let query = Query { since: Duration::from_secs(logs.since.into()), follow: logs.follow };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let opened = reader.read(query).await;
        let mut records = opened.map_err(|error| Failure::new(Exit::Unreachable, error))?;
        while let Some(record) = records.next().await {
            writeln!(console.out, "{}", journal::format_line(&record?))?;
        }
        Ok(Exit::Good)
    })
}

/// The journal the supervisor started, when there is one; else the machine's.
fn place(layout: &config::Layout) -> Place {
    match Place::from_env() {
        Place::System => {
            let own = layout.state.as_ref().unwrap_or(&layout.var).join("journal");
            if own.is_dir() { Place::Directory(own) } else { Place::System }
        }
        named => named,
    }
}
