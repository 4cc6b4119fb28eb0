//! A block of variables of a fixed size: GRUB's environment block, and our own of the same shape.
//!
//! A signature line, `NAME=VALUE` lines (a backslash before a backslash or a line end that belongs to the value), and `#`
//! up to the end. GRUB writes single variables into it; those it does not know of, and we do not, stay as they are.

/// The size of a disk's sector: what is inside of one is written whole or not at all.
pub(crate) const SECTOR: usize = 512;

/// A block of variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    signature: &'static str,
    size: usize,
    variables: Vec<(String, String)>,
}

/// GRUB's.
pub(crate) const GRUB: (&str, usize) = ("# GRUB Environment Block\n", 1024);
/// Ours, where there is no GRUB.
pub(crate) const OURS: (&str, usize) = ("# kvmd boot choice\n", SECTOR);

impl Block {
    /// One without variables.
    pub(crate) fn new((signature, size): (&'static str, usize)) -> Self {
        Self { signature, size, variables: Vec::new() }
    }

    /// Reads one; `None` when it is not one, or holds what is no variable.
    pub(crate) fn parse((signature, size): (&'static str, usize), bytes: &[u8]) -> Option<Self> {
        // What follows in a file that is too long is nobody's.
        let mut text = std::str::from_utf8(bytes.get(..size)?).ok()?.strip_prefix(signature)?;
        let mut variables = Vec::new();
        while !text.is_empty() && !text.starts_with('#') {
            let (name, rest) = text.split_once('=')?;
            if name.is_empty() || name.contains(['\n', '\\', '#', '\0']) {
                return None;
            }
            let (value, rest) = value(rest)?;
            variables.push((name.to_owned(), value));
            text = rest;
        }
        text.bytes().all(|byte| byte == b'#').then_some(Self { signature, size, variables })
    }

    /// A variable's value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The same with these variables set; they come first, so that they lie in the first sector.
    pub(crate) fn with(&self, values: &[(&str, &str)]) -> Self {
        let ours = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let others = self.variables.iter().filter(|(name, _)| values.iter().all(|(ours, _)| ours != name));
        Self { variables: ours.chain(others.cloned()).collect(), ..*self }
    }

    /// As it lies on the disk; foreign variables that do not fit are left out.
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut bytes = self.signature.as_bytes().to_vec();
        for (name, value) in &self.variables {
            let line = format!("{name}={}\n", value.replace('\\', "\\\\").replace('\n', "\\\n"));
            if bytes.len() + line.len() <= self.size {
                bytes.extend_from_slice(line.as_bytes());
            }
        }
        bytes.resize(self.size, b'#');
        bytes
    }
}

/// The value up to its line end, and what follows; `None` when it has no end.
fn value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut escaped = false;
    for (at, one) in text.char_indices() {
        match one {
            '\\' if !escaped => escaped = true,
            '\n' if !escaped => return Some((value, text.get(at + 1..)?)),
            other => {
                escaped = false;
                value.push(other);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_block_of_grub_editenv_is_read() {
        let mut bytes =
            b"# GRUB Environment Block\nsaved_entry=0\nkvmd_primary=b\nodd=a\\\\b\\\nc\n".to_vec();
        bytes.resize(1024, b'#');
        let block = Block::parse(GRUB, &bytes).unwrap();
        assert_eq!(block.get("kvmd_primary"), Some("b"));
        assert_eq!(block.get("odd"), Some("a\\b\nc"));
        assert_eq!(block.render(), bytes);
    }

    #[test]
    fn our_variables_lie_in_the_first_sector_whatever_else_there_is() {
        let long = Block::new(GRUB).with(&[("foreign", "x".repeat(700).as_str()), ("kvmd_primary", "a")]);
        let bytes = long.with(&[("kvmd_primary", "b"), ("kvmd_tried", "0")]).render();
        let first = std::str::from_utf8(&bytes[..SECTOR]).unwrap();
        assert!(first.contains("\nkvmd_primary=b\nkvmd_tried=0\n"), "{first}");
        assert_eq!(bytes.len(), 1024);
        assert!(Block::parse(GRUB, &bytes).unwrap().get("foreign").is_some());
    }

    #[test]
    fn what_is_cut_or_foreign_is_no_block() {
        let good = Block::new(GRUB).with(&[("a", "1")]).render();
        assert!(Block::parse(GRUB, &good).is_some());
        assert!(Block::parse(GRUB, &good[..1023]).is_none());
        assert!(Block::parse(GRUB, &[0; 1024]).is_none());
        assert!(Block::parse(GRUB, &[0xff; 1024]).is_none());
        assert!(Block::parse(OURS, &good[..512]).is_none());
        let mut torn = good.clone();
        torn[SECTOR..].fill(0);
        assert!(Block::parse(GRUB, &torn).is_none());
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1100)) {
            let _ = Block::parse(GRUB, &bytes);
            let mut signed = GRUB.0.as_bytes().to_vec();
            signed.extend(bytes);
            signed.resize(1024, b'#');
            if let Some(block) = Block::parse(GRUB, &signed) {
                prop_assert_eq!(Block::parse(GRUB, &block.render()), Some(block));
            }
        }

        #[test]
        fn what_is_written_is_read(values in proptest::collection::vec(("[a-z_]{1,8}", "[ -~\n]{0,12}"), 0..8)) {
            let pairs: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let block = Block::new(GRUB).with(&pairs);
            prop_assert_eq!(Block::parse(GRUB, &block.render()), Some(block));
        }
    }
}
