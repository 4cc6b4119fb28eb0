//! Bundles of the real `rauc`, signed with keys as `scripts/make-keys` makes them: who is trusted, and what is said of the rest.

#![expect(clippy::unwrap_used, reason = "a test says by a panic what is wrong")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use update::{Bundle, Unfit, bundle};

/// A directory with two sets of keys (ours, and a stranger's) and bundles.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    /// `None` where the tools are missing.
    fn new() -> Option<Self> {
        if ["rauc", "openssl", "mksquashfs"]
            .iter()
            .any(|tool| Command::new(tool).arg("--help").output().is_err())
        {
            return None;
        }
        let desk = Self { dir: tempfile::tempdir().unwrap() };
        for keys in ["ours", "strange"] {
            script("make-keys", &[desk.path(keys).as_os_str()]);
        }
        fs::create_dir(desk.path("from")).unwrap();
        for (name, byte) in [("root.squashfs", 1_u8), ("boot.vfat", 2)] {
            let noise: Vec<u8> =
                (0..200_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[1] ^ byte).collect();
            fs::write(desk.path("from").join(name), noise).unwrap();
        }
        Some(desk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bundle(&self, keys: &str, signer: &str) -> PathBuf {
        let out = self.path(&format!("{keys}-{signer}.raucb"));
        let (from, keys) = (self.path("from"), self.path(keys));
        let (key, cert) = (keys.join(format!("{signer}.key")), keys.join(format!("{signer}.pem")));
        let words = ["test-board", "--version", "0.2.0", "--from"].map(AsRef::as_ref);
        let mut args: Vec<&std::ffi::OsStr> = words.to_vec();
        args.extend([from.as_os_str(), "--key".as_ref(), key.as_ref(), "--cert".as_ref(), cert.as_ref()]);
        args.extend(["--out".as_ref(), out.as_os_str()]);
        script("make-update", &args);
        out
    }

    /// What an image says of a bundle that trusts these roots.
    fn told(&self, ring: &Path, bundle: &Path) -> Result<Bundle, Unfit> {
        let conf = self.path("system.conf");
        let image = fs::read_to_string(root().join("rootfs-overlay/usr/lib/rauc/system.conf")).unwrap();
        let image = image
            .replace("@COMPATIBLE@", "kvmd-test-board")
            .replace("@FLOOR@", "0.1.0")
            .replace("/usr/lib/kvmd/keys/ring.pem", &ring.to_string_lossy())
            .replace("/data/rauc", &self.path("rauc").to_string_lossy());
        // Older ones know fewer keys, and refuse those they do not know.
        let known =
            image.lines().filter(|line| !line.starts_with("min-bundle") && !line.starts_with("perform"));
        fs::write(&conf, known.collect::<Vec<_>>().join("\n")).unwrap();
        let Output { status, stdout, stderr } = Command::new("rauc")
            .arg("--conf")
            .arg(conf)
            .args(["info", "--output-format=json"])
            .arg(bundle)
            .output()
            .unwrap();
        match status.success() {
            true => Bundle::parse(&stdout),
            false => Err(bundle::unreadable(&String::from_utf8_lossy(&stderr))),
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn script(name: &str, args: &[&std::ffi::OsStr]) {
    let done = Command::new(root().join("scripts").join(name)).args(args).output().unwrap();
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn bundles_of_both_roots_are_trusted_and_no_others() {
    let Some(desk) = Desk::new() else {
        return testkit::skip("rauc, openssl or mksquashfs is not installed");
    };
    let ring = desk.path("ours/ring.pem");
    let current = desk.bundle("ours", "current");
    let next = desk.bundle("ours", "next");
    for good in [&current, &next] {
        let bundle = desk.told(&ring, good).unwrap();
        assert_eq!((bundle.compatible.as_str(), bundle.version.as_str()), ("kvmd-test-board", "0.2.0"));
        assert_eq!(bundle.parts, ["rootfs", "boot"]);
    }
    let strange = desk.told(&ring, &desk.bundle("strange", "current")).unwrap_err();
    assert!(matches!(strange, Unfit::Signature(_)), "{strange}");

    // The roll-over: a system that was made when "next" had become the only root takes nothing of the old one.
    let rolled = desk.path("ours/next.ca.pem");
    desk.told(&rolled, &next).unwrap();
    assert!(matches!(desk.told(&rolled, &current), Err(Unfit::Signature(_))));

    // What is broken is not called untrusted.
    let whole = fs::read(&current).unwrap();
    let mut altered = whole.clone();
    let signature = altered.len() - 300;
    altered[signature] ^= 0xff;
    for (name, bytes) in [("cut", &whole[..whole.len() / 2]), ("empty", b""), ("text", b"no bundle\n")] {
        fs::write(desk.path(name), bytes).unwrap();
        let why = desk.told(&ring, &desk.path(name)).unwrap_err();
        assert!(matches!(why, Unfit::NoBundle(_)), "{name}: {why}");
    }
    fs::write(desk.path("altered"), altered).unwrap();
    desk.told(&ring, &desk.path("altered")).unwrap_err();
}
