//! What can be asked of the keyboard and mouse.

use hid_wire::{Button, Key, deltas};

/// One thing done at the keyboard or a mouse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A key goes down or up.
    Key {
        /// Which.
        key: Key,
        /// Down, or up.
        pressed: bool,
        /// With a press: release it at once. Ordinary keys only, see [`hid_wire::Keyboard::event`].
        finish: bool,
    },
    /// A mouse button goes down or up.
    Button {
        /// Which.
        button: Button,
        /// Down, or up.
        pressed: bool,
    },
    /// The pointer goes to a place: (-32768, -32768) is the upper left corner. Nothing happens in relative mode.
    Move {
        /// To the right.
        x: i16,
        /// Downwards.
        y: i16,
    },
    /// The pointer moves by some distances. Nothing happens in absolute mode.
    Relative {
        /// Right and down are positive; -128 counts as -127.
        deltas: Vec<(i8, i8)>,
        /// Add them up where the sum fits a report.
        squash: bool,
    },
    /// The wheels turn.
    Wheel {
        /// To the side, and up; -128 counts as -127.
        deltas: Vec<(i8, i8)>,
        /// Add them up where the sum fits a report.
        squash: bool,
    },
}

impl Event {
    /// Deltas taken from one event; what is beyond is cut off. A browser sends a few dozen at most.
    pub const MAX_DELTAS: usize = 1024;

    /// Reports that movements may need that have become one.
    const MERGED_DELTAS: usize = 8;

    pub(crate) fn bounded(mut self) -> Self {
        if let Self::Relative { deltas, .. } | Self::Wheel { deltas, .. } = &mut self {
            deltas.truncate(Self::MAX_DELTAS);
            deltas.shrink_to_fit();
        }
        self
    }

    /// Takes a movement in that follows this one; false if that cannot be. What would take more than
    /// [`Self::MERGED_DELTAS`] reports is lost.
    pub(crate) fn absorb(&mut self, next: &Self) -> bool {
        match (self, next) {
            (this @ Self::Move { .. }, Self::Move { .. }) => this.clone_from(next),
            (Self::Relative { deltas: list, squash }, Self::Relative { deltas: more, .. }) => {
                let room = list.len().max(Self::MERGED_DELTAS);
                list.extend(more.iter().take(Self::MAX_DELTAS));
                *list = deltas(list, true).take(room).collect();
                *squash = false;
            }
            _ => return false,
        }
        true
    }

    pub(crate) fn is_of_mouse(&self) -> bool {
        !matches!(self, Self::Key { .. })
    }
}

/// How the mouse is connected. A link offers a few of these; the others are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MouseOutput {
    /// USB, absolute.
    Usb,
    /// USB, absolute with doubled coordinates.
    UsbWin98,
    /// USB, relative.
    UsbRel,
    /// PS/2, relative.
    Ps2,
    /// Not at all.
    Disabled,
}

impl MouseOutput {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Usb, Self::UsbWin98, Self::UsbRel, Self::Ps2, Self::Disabled];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Usb => "usb",
            Self::UsbWin98 => "usb_win98",
            Self::UsbRel => "usb_rel",
            Self::Ps2 => "ps2",
            Self::Disabled => "disabled",
        }
    }

    /// The output of this name; case counts.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|output| output.name() == name)
    }
}
