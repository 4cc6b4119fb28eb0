//! The mailbox of a Raspberry Pi's firmware: one property asked for through `/dev/vcio`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Words of a message: its length, its kind, one tag with a value of one word, the end mark.
const WORDS: usize = 7;
/// What the second word is when the firmware has understood.
const UNDERSTOOD: u32 = 0x8000_0000;

/// Aligned as the firmware wants it.
#[repr(C, align(16))]
struct Message([u32; WORDS]);

/// Asks for a property whose value is one word.
///
/// # Errors
///
/// What the kernel says (`ENOTTY` for anything but the mailbox); `InvalidData` when the firmware does not know the tag.
#[expect(unsafe_code, reason = "an ioctl of one board's kernel only")]
pub fn property(mailbox: impl AsFd, tag: u32) -> io::Result<u32> {
    let mut message = question(tag);
    // `_IOWR(100, 0, char *)`: the size of a pointer is part of the number.
    let number = (3 << 30) | (size_of::<*const u8>() << 16) | (100 << 8);
    // SAFETY: the kernel copies the message in and out by the length its first word says, which is the length of
    // the array, borrowed exclusively for the call.
    match unsafe { libc::ioctl(mailbox.as_fd().as_raw_fd(), number as _, message.0.as_mut_ptr()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => answer(&message),
    }
}

fn question(tag: u32) -> Message {
    // Lengths in bytes: the whole message, the value's room, the value's length in the request.
    Message([28, 0, tag, 4, 0, 0, 0])
}

fn answer(message: &Message) -> io::Result<u32> {
    match message.0 {
        [_, UNDERSTOOD, _, _, said, value, _] if said & UNDERSTOOD != 0 => Ok(value),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the firmware does not know this property")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_only_where_the_firmware_has_understood() {
        let mut message = question(0x0003_0046);
        assert_eq!(size_of_val(&message.0), 28);
        answer(&message).unwrap_err();
        message.0[1] = UNDERSTOOD;
        answer(&message).unwrap_err();
        (message.0[4], message.0[5]) = (UNDERSTOOD | 4, 0x5_0005);
        assert_eq!(answer(&message).unwrap(), 0x5_0005);
    }

    #[test]
    fn what_is_no_mailbox_says_so() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(property(&null, 0x0003_0046).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }
}
