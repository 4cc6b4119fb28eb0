//! The workspace's crates and what they depend on, as cargo tells.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value as Json;

/// A crate of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Crate {
    pub(crate) name: String,
    /// Its directory.
    pub(crate) root: PathBuf,
    /// Names of the crates it uses, dev-dependencies left out, on any platform and with any feature.
    pub(crate) uses: Vec<String>,
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/")).to_owned()
}

/// Asks cargo.
pub(crate) fn read() -> Result<Vec<Crate>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(["metadata", "--no-deps", "--format-version", "1"]).output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    parse(&serde_json::from_slice(&output.stdout)?)
}

fn parse(metadata: &Json) -> Result<Vec<Crate>> {
    let packages = metadata["packages"].as_array().context("no packages")?;
    packages
        .iter()
        .map(|package| member(package).with_context(|| format!("package {}", package["name"])))
        .collect()
}

fn member(package: &Json) -> Result<Crate> {
    let manifest = PathBuf::from(package["manifest_path"].as_str().context("no manifest_path")?);
    let dependencies = package["dependencies"].as_array().context("no dependencies")?;
    let mut uses: Vec<_> = dependencies
        .iter()
        .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
        .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
        .collect();
    uses.sort();
    uses.dedup();
    Ok(Crate {
        name: package["name"].as_str().context("no name")?.to_owned(),
        root: manifest.parent().context("no directory")?.to_owned(),
        uses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dev_dependencies_are_free() {
        let metadata = serde_json::json!({"packages": [{
            "name": "hid",
            "manifest_path": "/r/daemons/hid/Cargo.toml",
            "dependencies": [
                {"name": "vm", "kind": null},
                {"name": "testkit", "kind": "dev"},
                {"name": "cc", "kind": "build"},
            ],
        }]});
        let crates = parse(&metadata).unwrap();
        assert_eq!(crates[0].uses, ["cc", "vm"]);
        assert_eq!(crates[0].root, PathBuf::from("/r/daemons/hid"));
    }
}
