//! Messages and numbers of RFC 6143 (sections 7.4 to 7.8), and the extensions QEMU registered.

/// The only protocol version spoken here; also the exact greeting.
pub const VERSION: &[u8; 12] = b"RFB 003.008\n";

/// Security type 1: no authentication. The unix socket's file mode is the lock.
pub const SECURITY_NONE: u8 = 1;

/// Pixels as they are: rows of four bytes each.
pub const ENCODING_RAW: i32 = 0;
/// A rectangle to be copied from elsewhere on the screen.
pub const ENCODING_COPY_RECT: i32 = 1;
/// Pseudo-encoding: the screen has a new size, carried in the rectangle's width and height.
pub const ENCODING_DESKTOP_SIZE: i32 = -223;
/// Pseudo-encoding: the server takes [`key_extended`] messages.
pub const ENCODING_EXTENDED_KEY: i32 = -258;
/// Pseudo-encoding: keyboard lights, one byte: scroll 1, num 2, caps 4.
pub const ENCODING_LED_STATE: i32 = -261;

/// A part of the screen, in pixels from the top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// Columns from the left edge.
    pub x: u16,
    /// Rows from the top edge.
    pub y: u16,
    /// Columns covered.
    pub width: u16,
    /// Rows covered.
    pub height: u16,
}

impl Area {
    /// Whether the area lies wholly on a screen of the given size.
    #[must_use]
    pub fn fits(&self, width: u16, height: u16) -> bool {
        u32::from(self.x) + u32::from(self.width) <= u32::from(width)
            && u32::from(self.y) + u32::from(self.height) <= u32::from(height)
    }
}

/// SetPixelFormat: 32 bits per pixel, true colour, little endian, bytes in the order blue, green, red, unused.
#[must_use]
pub fn set_pixel_format_bgrx() -> [u8; 20] {
    [0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]
}

/// SetEncodings, most wanted first. More than 65535 encodings are cut off.
#[must_use]
pub fn set_encodings(encodings: &[i32]) -> Vec<u8> {
    let count = u16::try_from(encodings.len()).unwrap_or(u16::MAX);
    let mut message = vec![2, 0];
    message.extend_from_slice(&count.to_be_bytes());
    for encoding in encodings.iter().take(usize::from(count)) {
        message.extend_from_slice(&encoding.to_be_bytes());
    }
    message
}

/// FramebufferUpdateRequest. Not incremental means: send the area even if nothing changed.
#[must_use]
pub fn update_request(incremental: bool, area: Area) -> [u8; 10] {
    let [x, y, w, h] = [area.x, area.y, area.width, area.height].map(u16::to_be_bytes);
    [3, u8::from(incremental), x[0], x[1], y[0], y[1], w[0], w[1], h[0], h[1]]
}

/// KeyEvent with an X11 keysym.
#[must_use]
pub fn key(pressed: bool, keysym: u32) -> [u8; 8] {
    let k = keysym.to_be_bytes();
    [4, u8::from(pressed), 0, 0, k[0], k[1], k[2], k[3]]
}

/// PointerEvent. `buttons`: bit 0 left, 1 middle, 2 right, 3 wheel up, 4 wheel down.
#[must_use]
pub fn pointer(buttons: u8, x: u16, y: u16) -> [u8; 6] {
    let [x, y] = [x, y].map(u16::to_be_bytes);
    [5, buttons, x[0], x[1], y[0], y[1]]
}

/// QEMU's extended KeyEvent: a keysym and the PC scan code (set 1; E0-prefixed codes as `0x80 | code`).
#[must_use]
pub fn key_extended(pressed: bool, keysym: u32, code: u32) -> [u8; 12] {
    let (k, c) = (keysym.to_be_bytes(), code.to_be_bytes());
    [255, 0, 0, u8::from(pressed), k[0], k[1], k[2], k[3], c[0], c[1], c[2], c[3]]
}

/// ClientCutText without text: means nothing, but counts as activity of the client.
#[must_use]
pub fn cut_text_empty() -> [u8; 8] {
    [6, 0, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_bytes_of_the_standard() {
        let area = Area { x: 0x0102, y: 3, width: 0x0405, height: 6 };
        assert_eq!(update_request(true, area), [3, 1, 1, 2, 0, 3, 4, 5, 0, 6]);
        assert_eq!(set_encodings(&[0, -223]), [2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x21]);
        assert_eq!(key(true, 0xffe3), [4, 1, 0, 0, 0, 0, 0xff, 0xe3]);
        assert_eq!(pointer(1, 258, 3), [5, 1, 1, 2, 0, 3]);
        assert_eq!(key_extended(true, 0x61, 0x1e), [255, 0, 0, 1, 0, 0, 0, 0x61, 0, 0, 0, 0x1e]);
    }

    #[test]
    fn an_area_over_the_edge_does_not_fit_even_near_the_number_range() {
        let area = Area { x: u16::MAX, y: 0, width: 2, height: 1 };
        assert!(!area.fits(u16::MAX, 10));
        assert!(Area { x: 8, y: 8, width: 2, height: 2 }.fits(10, 10));
        assert!(!Area { x: 8, y: 9, width: 2, height: 2 }.fits(10, 10));
    }
}
