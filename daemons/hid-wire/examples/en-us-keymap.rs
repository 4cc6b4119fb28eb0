//! Prints the US layout as a keymap file: how `rootfs-overlay/usr/share/kvmd/keymaps/en-us` is made.

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    io::stdout().write_all(hid_wire::Keymap::builtin_file().as_bytes())
}
