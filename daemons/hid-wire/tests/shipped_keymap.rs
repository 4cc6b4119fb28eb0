//! The keymap file we ship is the one the key table makes.

use hid_wire::Keymap;

#[test]
fn the_shipped_us_keymap_is_the_generated_one() {
    let shipped = include_str!("../../../rootfs-overlay/usr/share/kvmd/keymaps/en-us");
    assert_eq!(shipped, Keymap::builtin_file());
}
