//! The keymap files we ship: the US one is what the key table makes, the others say nothing we cannot use.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hid_wire::Keymap;

fn shipped() -> BTreeMap<String, String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rootfs-overlay/usr/share/kvmd/keymaps");
    let files = fs::read_dir(dir).unwrap().map(Result::unwrap);
    files
        .map(|file| (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap()))
        .collect()
}

#[test]
fn the_shipped_us_keymap_is_the_generated_one() {
    assert_eq!(shipped()["en-us"], Keymap::builtin_file());
}

#[test]
fn every_shipped_keymap_is_understood_whole() {
    let shipped = shipped();
    assert_eq!(shipped.len(), 36, "the names clients know");
    for (name, text) in &shipped {
        assert_eq!(Keymap::parse(text).problems(), [], "{name}");
    }
}

#[test]
fn layouts_of_latin_script_type_all_of_printable_ascii() {
    let ascii: String = (' '..='~').chain(['\n', '\t']).collect();
    for (name, text) in &shipped() {
        let missing: String =
            Keymap::parse(text).untypable(&ascii).iter().map(|found| found.character).collect();
        let expected = match name.as_str() {
            "ar" | "mk" | "ru" | "th" => continue,
            _ => "",
        };
        assert_eq!(missing, expected, "{name}");
    }
}

#[test]
fn a_russian_keyboard_does_not_pretend_to_type_latin_letters() {
    let russian = Keymap::parse(&shipped()["ru"]);
    let untypable = russian.untypable("ещё раз: ls -l\n");
    assert_eq!(untypable.iter().map(|found| found.character).collect::<String>(), "ls");
}
