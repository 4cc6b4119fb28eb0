//! What the machine is called, and where its clock is read.

use std::fs;
use std::io;
use std::path::Path;

use super::Root;
use crate::file;

/// Names of machines that were not given one.
const NONE: [&str; 4] = ["", "kvm", "localhost", "(none)"];
const HOSTNAME: &str = "/etc/hostname";
const LOCALTIME: &str = "/etc/localtime";
const ZONES: &str = "/usr/share/zoneinfo";
/// Where the time zone is when nobody has said.
const UTC: &str = "Etc/UTC";

/// Gives a machine without a name one that no other has: `kvm-` and four random digits, kept from then on. Says whether it
/// did.
///
/// # Errors
///
/// It cannot be written. The machine then keeps the name it has.
pub fn first(root: &Root) -> io::Result<bool> {
    let kept = root.text(HOSTNAME).unwrap_or_default();
    let kept = kept.lines().map(str::trim).find(|line| !line.starts_with('#')).unwrap_or_default();
    if !NONE.contains(&kept) {
        return Ok(false);
    }
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    set(root, &format!("kvm-{}", hex::encode(random)))?;
    Ok(true)
}

/// Calls the machine so, now and from the next start on.
///
/// # Errors
///
/// The kernel's words.
pub fn set(root: &Root, name: &str) -> io::Result<()> {
    file::replace(&root.path(HOSTNAME), format!("{name}\n").as_bytes(), 0o644)?;
    if root.is_live() {
        nix::unistd::sethostname(name)?;
    }
    log::info!("this machine is called {name}");
    Ok(())
}

/// The time zone in force.
#[must_use]
pub fn timezone(root: &Root) -> String {
    let link = fs::read_link(root.path(LOCALTIME)).unwrap_or_default();
    let link = link.to_string_lossy();
    let name = link.split_once("zoneinfo/").map_or("", |(_, name)| name);
    if name.is_empty() { UTC.to_owned() } else { name.to_owned() }
}

/// Whether there is such a time zone.
#[must_use]
pub fn is_timezone(root: &Root, name: &str) -> bool {
    fs::read(root.path(ZONES).join(name)).is_ok_and(|zone| zone.starts_with(b"TZif"))
}

/// Reads the clock there, now and from the next start on. Programs that run already do at their next start.
///
/// # Errors
///
/// The kernel's words.
pub fn set_timezone(root: &Root, name: &str) -> io::Result<()> {
    let (path, new) = (root.path(LOCALTIME), root.path("/etc/localtime.new"));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(Path::new("../usr/share/zoneinfo").join(name), &new)?;
    fs::rename(&new, &path)?;
    file::replace(&root.path("/etc/timezone"), format!("{name}\n").as_bytes(), 0o644)?;
    log::info!("the time zone is {name}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc")).unwrap();
        fs::create_dir_all(dir.path().join("usr/share/zoneinfo/Europe")).unwrap();
        fs::write(dir.path().join("usr/share/zoneinfo/Europe/Berlin"), "TZif2...").unwrap();
        fs::write(dir.path().join("usr/share/zoneinfo/zone.tab"), "text").unwrap();
        let root = Root::new(dir.path());
        (dir, root)
    }

    #[test]
    fn a_machine_without_a_name_gets_one_that_it_keeps() {
        for nameless in [None, Some("kvm\n"), Some("# comment\n\n"), Some("localhost")] {
            let (dir, root) = root();
            if let Some(text) = nameless {
                fs::write(dir.path().join("etc/hostname"), text).unwrap();
            }
            assert!(first(&root).unwrap(), "{nameless:?}");
            let name = root.text(HOSTNAME).unwrap();
            assert!(name.len() == 9 && name.starts_with("kvm-"), "{name}");
            assert!(!first(&root).unwrap());
            assert_eq!(root.text(HOSTNAME).unwrap(), name);
        }
        let (dir, root) = root();
        fs::write(dir.path().join("etc/hostname"), "rack-7\n").unwrap();
        assert!(!first(&root).unwrap());
    }

    #[test]
    fn a_time_zone_is_one_that_is_there() {
        let (_dir, root) = root();
        assert_eq!(timezone(&root), "Etc/UTC");
        assert!(is_timezone(&root, "Europe/Berlin"));
        for bad in ["Europe/Nowhere", "zone.tab", "Europe", ""] {
            assert!(!is_timezone(&root, bad), "{bad}");
        }
        for _ in 0..2 {
            set_timezone(&root, "Europe/Berlin").unwrap();
            assert_eq!(timezone(&root), "Europe/Berlin");
        }
        assert_eq!(root.text("/etc/timezone").unwrap(), "Europe/Berlin\n");
        assert!(is_timezone(&root, "../../../etc/localtime"), "which is why the rule for names comes first");
    }
}
