//! Linux event codes and QEMU's names (`QKeyCode` of its schema) of the keys a client can name.

/// Modifiers first: they do the most harm when they stay down.
#[rustfmt::skip]
const KEYS: [(u16, &str); 126] = [
    (29, "ctrl"), (42, "shift"), (56, "alt"), (125, "meta_l"), (97, "ctrl_r"),
    (54, "shift_r"), (100, "alt_r"), (126, "meta_r"), (30, "a"), (48, "b"),
    (46, "c"), (32, "d"), (18, "e"), (33, "f"), (34, "g"),
    (35, "h"), (23, "i"), (36, "j"), (37, "k"), (38, "l"),
    (50, "m"), (49, "n"), (24, "o"), (25, "p"), (16, "q"),
    (19, "r"), (31, "s"), (20, "t"), (22, "u"), (47, "v"),
    (17, "w"), (45, "x"), (21, "y"), (44, "z"), (2, "1"),
    (3, "2"), (4, "3"), (5, "4"), (6, "5"), (7, "6"),
    (8, "7"), (9, "8"), (10, "9"), (11, "0"), (28, "ret"),
    (1, "esc"), (14, "backspace"), (15, "tab"), (57, "spc"), (12, "minus"),
    (13, "equal"), (26, "bracket_left"), (27, "bracket_right"), (43, "backslash"), (39, "semicolon"),
    (40, "apostrophe"), (41, "grave_accent"), (51, "comma"), (52, "dot"), (53, "slash"),
    (58, "caps_lock"), (59, "f1"), (60, "f2"), (61, "f3"), (62, "f4"),
    (63, "f5"), (64, "f6"), (65, "f7"), (66, "f8"), (67, "f9"),
    (68, "f10"), (87, "f11"), (88, "f12"), (99, "print"), (70, "scroll_lock"),
    (119, "pause"), (110, "insert"), (102, "home"), (104, "pgup"), (111, "delete"),
    (107, "end"), (109, "pgdn"), (106, "right"), (105, "left"), (108, "down"),
    (103, "up"), (69, "num_lock"), (98, "kp_divide"), (55, "kp_multiply"), (74, "kp_subtract"),
    (78, "kp_add"), (96, "kp_enter"), (79, "kp_1"), (80, "kp_2"), (81, "kp_3"),
    (75, "kp_4"), (76, "kp_5"), (77, "kp_6"), (71, "kp_7"), (72, "kp_8"),
    (73, "kp_9"), (82, "kp_0"), (83, "kp_decimal"), (86, "less"), (438, "compose"),
    (116, "power"), (183, "f13"), (184, "f14"), (185, "f15"), (186, "f16"),
    (187, "f17"), (188, "f18"), (189, "f19"), (190, "f20"), (191, "f21"),
    (192, "f22"), (193, "f23"), (194, "f24"), (113, "audiomute"), (115, "volumeup"),
    (114, "volumedown"), (89, "ro"), (90, "katakanahiragana"), (124, "yen"), (92, "henkan"),
    (94, "muhenkan"),
];

/// QEMU's name of the key with this Linux event code.
#[must_use]
pub fn qcode(evdev: u16) -> Option<&'static str> {
    KEYS.iter().find(|(code, _)| *code == evdev).map(|(_, name)| *name)
}

/// Every name, modifiers first.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_code_and_no_name_stands_for_two_keys() {
        let codes: HashSet<u16> = KEYS.iter().map(|(code, _)| *code).collect();
        let names: HashSet<&str> = all().collect();
        assert_eq!((codes.len(), names.len()), (KEYS.len(), KEYS.len()));
    }

    #[test]
    fn keys_whose_names_differ_most_are_the_right_ones() {
        assert_eq!(qcode(28), Some("ret"));
        assert_eq!(qcode(57), Some("spc"));
        assert_eq!(qcode(438), Some("compose"));
        assert_eq!(qcode(86), Some("less"));
        assert_eq!(qcode(0), None);
    }
}
