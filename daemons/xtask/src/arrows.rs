//! Which crate may know which: the layers, and the order inside of them.
//!
//! A crate may use crates of lower layers, and inside its own layer those to its left. Dev-dependencies are free.

use crate::workspace::Crate;

/// The layers from the bottom up, each from left to right. Names of crates that are not born yet may stand here.
const LAYERS: [(&str, &[&str]); 6] = [
    ("wire", &["hid-wire", "edid", "nal", "rfb-wire", "ipmi-wire", "model"]),
    ("sys", &["sys"]),
    ("plumbing", &["config", "life", "journal", "auth", "frames", "gadget", "vm", "client"]),
    ("device", &["encode", "capture", "gpio", "atx", "hid", "msd", "info", "ocr", "update"]),
    ("daemon", &["supervisor", "api", "streamer", "media", "vnc", "ipmi", "ctl"]),
    ("tool", &["xtask", "testkit"]),
];

/// Crates a whole layer must not use although an arrow would be allowed, and why.
const BANS: [(&str, &[&str], &str); 2] = [
    ("wire", &["tokio", "mio", "nix", "libc", "actix-web"], "a wire crate is bytes in, bytes out"),
    (
        "device",
        &["config", "model", "actix-web"],
        "a device knows neither settings files nor the wire's shapes",
    ),
];

/// Where a crate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    layer: usize,
    column: usize,
}

fn place(name: &str) -> Option<Place> {
    LAYERS.iter().enumerate().find_map(|(layer, (_, names))| {
        names.iter().position(|known| *known == name).map(|column| Place { layer, column })
    })
}

fn layer_name(place: Place) -> &'static str {
    LAYERS[place.layer].0
}

/// Everything that is wrong with the arrows between `crates`, one line each.
pub(crate) fn check(crates: &[Crate]) -> Vec<String> {
    let mut problems = Vec::new();
    for member in crates {
        let Some(from) = place(&member.name) else {
            problems.push(format!("{}: is in no layer; a new crate is written into arrows.rs", member.name));
            continue;
        };
        for used in &member.uses {
            if let Some(to) = place(used).filter(|_| crates.iter().any(|other| other.name == *used)) {
                problems.extend(wrong(&member.name, from, used, to));
            }
            for (_, banned, why) in BANS.iter().filter(|(layer, ..)| *layer == layer_name(from)) {
                if banned.contains(&used.as_str()) {
                    problems.push(format!("{} -> {used}: {why}", member.name));
                }
            }
        }
    }
    problems
}

fn wrong(name: &str, from: Place, used: &str, to: Place) -> Option<String> {
    if to < from {
        return None;
    }
    let (layer, other) = (layer_name(from), layer_name(to));
    Some(if from.layer == to.layer {
        format!("{name} -> {used}: inside {layer}, a crate uses only those to its left")
    } else {
        format!("{name} -> {used}: {layer} is below {other}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn graph(arrows: &[(&str, &[&str])]) -> Vec<Crate> {
        arrows
            .iter()
            .map(|(name, uses)| Crate {
                name: (*name).to_owned(),
                root: std::path::PathBuf::new(),
                uses: uses.iter().map(|used| (*used).to_owned()).collect(),
            })
            .collect()
    }

    #[test]
    fn arrows_down_and_to_the_left_are_right() {
        let crates = graph(&[
            ("hid-wire", &["xkeysym"]),
            ("sys", &["nix", "libc"]),
            ("vm", &["rfb-wire", "sys", "tokio"]),
            ("rfb-wire", &[]),
            ("hid", &["hid-wire", "vm"]),
            ("api", &["hid", "vm", "config"]),
            ("config", &[]),
            ("testkit", &["api"]),
        ]);
        assert_eq!(check(&crates), Vec::<String>::new());
    }

    #[test]
    fn every_wrong_arrow_is_told() {
        let crates = graph(&[
            ("hid-wire", &["sys", "tokio"]),
            ("sys", &[]),
            ("vm", &["client", "hid"]),
            ("client", &[]),
            ("hid", &["config"]),
            ("config", &["config"]),
            ("brand-new", &[]),
        ]);
        assert_eq!(
            check(&crates),
            [
                "hid-wire -> sys: wire is below sys",
                "hid-wire -> tokio: a wire crate is bytes in, bytes out",
                "vm -> client: inside plumbing, a crate uses only those to its left",
                "vm -> hid: plumbing is below device",
                "hid -> config: a device knows neither settings files nor the wire's shapes",
                "config -> config: inside plumbing, a crate uses only those to its left",
                "brand-new: is in no layer; a new crate is written into arrows.rs",
            ]
        );
    }

    #[test]
    fn a_foreign_crate_of_a_name_of_ours_is_not_ours() {
        // `gadget` is not a member here, so the name means somebody else's crate.
        assert_eq!(check(&graph(&[("config", &["gadget"])])), Vec::<String>::new());
    }

    #[test]
    fn no_name_stands_twice() {
        let names: Vec<_> = LAYERS.iter().flat_map(|(_, names)| names.iter()).collect();
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(names.len(), distinct.len());
    }

    proptest! {
        /// What passes has no cycle: the places along any path only fall.
        #[test]
        fn of_two_crates_at_most_one_may_use_the_other(left in 0_usize..40, right in 0_usize..40) {
            let names: Vec<_> = LAYERS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
            let (left, right) = (names[left % names.len()], names[right % names.len()]);
            prop_assume!(left != right);
            prop_assert!(!check(&graph(&[(left, &[right]), (right, &[left])])).is_empty());
        }
    }
}
