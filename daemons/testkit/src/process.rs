//! Processes as `/proc` shows them.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its ID.
    pub pid: u32,
    /// Its command name, cut to 15 characters by the kernel.
    pub name: String,
    /// The letter of its state: `R`, `S`, `D`, `Z`, …
    pub state: char,
    parent: u32,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (begin, end) = (stat.find('(')?, stat.rfind(')')?);
        let mut fields = stat[end + 1..].split_whitespace();
        let state = fields.next()?.chars().next()?;
        Some(Self { pid, name: stat[begin + 1..end].to_owned(), state, parent: fields.next()?.parse().ok()? })
    }

    /// Whether the same process still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.name == self.name && now.state != 'Z')
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// It is gone already, or not ours.
    pub fn kill(&self) -> anyhow::Result<()> {
        Ok(kill(Pid::from_raw(self.pid.try_into()?), Signal::SIGKILL)?)
    }

    /// A line of `/proc/PID/status` by its name.
    #[must_use]
    pub fn status(&self, name: &str) -> Option<String> {
        let status =
            std::fs::read_to_string(Path::new("/proc").join(self.pid.to_string()).join("status")).ok()?;
        status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
    }
}

/// All processes below `pid`, zombies included.
#[must_use]
pub fn descendants(pid: u32) -> Vec<Process> {
    let all: Vec<Process> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| Process::read(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|process| process.parent == parent) {
            parents.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}

pub(crate) fn interrupt(pid: u32) -> anyhow::Result<()> {
    Ok(kill(Pid::from_raw(pid.try_into()?), Signal::SIGINT)?)
}
