//! What a bundle says of itself, as `rauc info --output-format=json` tells it, and whether it may be installed.
//!
//! RAUC has checked the signature when it tells anything: an answer is an answer about a bundle of somebody we trust.

use serde::Deserialize;

use crate::Release;
use crate::version::{NoVersion, Version};

/// Longest answer that is read.
pub const LONGEST: usize = 256 * 1024;

/// The images a release consists of, by RAUC's slot class.
const PARTS: [&str; 2] = ["rootfs", "boot"];

/// What a bundle says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Which systems it is for.
    pub compatible: String,
    /// Its version.
    pub version: String,
    /// A line for people.
    pub description: Option<String>,
    /// Which slots it fills, by class.
    pub parts: Vec<String>,
}

/// Why a bundle is not installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is cut off, altered, or not a bundle at all.
    #[error("this is no whole update bundle: {0}")]
    NoBundle(String),
    /// Nobody we trust has signed it.
    #[error("this bundle is signed by nobody this system trusts: {0}")]
    Signature(String),
    /// It is for another board.
    #[error("this bundle is for {bundle}, and this system is {ours}")]
    Board {
        /// What the bundle is for.
        bundle: String,
        /// What we are.
        ours: String,
    },
    /// It is older than may be installed here.
    #[error("this bundle brings {version}, and nothing older than {floor} may be installed here")]
    TooOld {
        /// What the bundle brings.
        version: String,
        /// The oldest that may be installed.
        floor: String,
    },
    /// What it brings has no version to compare.
    #[error(transparent)]
    Version(#[from] NoVersion),
    /// It does not bring what a release consists of.
    #[error("this bundle brings no {0}")]
    Part(&'static str),
}

#[derive(Deserialize)]
struct Told {
    compatible: Option<String>,
    version: Option<String>,
    description: Option<String>,
    #[serde(default)]
    images: Vec<serde_json::Map<String, serde_json::Value>>,
}

impl Bundle {
    /// Reads RAUC's answer.
    ///
    /// # Errors
    ///
    /// [`Unfit::NoBundle`] when it is not one.
    pub fn parse(json: &[u8]) -> Result<Self, Unfit> {
        let told: Told = serde_json::from_slice(json).map_err(|why| Unfit::NoBundle(why.to_string()))?;
        let text = |text: Option<String>| short(&text.unwrap_or_default());
        Ok(Self {
            compatible: text(told.compatible),
            version: text(told.version),
            description: told.description.map(|text| short(&text)).filter(|text| !text.is_empty()),
            // Each image is an object with the class as its only key.
            parts: told
                .images
                .iter()
                .flat_map(|image| image.keys().map(|class| short(class)))
                .take(16)
                .collect(),
        })
    }

    /// Whether it may be installed over this release.
    ///
    /// # Errors
    ///
    /// See [`Unfit`].
    pub fn fits(&self, release: &Release) -> Result<Version, Unfit> {
        if self.compatible != release.compatible {
            let (bundle, ours) = (self.compatible.clone(), release.compatible.clone());
            return Err(Unfit::Board { bundle, ours });
        }
        let version = Version::parse(&self.version)?;
        if let Some(floor) = release.floor.as_ref().filter(|floor| version < **floor) {
            let (version, floor) = (version.to_string(), floor.to_string());
            return Err(Unfit::TooOld { version, floor });
        }
        match PARTS.into_iter().find(|part| !self.parts.iter().any(|have| have == part)) {
            Some(missing) => Err(Unfit::Part(missing)),
            None => Ok(version),
        }
    }
}

/// What RAUC said when it would not tell anything about a bundle.
#[must_use]
pub fn unreadable(said: &str) -> Unfit {
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("RAUC says nothing");
    let why = short(last);
    let lower = said.to_ascii_lowercase();
    let signature = ["verify error", "self-signed", "self signed", "local issuer", "certificate"];
    let broken = [
        "not a bundle",
        "bundle size",
        "invalid bundle",
        "signature size",
        "failed to parse signature",
        "truncated",
    ];
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    match has(&signature) && !has(&broken) {
        true => Unfit::Signature(why),
        false => Unfit::NoBundle(why),
    }
}

/// One line, not too long.
fn short(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { ' ' } else { one }).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As RAUC 1.8 and 1.13 print it.
    const TOLD: &str = r#"{"compatible":"kvmd-qemu-x86_64","version":"0.2.0","description":null,"build":null,"format":"verity",
        "hooks":[],"hash":"00","images":[{"rootfs":{"variant":null,"filename":"root.squashfs","checksum":"11","size":4096,
        "hooks":[],"adaptive":[]}},{"boot":{"filename":"boot.vfat","checksum":"22","size":512}}]}"#;

    fn release(floor: &str) -> Release {
        let text = format!("VERSION=0.1.0\nBOARD=qemu-x86_64\nCOMPATIBLE=kvmd-qemu-x86_64\nFLOOR={floor}\n");
        Release::parse(&text).unwrap()
    }

    fn bundle() -> Bundle {
        Bundle::parse(TOLD.as_bytes()).unwrap()
    }

    #[test]
    fn what_fits_is_let_in() {
        assert_eq!(bundle().fits(&release("0.2")).unwrap().as_str(), "0.2.0");
        assert_eq!(bundle().parts, ["rootfs", "boot"]);
    }

    #[test]
    fn what_does_not_fit_is_refused_each_with_its_reason() {
        let board = Bundle { compatible: "kvmd-rpi4".into(), ..bundle() };
        let reason = board.fits(&release("0.1")).unwrap_err().to_string();
        assert_eq!(reason, "this bundle is for kvmd-rpi4, and this system is kvmd-qemu-x86_64");
        let reason = bundle().fits(&release("0.2.1")).unwrap_err().to_string();
        assert_eq!(reason, "this bundle brings 0.2.0, and nothing older than 0.2.1 may be installed here");
        let odd = Bundle { version: "latest".into(), ..bundle() };
        assert!(matches!(odd.fits(&release("0.1")), Err(Unfit::Version(_))));
        let half = Bundle { parts: vec!["rootfs".into()], ..bundle() };
        assert_eq!(half.fits(&release("0.1")), Err(Unfit::Part("boot")));
    }

    #[test]
    fn a_foreign_signature_and_a_broken_file_are_told_apart() {
        let foreign = "signature verification failed: Verify error: unable to get local issuer certificate";
        assert!(matches!(unreadable(foreign), Unfit::Signature(_)));
        for broken in ["invalid bundle: bundle size is too small", "Failed to check bundle identifier", ""] {
            assert!(matches!(unreadable(broken), Unfit::NoBundle(_)), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn nothing_told_panics_or_grows(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in "\\PC{0,400}") {
            if let Ok(bundle) = Bundle::parse(&bytes) {
                prop_assert!(bundle.version.chars().count() <= 300);
            }
            prop_assert!(unreadable(&text).to_string().chars().count() < 400);
        }
    }
}
