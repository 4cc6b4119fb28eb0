//! Characters made of a dead key and another stroke, from the table `compose.txt`: what X11 and Unicode agree about.
//!
//! Left out on purpose: sequences of three strokes, and what a dead key and a space make where systems differ (the acute
//! accent and the diaeresis alone).

include!(concat!(env!("OUT_DIR"), "/compose.rs"));

/// The pairs of a dead key's keysym and a character that make `c`.
pub(super) fn pairs(c: char) -> impl Iterator<Item = (u32, char)> {
    let start = COMPOSE.partition_point(|(result, ..)| *result < c);
    let rest = COMPOSE.get(start..).unwrap_or_default();
    rest.iter().take_while(move |(result, ..)| *result == c).map(|(_, dead, base)| (*dead, *base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_only_of_dead_keys() {
        assert!(COMPOSE.is_sorted_by_key(|(result, ..)| *result));
        assert!(COMPOSE.iter().all(|(_, dead, _)| (0xfe50..=0xfe93).contains(dead)));
    }

    #[test]
    fn pairs_are_found_at_both_ends_of_the_table() {
        for (result, dead, base) in [COMPOSE[0], COMPOSE[COMPOSE.len() - 1], ('é', 0xfe51, 'e')] {
            assert!(pairs(result).any(|pair| pair == (dead, base)), "{result}");
        }
        assert_eq!(pairs('e').count() + pairs('\0').count() + pairs(char::MAX).count(), 0);
    }
}
