//! Which file systems are mounted below the storage.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Mount points strictly below `root` in the text of `/proc/self/mountinfo`. Lines that make no sense are skipped.
pub(crate) fn below(root: &Path, mountinfo: &[u8]) -> Vec<PathBuf> {
    let points = mountinfo.split(|byte| *byte == b'\n').filter_map(|line| {
        let field = line.split(|byte| *byte == b' ').nth(4)?;
        Some(PathBuf::from(OsString::from_vec(unescape(field))))
    });
    let mut points = points.filter(|point| point != root && point.starts_with(root)).collect::<Vec<_>>();
    points.sort();
    points.dedup();
    points
}

/// The kernel writes blanks, tabs, newlines and backslashes as `\ooo`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] if first == b'\\' => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            tail => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:3 / /srv/msd ro,nosuid - ext4 /dev/sda3 ro
31 30 0:40 / /srv/msd/nas\\040one/two rw - nfs4 nas:/x rw
32 30 0:41 / /srv/msd/usb rw - vfat /dev/sdb1 rw
33 22 0:42 / /srv/msd2 rw - tmpfs tmpfs rw
32 30 0:41 / /srv/msd/usb rw - vfat /dev/sdb1 rw
garbage
";

    #[test]
    fn only_mounts_strictly_below_the_storage_count() {
        let found = below(Path::new("/srv/msd"), TEXT.as_bytes());
        assert_eq!(found, [PathBuf::from("/srv/msd/nas one/two"), PathBuf::from("/srv/msd/usb")]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = below(Path::new("/"), &text);
        }

        #[test]
        fn what_the_kernel_escapes_comes_back(name in prop::collection::vec(1u8..=255, 1..20)) {
            let escape = |byte: &u8| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                byte => vec![*byte],
            };
            let escaped = name.iter().flat_map(escape).collect::<Vec<_>>();
            prop_assert_eq!(unescape(&escaped), name);
        }
    }
}
