//! Input reports, as the host reads them.

/// One of the three USB functions that send reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The boot keyboard.
    Keyboard,
    /// The mouse that says where the pointer is.
    AbsoluteMouse,
    /// The mouse that says how far it moved.
    RelativeMouse,
}

impl Device {
    /// All three, in the order of the USB functions.
    pub const ALL: [Self; 3] = [Self::Keyboard, Self::AbsoluteMouse, Self::RelativeMouse];
}

/// One input report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Report {
    /// Modifier bits, zero, six usages.
    Keyboard([u8; 8]),
    /// Buttons, X and Y (little-endian, 0..=32767, twice that for Windows 98), wheel, pan.
    Absolute([u8; 7]),
    /// Buttons, dx, dy, wheel, pan (all signed, -127..=127).
    Relative([u8; 5]),
}

impl Report {
    /// The function that sends it.
    #[must_use]
    pub fn device(&self) -> Device {
        match self {
            Self::Keyboard(_) => Device::Keyboard,
            Self::Absolute(_) => Device::AbsoluteMouse,
            Self::Relative(_) => Device::RelativeMouse,
        }
    }

    /// The bytes as written to the function, with the horizontal wheel.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Keyboard(bytes) => bytes,
            Self::Absolute(bytes) => bytes,
            Self::Relative(bytes) => bytes,
        }
    }

    /// The bytes for a mouse whose descriptor has no horizontal wheel: one fewer. Keyboards are as ever.
    #[must_use]
    pub fn bytes_without_pan(&self) -> &[u8] {
        match self {
            Self::Keyboard(bytes) => bytes,
            Self::Absolute([bytes @ .., _]) => bytes,
            Self::Relative([bytes @ .., _]) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_horizontal_wheel_a_mouse_report_is_one_byte_shorter() {
        assert_eq!(Report::Absolute([1, 2, 3, 4, 5, 6, 7]).bytes_without_pan(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(Report::Relative([1, 2, 3, 4, 5]).bytes_without_pan(), [1, 2, 3, 4]);
        assert_eq!(Report::Keyboard([1; 8]).bytes_without_pan(), [1; 8]);
    }
}
