//! Which block device bears a label: udev's links say it, or, where no udev runs, the devices themselves.
//!
//! What is read of a device is its first 2 KiB: ext2 to ext4 and FAT keep label and number there. Others need udev.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Enough for the superblocks we know.
const HEAD: u64 = 2048;
/// More devices than this are not looked at.
const DEVICES: usize = 256;

/// Where devices are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    /// udev's links, `by-label` and others.
    pub links: PathBuf,
    /// The kernel's list of block devices.
    pub class: PathBuf,
    /// The nodes.
    pub nodes: PathBuf,
}

impl Default for Devices {
    fn default() -> Self {
        Self { links: "/dev/disk".into(), class: "/sys/class/block".into(), nodes: "/dev".into() }
    }
}

/// By what a device is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// The file system's label.
    Label,
    /// The file system's number.
    Uuid,
    /// The partition's name.
    PartLabel,
    /// The partition's number.
    PartUuid,
}

impl Tag {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Label, "LABEL=", "by-label"),
        (Self::Uuid, "UUID=", "by-uuid"),
        (Self::PartLabel, "PARTLABEL=", "by-partlabel"),
        (Self::PartUuid, "PARTUUID=", "by-partuuid"),
    ];

    /// `LABEL=x` and the like, as in fstab; `None` for a path.
    #[must_use]
    pub fn parse(text: &str) -> Option<(Self, &str)> {
        Self::ALL.iter().find_map(|(tag, prefix, _)| {
            text.strip_prefix(prefix).map(|value| (*tag, value.trim_matches('"')))
        })
    }

    fn directory(self) -> &'static str {
        Self::ALL.iter().find_map(|(tag, _, dir)| (*tag == self).then_some(*dir)).unwrap_or_default()
    }
}

impl Devices {
    /// The node of the device that bears it; where there is none, the link that would lead to it. Reads devices only
    /// where no udev runs.
    #[must_use]
    pub fn find(&self, tag: Tag, value: &str) -> PathBuf {
        let link = self.links.join(tag.directory()).join(encode(value));
        if link.exists() || self.links.is_dir() {
            return link;
        }
        self.probe(tag, value).unwrap_or(link)
    }

    fn probe(&self, tag: Tag, value: &str) -> Option<PathBuf> {
        let mut names: Vec<_> =
            fs::read_dir(&self.class).ok()?.flatten().take(DEVICES).map(|entry| entry.file_name()).collect();
        names.sort();
        names.iter().find_map(|name| {
            let node = self.nodes.join(name);
            let bears = match tag {
                Tag::Label | Tag::Uuid => {
                    // One without a medium has no size, and is not worth a wait.
                    let size = fs::read_to_string(self.class.join(name).join("size")).ok()?;
                    let head = (size.trim() != "0").then(|| head(&node))??;
                    marks(&head).is_some_and(|marks| match tag {
                        Tag::Label => marks.label == value,
                        _ => marks.uuid.eq_ignore_ascii_case(value),
                    })
                }
                Tag::PartLabel | Tag::PartUuid => {
                    let uevent = fs::read_to_string(self.class.join(name).join("uevent")).ok()?;
                    let key = if tag == Tag::PartLabel { "PARTNAME=" } else { "PARTUUID=" };
                    uevent.lines().any(|line| {
                        line.strip_prefix(key).is_some_and(|found| found.eq_ignore_ascii_case(value))
                    })
                }
            };
            bears.then_some(node)
        })
    }
}

/// udev writes what is unsafe in a link's name as `\xNN`; a label in fstab is written plainly.
fn encode(value: &str) -> String {
    let mut name = String::new();
    for letter in value.chars() {
        if letter.is_ascii() && !letter.is_ascii_alphanumeric() && !"#+-.:=@_".contains(letter) {
            name.push_str(&format!("\\x{:02x}", u32::from(letter)));
        } else {
            name.push(letter);
        }
    }
    name
}

fn head(node: &Path) -> Option<Vec<u8>> {
    let flags = nix::libc::O_NONBLOCK;
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(node).ok()?;
    if !file.metadata().ok()?.file_type().is_block_device() {
        return None;
    }
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head).ok()?;
    Some(head)
}

/// What a file system says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Marks {
    label: String,
    uuid: String,
}

/// From the first bytes of a device.
fn marks(head: &[u8]) -> Option<Marks> {
    extended(head).or_else(|| fat(head))
}

fn extended(head: &[u8]) -> Option<Marks> {
    let block = head.get(1024..)?;
    if block.get(0x38..0x3a)? != [0x53, 0xef] {
        return None;
    }
    let hex = block.get(0x68..0x78)?.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (a, b, c, d, e) =
        (hex.get(..8)?, hex.get(8..12)?, hex.get(12..16)?, hex.get(16..20)?, hex.get(20..)?);
    Some(Marks { label: text(block.get(0x78..0x88)?), uuid: format!("{a}-{b}-{c}-{d}-{e}") })
}

