//! The two places a release can be in.

use std::fmt;

/// One of the two places a release can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// `boot_a` and `root_a`.
    A,
    /// `boot_b` and `root_b`.
    B,
}

impl Slot {
    /// As it is written everywhere: in the boot choice, on the kernel's command line, as RAUC's `bootname`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The slot of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The slot that runs, by the kernel's command line (`kvmd.slot=a`); `None` where this is no image.
    #[must_use]
    pub fn of_command_line(line: &str) -> Option<Self> {
        line.split_ascii_whitespace().rev().find_map(|word| Self::parse(word.strip_prefix("kvmd.slot=")?))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_slot_is_what_the_last_word_about_it_says() {
        for (line, slot) in [
            ("console=ttyS0 kvmd.slot=a rauc.slot=a quiet\n", Some(Slot::A)),
            ("kvmd.slot=a kvmd.slot=b", Some(Slot::B)),
            ("kvmd.slot=c xkvmd.slot=a", None),
            ("root=/dev/sda1", None),
            ("", None),
        ] {
            assert_eq!(Slot::of_command_line(line), slot, "{line}");
        }
    }
}
