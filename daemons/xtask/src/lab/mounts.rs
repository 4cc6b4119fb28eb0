//! The file system of the laboratory, put together out of what the kernel mounted: the host's root, read-only, and `/dev`.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot};

use super::spec::{Root, Spec};

/// A directory that every root has, and that is not needed before the new root stands.
const STAGE: &str = "/proc";
/// What an image's root may be.
const IMAGES: [&str; 3] = ["squashfs", "erofs", "ext4"];

/// Builds the new root and makes it ours.
pub(crate) fn compose(spec: &Spec) -> Result<()> {
    let stage = Path::new(STAGE);
    attach("tmpfs", stage, "tmpfs", MsFlags::empty(), "mode=755")?;
    for name in ["lower", "upper", "work", "root", "tmp"] {
        make(&stage.join(name))?;
    }
    lower(&spec.root, &stage.join("lower"))?;
    let root = stage.join("root");
    let layers = format!("lowerdir={STAGE}/lower,upperdir={STAGE}/upper,workdir={STAGE}/work");
    attach("overlay", &root, "overlay", MsFlags::empty(), &layers)?;
    for dir in ["proc", "sys", "dev", "run", "tmp"] {
        make(&root.join(dir))?;
    }

    let closed = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let open = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    attach("proc", &root.join("proc"), "proc", closed, "")?;
    attach("sysfs", &root.join("sys"), "sysfs", closed, "")?;
    attach("configfs", &root.join("sys/kernel/config"), "configfs", closed, "")?;
    attach("cgroup2", &root.join("sys/fs/cgroup"), "cgroup2", closed, "")?;
    attach("devtmpfs", &root.join("dev"), "devtmpfs", MsFlags::MS_NOSUID, "mode=755")?;
    for dir in ["dev/pts", "dev/shm"] {
        make(&root.join(dir))?;
    }
    attach("devpts", &root.join("dev/pts"), "devpts", MsFlags::MS_NOSUID, "gid=5,mode=620,ptmxmode=666")?;
    attach("tmpfs", &root.join("dev/shm"), "tmpfs", open, "mode=1777")?;
    attach("tmpfs", &root.join("run"), "tmpfs", open, "mode=755")?;
    tmp(spec, stage)?;
    for dir in &spec.write {
        let data = dir.to_str().context("--write wants a path that is text")?;
        let point = inside(&root, dir);
        make(&point)?;
        attach("hostfs", &point, "hostfs", MsFlags::empty(), data)?;
    }

    chdir(&root)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    chroot(".")?;
    chdir("/")?;
    Ok(())
}

/// The layer that is never written.
fn lower(root: &Root, point: &Path) -> Result<()> {
    match root {
        Root::Directory(dir) => mount(Some(dir), point, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| dir.display().to_string()),
        Root::Disk => {
            for kind in IMAGES {
                if mount(Some("/dev/ubda"), point, Some(kind), MsFlags::MS_RDONLY, None::<&str>).is_ok() {
                    return Ok(());
                }
            }
            bail!("the image is none of {}", IMAGES.join(", "))
        }
    }
}

/// An empty /tmp, except for what the command needs of the host's: where it lies and where it starts.
fn tmp(spec: &Spec, stage: &Path) -> Result<()> {
    let tmp = stage.join("tmp");
    attach("tmpfs", &tmp, "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=1777")?;
    let needed = spec.command.first().map(PathBuf::from).into_iter().chain([spec.directory.clone()]);
    for entry in needed.filter_map(|path| below_tmp(&path)) {
        let (from, point) = (stage.join("root/tmp").join(&entry), tmp.join(&entry));
        if point.exists() || !from.exists() {
            continue;
        }
        if from.is_dir() {
            make(&point)?;
        } else {
            fs::write(&point, "")?;
        }
        mount(Some(&from), &point, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    }
    let point = stage.join("root/tmp");
    Ok(mount(Some(&tmp), &point, None::<&str>, MsFlags::MS_MOVE, None::<&str>)?)
}

/// The entry of /tmp that the path lies in.
fn below_tmp(path: &Path) -> Option<PathBuf> {
    match path.strip_prefix("/tmp").ok()?.components().next()? {
        Component::Normal(name) => Some(name.into()),
        _ => None,
    }
}

/// An absolute path, seen from above the new root.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())
}

fn attach(source: &str, point: &Path, kind: &str, flags: MsFlags, data: &str) -> Result<()> {
    let data = Some(data).filter(|data| !data.is_empty());
    mount(Some(source), point, Some(kind), flags, data)
        .with_context(|| format!("{kind} on {}", point.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_below_tmp_is_kept_of_it() {
        assert_eq!(below_tmp(Path::new("/tmp/a/b/c")), Some("a".into()));
        for path in ["/tmp", "/tmp/", "/tmp/../etc", "/tmpfiles/a", "tmp/a", "ls", ""] {
            assert_eq!(below_tmp(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn a_path_of_the_host_is_found_in_the_new_root() {
        assert_eq!(inside(Path::new("/proc/root"), Path::new("/a/b")), Path::new("/proc/root/a/b"));
    }
}
