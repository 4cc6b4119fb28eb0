//! Giving up capabilities for good: capabilities(7), `prctl`(2), `capset`(2).

use std::io;

/// `_LINUX_CAPABILITY_VERSION_3`: 64 bits of capabilities in two 32-bit halves.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Empties the bounding set: nothing executed later can gain a capability.
///
/// # Errors
///
/// `EPERM` without `CAP_SETPCAP`.
pub fn drop_bounding() -> io::Result<()> {
    for capability in 0..64 {
        match drop_one(capability) {
            // The kernel knows fewer than 64; the first unknown one ends the list.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

#[expect(unsafe_code, reason = "neither std nor nix wraps PR_CAPBSET_DROP")]
fn drop_one(capability: libc::c_ulong) -> io::Result<()> {
    // SAFETY: PR_CAPBSET_DROP takes a number and no pointers.
    match unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Empties the ambient set.
///
/// # Errors
///
/// What `prctl` says.
#[expect(unsafe_code, reason = "neither std nor nix wraps PR_CAP_AMBIENT")]
pub fn clear_ambient() -> io::Result<()> {
    // SAFETY: PR_CAP_AMBIENT_CLEAR_ALL takes numbers and no pointers.
    match unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Empties the effective, permitted and inheritable sets of the calling thread.
///
/// # Errors
///
/// What `capset` says; giving up is always allowed.
#[expect(unsafe_code, reason = "neither std nor nix wraps capset")]
pub fn clear() -> io::Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let halves = [Half { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: both pointers are to live values of the layout that version 3 prescribes; the kernel only reads them.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
