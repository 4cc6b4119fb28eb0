//! Lines of a GPIO chip: the kernel's character device, version 2 of its interface (Linux 5.10).
//!
//! [`watch`] follows inputs by their edges, [`Outputs`] drives outputs. Both name lines by their offset in the chip, and
//! both come back by themselves when the chip does. Whoever drops them lets the lines go; what a line does then is the
//! chip driver's business (a Raspberry Pi may keep its level), so a line that must rest has to be driven there first, and
//! one that must stay has to be held by somebody: [`Outputs::share`] makes a second holder of the same lines.

mod input;
mod output;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use gpiocdev_uapi::v2;

pub use input::{Input, Levels, watch};
pub use output::{Output, Outputs};

/// Lines that fit into one request.
pub const MOST: usize = v2::NUM_LINES_MAX;

fn open_chip(path: &Path) -> io::Result<File> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    OpenOptions::new().read(true).write(true).open(path).map_err(told)
}

fn refused(error: v2::Error) -> io::Error {
    match error {
        v2::Error::Os(errno) => io::Error::from_raw_os_error(errno.0),
        other => io::Error::other(other.to_string()),
    }
}

/// A request for these lines, its configuration still empty.
fn request(consumer: &str, offsets: &[u32]) -> io::Result<v2::LineRequest> {
    let too_many =
        || io::Error::new(io::ErrorKind::InvalidInput, format!("more than {MOST} lines of one chip"));
    let num_lines =
        u32::try_from(offsets.len()).ok().filter(|_| offsets.len() <= MOST).ok_or_else(too_many)?;
    Ok(v2::LineRequest {
        offsets: v2::Offsets::from_slice(offsets),
        consumer: consumer.into(),
        num_lines,
        ..v2::LineRequest::default()
    })
}

/// The values of the first `count` lines of a request.
fn read_all(lines: &File, count: usize) -> io::Result<v2::LineValues> {
    let mut values = v2::LineValues { mask: mask(count), ..v2::LineValues::default() };
    v2::get_line_values(lines, &mut values).map_err(refused)?;
    Ok(values)
}

fn mask(count: usize) -> u64 {
    match count {
        0 => 0,
        count => u64::MAX >> (64 - count.min(64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_a_bit_for_each_line() {
        assert_eq!([0, 1, 2, 63, 64, 65].map(mask), [0, 1, 3, u64::MAX >> 1, u64::MAX, u64::MAX]);
    }

    #[test]
    fn more_lines_than_fit_are_refused() {
        assert!(request("kvmd", &[7; MOST]).is_ok());
        assert!(request("kvmd", &[7; MOST + 1]).is_err());
    }
}
