//! Whether the processor may run the target: asked of the machine, never taken for granted.
//!
//! `/dev/kvm` being there proves little: under nested or paravirtual KVM it opens, and guests die in it. So the
//! kernel's module must be the processor's own, and a guest of one boot sector must come through the firmware.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use crate::account::Accounts;
use crate::file;

/// The modules that drive a processor's own virtualization.
const MODULES: [&str; 2] = ["kvm_intel", "kvm_amd"];
/// What the guest says on its way out.
const WORD: u8 = 0x21;
/// `isa-debug-exit` turns a word into this exit status.
const STATUS: i32 = ((WORD as i32) << 1) | 1;

/// Why the target runs in software, for people.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// No such device, or not for us.
    #[error("/dev/kvm: {0}")]
    Device(io::Error),
    /// Some other thing behind the device.
    #[error("neither kvm_intel nor kvm_amd is behind /dev/kvm")]
    Module,
    /// The guest could not be tried.
    #[error("trying a guest: {0}")]
    Try(io::Error),
    /// The guest did not come through.
    #[error("a guest of one boot sector did not come through ({0})")]
    Guest(String),
}

/// A boot sector that says [`WORD`] and halts.
fn boot_sector() -> Vec<u8> {
    // mov al, WORD; out 0xf4, al; hlt; jmp back to hlt.
    let mut sector = vec![0xb0, WORD, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd];
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// Proves that a guest runs under KVM here, or says why not. Takes `limit` at most.
///
/// # Errors
///
/// See [`Unproven`].
pub async fn prove(qemu: &Path, dir: &Path, accounts: &Accounts, limit: Duration) -> Result<(), Unproven> {
    std::fs::metadata("/dev/kvm").map_err(Unproven::Device)?;
    if !MODULES.iter().any(|module| Path::new("/sys/module").join(module).exists()) {
        return Err(Unproven::Module);
    }
    let image = dir.join("kvm-proof.img");
    file::replace(&image, &boot_sector(), 0o644).map_err(Unproven::Try)?;
    let mut drive =
        std::ffi::OsString::from("driver=raw,node-name=proof,read-only=on,file.driver=file,file.filename=");
    drive.push(&image);
    let mut command = tokio::process::Command::new(qemu);
    command
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none"])
        .args(["-machine", "q35", "-accel", "kvm", "-m", "32"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-blockdev"])
        .arg(drive)
        .args(["-device", "ide-hd,drive=proof,bootindex=1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    if let Some((uid, gid)) = accounts.guest() {
        command.uid(uid).gid(gid);
    }
    let ended = match tokio::time::timeout(limit, command.status()).await {
        Ok(ended) => ended.map_err(Unproven::Try),
        Err(_) => Err(Unproven::Guest(format!("no end within {} s", limit.as_secs_f32()))),
    };
    let _ = std::fs::remove_file(&image);
    judge(ended?)
}

fn judge(ended: ExitStatus) -> Result<(), Unproven> {
    match (ended.code(), ended.signal()) {
        (Some(STATUS), _) => Ok(()),
        _ => Err(Unproven::Guest(ended.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_is_one_sector_with_its_signature() {
        let sector = boot_sector();
        assert_eq!((sector.len(), &sector[510..]), (512, &[0x55, 0xaa][..]));
    }

    #[test]
    fn only_the_word_proves_anything() {
        assert!(judge(ExitStatus::from_raw(STATUS << 8)).is_ok());
        for other in [0, 1 << 8, 9] {
            assert!(judge(ExitStatus::from_raw(other)).is_err());
        }
    }
}
