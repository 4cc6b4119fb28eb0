//! The five buttons of a mouse.

/// A mouse button. `Up` and `Down` are the side buttons (back and forward), not the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Button {
    /// The first button.
    Left,
    /// The second button.
    Right,
    /// The third button, usually the wheel pressed.
    Middle,
    /// The fourth button: back.
    Up,
    /// The fifth button: forward.
    Down,
}

impl Button {
    /// All buttons, in the order of their bits.
    pub const ALL: [Self; 5] = [Self::Left, Self::Right, Self::Middle, Self::Up, Self::Down];

    /// The button of this name; case does not count.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|button| button.name().eq_ignore_ascii_case(name))
    }

    /// The button of this Linux input event code (`BTN_*`); back and forward are known under two codes each.
    #[must_use]
    pub fn from_evdev(code: u16) -> Option<Self> {
        match code {
            0x110 => Some(Self::Left),
            0x111 => Some(Self::Right),
            0x112 => Some(Self::Middle),
            // BTN_SIDE and BTN_EXTRA are what real mice send for what browsers call back and forward.
            0x113 | 0x116 => Some(Self::Up),
            0x114 | 0x115 => Some(Self::Down),
            _ => None,
        }
    }

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Middle => "middle",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// Its bit in the first byte of a mouse report.
    #[must_use]
    pub fn mask(self) -> u8 {
        match self {
            Self::Left => 1,
            Self::Right => 2,
            Self::Middle => 4,
            Self::Up => 8,
            Self::Down => 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(Button::from_name("LEFT"), Some(Button::Left));
        assert_eq!(Button::from_name("wheel"), None);
    }

    #[test]
    fn numbers_of_the_contract_are_found() {
        let codes = [272, 273, 274, 278, 277];
        assert_eq!(codes.map(Button::from_evdev), Button::ALL.map(Some));
        assert_eq!(Button::from_evdev(0), None);
    }
}
