//! Report descriptors of the three functions, byte for byte as hosts are known to accept them.
//!
//! Boot keyboard: subclass 1, protocol 1. Absolute mouse: 0, 0. Relative (boot) mouse: 1, 2. No report ids. Both mice
//! have the Pointer collection inside the Mouse collection (recovery systems of some hosts look for both), and the
//! absolute axes start at 0 (negative ones do not work with Windows 7).

/// Keyboard: eight modifier bits, a reserved byte, six usages; five lights from the host.
#[rustfmt::skip]
pub const KEYBOARD: [u8; 65] = [
    0x05, 0x01,         // Usage Page (Generic Desktop)
    0x09, 0x06,         // Usage (Keyboard)
    0xa1, 0x01,         // Collection (Application)
    0x05, 0x07,         //   Usage Page (Keyboard)
    0x19, 0xe0,         //   Usage Minimum (0xe0)
    0x29, 0xe7,         //   Usage Maximum (0xe7)
    0x15, 0x00,         //   Logical Minimum (0)
    0x25, 0x01,         //   Logical Maximum (1)
    0x75, 0x01,         //   Report Size (1 bits)
    0x95, 0x08,         //   Report Count (8)
    0x81, 0x02,         //   Input (Data, Variable, Absolute)
    0x95, 0x01,         //   Report Count (1)
    0x75, 0x08,         //   Report Size (8 bits)
    0x81, 0x01,         //   Input (Constant)
    0x95, 0x05,         //   Report Count (5)
    0x75, 0x01,         //   Report Size (1 bits)
    0x05, 0x08,         //   Usage Page (LEDs)
    0x19, 0x01,         //   Usage Minimum (0x1)
    0x29, 0x05,         //   Usage Maximum (0x5)
    0x91, 0x02,         //   Output (Data, Variable, Absolute)
    0x95, 0x01,         //   Report Count (1)
    0x75, 0x03,         //   Report Size (3 bits)
    0x91, 0x01,         //   Output (Constant)
    0x95, 0x06,         //   Report Count (6)
    0x75, 0x08,         //   Report Size (8 bits)
    0x15, 0x00,         //   Logical Minimum (0)
    0x26, 0xff, 0x00,   //   Logical Maximum (255)
    0x05, 0x07,         //   Usage Page (Keyboard)
    0x19, 0x00,         //   Usage Minimum (0x0)
    0x2a, 0xff, 0x00,   //   Usage Maximum (0xff)
    0x81, 0x00,         //   Input (Data, Array)
    0xc0,               // End Collection
];

/// Absolute mouse: eight buttons, X and Y of 16 bits, wheel, horizontal wheel.
#[rustfmt::skip]
pub const ABSOLUTE_MOUSE: [u8; 73] = [
    0x05, 0x01,         // Usage Page (Generic Desktop)
    0x09, 0x02,         // Usage (Mouse)
    0xa1, 0x01,         // Collection (Application)
    0x09, 0x01,         //   Usage (Pointer)
    0xa1, 0x00,         //   Collection (Physical)
    0x05, 0x09,         //     Usage Page (Button)
    0x19, 0x01,         //     Usage Minimum (0x1)
    0x29, 0x08,         //     Usage Maximum (0x8)
    0x15, 0x00,         //     Logical Minimum (0)
    0x25, 0x01,         //     Logical Maximum (1)
    0x95, 0x08,         //     Report Count (8)
    0x75, 0x01,         //     Report Size (1 bits)
    0x81, 0x02,         //     Input (Data, Variable, Absolute)
    0x05, 0x01,         //     Usage Page (Generic Desktop)
    0x09, 0x30,         //     Usage (X)
    0x09, 0x31,         //     Usage (Y)
    0x16, 0x00, 0x00,   //     Logical Minimum (0)
    0x26, 0xff, 0x7f,   //     Logical Maximum (32767)
    0x75, 0x10,         //     Report Size (16 bits)
    0x95, 0x02,         //     Report Count (2)
    0x81, 0x02,         //     Input (Data, Variable, Absolute)
    0x09, 0x38,         //     Usage (Wheel)
    0x15, 0x81,         //     Logical Minimum (-127)
    0x25, 0x7f,         //     Logical Maximum (127)
    0x75, 0x08,         //     Report Size (8 bits)
    0x95, 0x01,         //     Report Count (1)
    0x81, 0x06,         //     Input (Data, Variable, Relative)
    0x05, 0x0c,         //     Usage Page (Consumer)
    0x0a, 0x38, 0x02,   //     Usage (AC Pan)
    0x15, 0x81,         //     Logical Minimum (-127)
    0x25, 0x7f,         //     Logical Maximum (127)
    0x75, 0x08,         //     Report Size (8 bits)
    0x95, 0x01,         //     Report Count (1)
    0x81, 0x06,         //     Input (Data, Variable, Relative)
    0xc0,               //   End Collection
    0xc0,               // End Collection
];