fn fat(head: &[u8]) -> Option<Marks> {
    if head.get(510..512)? != [0x55, 0xaa] {
        return None;
    }
    // FAT12 and FAT16 have their boot record where FAT32 has its larger table.
    let at = if head.get(54..57)? == b"FAT" {
        38
    } else if head.get(82..87)? == b"FAT32" {
        66
    } else {
        return None;
    };
    let number = u32::from_le_bytes(head.get(at + 1..at + 5)?.try_into().ok()?);
    let label = text(head.get(at + 5..at + 16)?);
    Some(Marks { label, uuid: format!("{:04X}-{:04X}", number >> 16, number & 0xffff) })
}

/// Up to the first zero, without the blanks that fill it up.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let field = field.get(..end).unwrap_or_default();
    String::from_utf8_lossy(field).trim_end_matches(' ').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ext4() -> Vec<u8> {
        let mut head = vec![0; 2048];
        head[1024 + 0x38..][..2].copy_from_slice(&[0x53, 0xef]);
        head[1024 + 0x68..][..16].copy_from_slice(&[0x11; 16]);
        head[1024 + 0x78..][..5].copy_from_slice(b"PIMSD");
        head
    }

    #[test]
    fn ext4_says_its_label_and_number() {
        let uuid = "11111111-1111-1111-1111-111111111111".to_owned();
        assert_eq!(marks(&ext4()), Some(Marks { label: "PIMSD".to_owned(), uuid }));
        let mut full = ext4();
        full[1024 + 0x78..][..16].copy_from_slice(b"0123456789abcdef");
        assert_eq!(marks(&full).unwrap().label, "0123456789abcdef");
    }

    #[test]
    fn fat_says_its_label_and_number() {
        for (at, name, kind) in [(38, 54, b"FAT16   "), (66, 82, b"FAT32   ")] {
            let mut head = vec![0; 2048];
            head[510..512].copy_from_slice(&[0x55, 0xaa]);
            head[name..][..8].copy_from_slice(kind);
            head[at + 1..][..4].copy_from_slice(&0x1234_ABCDu32.to_le_bytes());
            head[at + 5..][..11].copy_from_slice(b"PI MSD     ");
            let expected = Marks { label: "PI MSD".to_owned(), uuid: "1234-ABCD".to_owned() };
            assert_eq!(marks(&head), Some(expected));
        }
    }

    #[test]
    fn a_tag_is_told_from_a_path() {
        assert_eq!(Tag::parse("LABEL=PIMSD"), Some((Tag::Label, "PIMSD")));
        assert_eq!(Tag::parse("PARTUUID=\"ab-01\""), Some((Tag::PartUuid, "ab-01")));
        assert_eq!(Tag::parse("/dev/sda1"), None);
    }

    #[test]
    fn where_udev_runs_its_links_are_trusted_and_no_device_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let devices =
            Devices { links: dir.path().to_owned(), class: "/nowhere".into(), nodes: "/nowhere".into() };
        assert_eq!(devices.find(Tag::Label, "a b/c"), dir.path().join("by-label/a\\x20b\\x2fc"));
    }

    #[test]
    fn partitions_are_known_by_what_the_kernel_says_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let class = dir.path().join("class");
        for (name, uevent) in
            [("sda1", "DEVNAME=sda1\nPARTNAME=boot\n"), ("sda2", "PARTUUID=0A-2\nPARTNAME=msd\n")]
        {
            fs::create_dir_all(class.join(name)).unwrap();
            fs::write(class.join(name).join("uevent"), uevent).unwrap();
        }
        let devices = Devices { links: dir.path().join("none"), class, nodes: "/dev".into() };
        assert_eq!(devices.find(Tag::PartLabel, "msd"), Path::new("/dev/sda2"));
        assert_eq!(devices.find(Tag::PartUuid, "0a-2"), Path::new("/dev/sda2"));
        assert_eq!(devices.find(Tag::PartLabel, "no"), dir.path().join("none/by-partlabel/no"));
    }

    proptest! {
        #[test]
        fn no_device_panics(mut head in prop::collection::vec(any::<u8>(), 0..2100), magic in any::<bool>()) {
            if magic && head.len() > 1082 {
                head[1080..1082].copy_from_slice(&[0x53, 0xef]);
            }
            let _ = marks(&head);
        }

        #[test]
        fn a_link_s_name_has_no_slash_and_no_blank(value in any::<String>()) {
            let name = encode(&value);
            prop_assert!(!name.contains('/') && !name.contains(' '));
        }
    }
}
