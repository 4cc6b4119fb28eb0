//! Feature reports of HID devices: the ioctls of `/dev/hidrawN`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Longest report we exchange; the kernel allows 16 KiB.
pub const LONGEST: usize = 64;

/// `_IOC(_IOC_WRITE | _IOC_READ, 'H', number, len)`: the length of the buffer is part of the number.
fn request(number: u32, len: usize) -> io::Result<libc::c_ulong> {
    let len = u32::try_from(len).ok().filter(|_| (1..=LONGEST).contains(&len));
    let len =
        len.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a feature report of 1 to 64 bytes"))?;
    Ok(libc::c_ulong::from((3 << 30) | (len << 16) | (u32::from(b'H') << 8) | number))
}

/// Sends a feature report (HIDIOCSFEATURE). The first byte is the report's number, 0 for a device without numbers.
///
/// # Errors
///
/// `InvalidInput` for a bad length; what the kernel says: `ENODEV` when the device is gone, `EPIPE` when it refuses.
#[expect(unsafe_code, reason = "neither std nor nix wraps hidraw")]
pub fn set_feature(device: impl AsFd, report: &[u8]) -> io::Result<()> {
    let number = request(0x06, report.len())?;
    // SAFETY: the kernel reads as many bytes as the request's number says, which is the slice's length.
    match unsafe { libc::ioctl(device.as_fd().as_raw_fd(), number as _, report.as_ptr()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Asks for a feature report (HIDIOCGFEATURE): its number goes in as the first byte of the buffer. Returns how many
/// bytes came.
///
/// # Errors
///
/// As [`set_feature`].
#[expect(unsafe_code, reason = "neither std nor nix wraps hidraw")]
pub fn get_feature(device: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let number = request(0x07, buffer.len())?;
    // SAFETY: the kernel reads one byte and writes at most as many as the request's number says, which is the
    // length of the slice, borrowed exclusively for the call.
    let got = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), number as _, buffer.as_mut_ptr()) };
    usize::try_from(got).map(|got| got.min(buffer.len())).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_kernel_s_header() {
        assert_eq!(request(0x06, 9).unwrap(), 0xC009_4806);
        assert_eq!(request(0x07, 8).unwrap(), 0xC008_4807);
    }

    #[test]
    fn what_is_no_hid_device_says_so_and_odd_lengths_are_refused() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(set_feature(&null, &[0, 1]).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(get_feature(&null, &mut [0; 8]).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(set_feature(&null, &[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(get_feature(&null, &mut [0; 65]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