/// Relative mouse: eight buttons, X, Y and wheel of 8 bits, horizontal wheel.
#[rustfmt::skip]
pub const RELATIVE_MOUSE: [u8; 61] = [
    0x05, 0x01,         // Usage Page (Generic Desktop)
    0x09, 0x02,         // Usage (Mouse)
    0xa1, 0x01,         // Collection (Application)
    0x09, 0x01,         //   Usage (Pointer)
    0xa1, 0x00,         //   Collection (Physical)
    0x05, 0x09,         //     Usage Page (Button)
    0x19, 0x01,         //     Usage Minimum (0x1)
    0x29, 0x08,         //     Usage Maximum (0x8)
    0x15, 0x00,         //     Logical Minimum (0)
    0x25, 0x01,         //     Logical Maximum (1)
    0x95, 0x08,         //     Report Count (8)
    0x75, 0x01,         //     Report Size (1 bits)
    0x81, 0x02,         //     Input (Data, Variable, Absolute)
    0x05, 0x01,         //     Usage Page (Generic Desktop)
    0x09, 0x30,         //     Usage (X)
    0x09, 0x31,         //     Usage (Y)
    0x09, 0x38,         //     Usage (Wheel)
    0x15, 0x81,         //     Logical Minimum (-127)
    0x25, 0x7f,         //     Logical Maximum (127)
    0x75, 0x08,         //     Report Size (8 bits)
    0x95, 0x03,         //     Report Count (3)
    0x81, 0x06,         //     Input (Data, Variable, Relative)
    0x05, 0x0c,         //     Usage Page (Consumer)
    0x0a, 0x38, 0x02,   //     Usage (AC Pan)
    0x15, 0x81,         //     Logical Minimum (-127)
    0x25, 0x7f,         //     Logical Maximum (127)
    0x75, 0x08,         //     Report Size (8 bits)
    0x95, 0x01,         //     Report Count (1)
    0x81, 0x06,         //     Input (Data, Variable, Relative)
    0xc0,               //   End Collection
    0xc0,               // End Collection
];

/// Absolute mouse without the horizontal wheel: its reports are 6 bytes long.
pub const ABSOLUTE_MOUSE_WITHOUT_PAN: [u8; 58] = without_pan(&ABSOLUTE_MOUSE);

/// Relative mouse without the horizontal wheel: its reports are 4 bytes long.
pub const RELATIVE_MOUSE_WITHOUT_PAN: [u8; 46] = without_pan(&RELATIVE_MOUSE);

/// Leaves out the items of the horizontal wheel, the last 15 bytes before the two collections end.
const fn without_pan<const LONG: usize, const SHORT: usize>(descriptor: &[u8; LONG]) -> [u8; SHORT] {
    assert!(LONG == SHORT + 15, "the horizontal wheel takes 15 bytes");
    let mut short = [0xc0; SHORT];
    let mut at = 0;
    while at < SHORT - 2 {
        short[at] = descriptor[at];
        at += 1;
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_those_a_host_was_seen_to_receive() {
        let recorded = include_str!("../tests/data/descriptors.txt");
        let mut lines = recorded.lines().filter(|line| !line.starts_with('#'));
        for descriptor in [&KEYBOARD[..], &ABSOLUTE_MOUSE, &RELATIVE_MOUSE] {
            assert_eq!(lines.next(), Some(&*hex::encode(descriptor)));
        }
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn leaving_out_the_horizontal_wheel_keeps_the_rest() {
        assert!(ABSOLUTE_MOUSE_WITHOUT_PAN.ends_with(&[0x95, 1, 0x81, 6, 0xc0, 0xc0]));
        assert!(ABSOLUTE_MOUSE.starts_with(&ABSOLUTE_MOUSE_WITHOUT_PAN[..56]));
        assert!(RELATIVE_MOUSE.starts_with(&RELATIVE_MOUSE_WITHOUT_PAN[..44]));
        assert!(RELATIVE_MOUSE_WITHOUT_PAN.ends_with(&[0x95, 3, 0x81, 6, 0xc0, 0xc0]));
    }
}
