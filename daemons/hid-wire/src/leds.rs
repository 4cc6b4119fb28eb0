//! The keyboard lights a host sets.

/// Which locks the host shows as on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Leds {
    /// Caps Lock.
    pub caps: bool,
    /// Num Lock.
    pub num: bool,
    /// Scroll Lock.
    pub scroll: bool,
}

impl Leds {
    /// From the output report of the keyboard: bit 0 Num, bit 1 Caps, bit 2 Scroll; the others are ignored.
    #[must_use]
    pub fn from_byte(byte: u8) -> Self {
        Self { num: byte & 1 != 0, caps: byte & 2 != 0, scroll: byte & 4 != 0 }
    }

    /// The output report that sets these lights.
    #[must_use]
    pub fn to_byte(self) -> u8 {
        u8::from(self.num) | u8::from(self.caps) << 1 | u8::from(self.scroll) << 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_num_caps_scroll_and_the_rest_is_ignored() {
        assert_eq!(Leds::from_byte(0xfa), Leds { caps: true, ..Leds::default() });
        for byte in 0..8 {
            assert_eq!(Leds::from_byte(byte | 0xf8).to_byte(), byte);
        }
    }
}
