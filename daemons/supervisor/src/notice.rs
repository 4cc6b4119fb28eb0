//! What children say of themselves: the receiving side of sd_notify(3), one socket a child.
//!
//! A socket is made anew for every start, so that words of a dead predecessor are never taken for the new one's;
//! it belongs to the child's user, so that nobody else can speak for it. What would move our trust elsewhere
//! (`MAINPID=`, `FDSTORE=`) is not listened to.

/// One thing said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// `READY=1`
    Ready,
    /// `WATCHDOG=1`
    Alive,
    /// `STOPPING=1`
    Stopping,
    /// `STATUS=…`, cut to [`LONGEST_TEXT`] characters.
    Text(String),
}

/// Longest datagram listened to, in bytes.
pub const LONGEST: usize = 4096;
/// Longest status text kept, in characters.
const LONGEST_TEXT: usize = 200;

/// What a datagram says, each thing once (the first time); what we do not know is skipped.
pub fn parse(datagram: &[u8]) -> Vec<Notice> {
    let mut said: Vec<Notice> = Vec::new();
    let text = String::from_utf8_lossy(datagram);
    let notices = text.lines().filter_map(notice);
    // A datagram has room for hundreds of words, and each costs the supervisor a turn.
    for notice in notices {
        if !said.iter().any(|have| std::mem::discriminant(have) == std::mem::discriminant(&notice)) {
            said.push(notice);
        }
    }
    said
}

fn notice(line: &str) -> Option<Notice> {
    match line.split_once('=')? {
        ("READY", "1") => Some(Notice::Ready),
        ("WATCHDOG", "1") => Some(Notice::Alive),
        ("STOPPING", "1") => Some(Notice::Stopping),
        ("STATUS", text) => {
            Some(Notice::Text(text.chars().filter(|one| !one.is_control()).take(LONGEST_TEXT).collect()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_datagram_may_say_several_things() {
        assert_eq!(
            parse(b"READY=1\nSTATUS=2 clients\nMAINPID=1\nWATCHDOG=trigger\nWATCHDOG=1"),
            [Notice::Ready, Notice::Text("2 clients".into()), Notice::Alive]
        );
    }

    #[test]
    fn a_datagram_full_of_one_word_says_it_once() {
        let text = "WATCHDOG=1\n".repeat(LONGEST / 11) + "STATUS=a\nSTATUS=b";
        assert_eq!(parse(text.as_bytes()), [Notice::Alive, Notice::Text("a".into())]);
    }

    proptest! {
        #[test]
        fn nothing_said_panics_or_grows(bytes in proptest::collection::vec(any::<u8>(), 0..LONGEST)) {
            prop_assert!(parse(&bytes).len() <= 4);
            for notice in parse(&bytes) {
                if let Notice::Text(text) = notice {
                    prop_assert!(text.chars().count() <= LONGEST_TEXT);
                }
            }
        }
    }
}
