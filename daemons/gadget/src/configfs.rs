//! Plans carried out: making, comparing and removing what lies in configfs. The only place that writes there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::Paths;
use crate::plan::{Function, Plan};
use crate::tree::{Item, Rule, Value, parse};

/// What the kernel makes of `bcdUSB` by itself, by what host and controller can do.
const RAISED: [u32; 3] = [0x0201, 0x0210, 0x0320];

/// What could not be done in configfs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This kernel cannot be a USB device, or configfs is not mounted.
    #[error("{0} does not exist: configfs is not mounted, or the kernel has no USB gadgets (libcomposite)")]
    NoGadgets(PathBuf),
    /// The kernel refused.
    #[error("{}: {source}", path.display())]
    Kernel {
        /// What was made, written or removed.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Kernel { path: path.to_owned(), source }
    }
}

/// What of a gadget is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Present {
    /// Its functions.
    pub(crate) functions: BTreeSet<String>,
    /// Those the host sees.
    pub(crate) links: BTreeSet<String>,
    /// What is other than planned, one line each.
    pub(crate) differences: Vec<String>,
}

/// Looks at the gadget; `None` when there is none.
pub(crate) fn look(paths: &Paths, plan: &Plan) -> Result<Option<Present>, Error> {
    let gadget = paths.gadget();
    if !gadget.is_dir() {
        return Ok(None);
    }
    let functions = names(&gadget.join("functions"), fs::FileType::is_dir)?;
    let links = match paths.configuration().is_dir() {
        true => names(&paths.configuration(), fs::FileType::is_symlink)?,
        false => BTreeSet::new(),
    };
    let mut differences = Vec::new();
    for name in functions.iter().filter(|name| plan.functions.iter().all(|planned| planned.name != **name)) {
        differences.push(format!("there is a {name}"));
    }
    // What is not there yet is made, not compared.
    let there = plan.functions.iter().filter(|function| functions.contains(&function.name));
    for item in plan.items.iter().chain(there.flat_map(|function| &function.items)) {
        differences.extend(difference(&gadget, item));
    }
    Ok(Some(Present { functions, links, differences }))
}

fn names(dir: &Path, is: fn(&fs::FileType) -> bool) -> Result<BTreeSet<String>, Error> {
    let entries = fs::read_dir(dir).map_err(Error::at(dir))?;
    Ok(entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| is(&kind)))
        .filter_map(|entry| entry.file_name().into_string().ok())
        // A configuration has one directory that is no function of ours.
        .filter(|name| name != "strings")
        .collect())
}

fn difference(gadget: &Path, item: &Item) -> Option<String> {
    match item {
        Item::Dir(path) => (!gadget.join(path).is_dir()).then(|| format!("{} is missing", path.display())),
        Item::Link { path, .. } => {
            (!gadget.join(path).is_symlink()).then(|| format!("{} is missing", path.display()))
        }
        Item::WriteEither { .. }
        | Item::Write { rule: Rule::Once | Rule::OnceIfOffered | Rule::OnceIfThere, .. } => None,
        Item::Write { path, value, rule } => match fs::read(gadget.join(path)) {
            Err(error) => (!(rule.may_be_missing() && is_missing(&error)))
                .then(|| format!("{}: {error}", path.display())),
            Ok(read) if value.is(&read) || (*rule == Rule::Raised && is_raised(&read)) => None,
            Ok(read) => {
                let read = String::from_utf8_lossy(read.trim_ascii()).escape_debug().to_string();
                Some(format!("{} is {read}, not {}", path.display(), shown(value)))
            }
        },
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => format!("the {} bytes planned", bytes.len()),
        value => String::from_utf8_lossy(value.bytes().trim_ascii()).into_owned(),
    }
}

fn is_raised(read: &[u8]) -> bool {
    parse(&String::from_utf8_lossy(read)).is_some_and(|number| RAISED.contains(&number))
}

/// configfs refuses to make a file, in more than one way.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

/// Makes what lies beside the functions.
pub(crate) fn make(paths: &Paths, plan: &Plan) -> Result<(), Error> {
    if !paths.gadgets().is_dir() {
        return Err(Error::NoGadgets(paths.gadgets()));
    }
    plan.items.iter().try_for_each(|item| apply(paths, item))
}

/// Makes a function, whole or not at all; but what may come later may be missing, and is told.
pub(crate) fn make_function(paths: &Paths, function: &Function) -> Result<Vec<Error>, Error> {
    let mut later = Vec::new();
    let made = function.items.iter().try_for_each(|item| match (item, apply(paths, item)) {
        (Item::Write { rule: Rule::OnceIfThere, .. }, Err(error)) => {
            later.push(error);
            Ok(())
        }
        (_, applied) => applied,
    });
    if made.is_err() {
        let _ = remove_function(&paths.function(&function.name));
    }
    made.map(|()| later)
}

/// Writes what was not there when the function was made. What somebody else has written by now stays.
pub(crate) fn write_late(paths: &Paths, function: &Function) -> Vec<Error> {
    let late = function.items.iter().filter(|item| match item {
        Item::Write { path, rule: Rule::OnceIfThere, .. } => {
            fs::read(paths.gadget().join(path)).map_or(true, |read| read.trim_ascii().is_empty())
        }
        _ => false,
    });
    late.filter_map(|item| apply(paths, item).err()).collect()
}

fn apply(paths: &Paths, item: &Item) -> Result<(), Error> {
    let gadget = paths.gadget();
    match item {
        Item::Dir(path) => {
            let path = gadget.join(path);
            // The gadget's own directory first; what the kernel makes by itself is there already.
            fs::create_dir_all(&path).map_err(Error::at(&path))
        }
        Item::Write { rule: Rule::Empty, .. } => Ok(()),
        Item::Write { path, value, rule } => {
            let path = gadget.join(path);
            match write(&path, &value.bytes()) {
                Err(error) if rule.may_be_missing() && is_missing(&error) => {
                    log::debug!("{}: this kernel does not offer it", path.display());
                    Ok(())
                }
                written => written.map_err(Error::at(&path)),
            }
        }
        Item::WriteEither { path, instead, value } => {
            let (path, instead) = (gadget.join(path), gadget.join(instead));
            match write(&path, &value.bytes()) {
                Err(error) if is_missing(&error) => {
                    write(&instead, &value.bytes()).map_err(Error::at(&instead))
                }
                written => written.map_err(Error::at(&path)),
            }
        }
        Item::Link { path, to } => {
            let path = gadget.join(path);
            // Only a tree that is not the kernel's lacks it.
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir).map_err(Error::at(dir))?;
            }
            match symlink(gadget.join(to), &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                linked => linked.map_err(Error::at(&path)),
            }
        }
    }
}

/// One value, one write: the kernel takes each for a value of its own.
pub(crate) fn write(path: &Path, value: &[u8]) -> io::Result<()> {
    File::options().write(true).create(true).truncate(true).open(path)?.write_all(value)
}

/// Shows the host exactly these functions, in their order. The gadget must be unbound.
pub(crate) fn link(paths: &Paths, functions: &[&str]) -> Result<(), Error> {
    let configuration = paths.configuration();
    for name in names(&configuration, fs::FileType::is_symlink)? {
        let link = configuration.join(name);
        fs::remove_file(&link).map_err(Error::at(&link))?;
    }
    for name in functions {
        let link = paths.link(name);
        symlink(paths.function(name), &link).map_err(Error::at(&link))?;
    }
    Ok(())
}

/// Binds to a controller; one that it is bound to already is left alone.
pub(crate) fn bind(paths: &Paths, controller: &str) -> Result<(), Error> {
    let file = paths.udc_file();
    match paths.udc().map_err(Error::at(&file))? {
        Some(bound) if bound == controller => return Ok(()),
        Some(_) => unbind(paths)?,
        None => {}
    }
    write(&file, format!("{controller}\n").as_bytes()).map_err(Error::at(&file))
}

/// Takes it off its controller, whichever that is.
pub(crate) fn unbind(paths: &Paths) -> Result<(), Error> {
    let file = paths.udc_file();
    match write(&file, b"\n") {
        // It was not bound.
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(()),
        done => done.map_err(Error::at(&file)),
    }
}

/// Removes a gadget of any shape. One that is not there is removed already.
pub(crate) fn remove(paths: &Paths) -> Result<(), Error> {
    let gadget = paths.gadget();
    if !gadget.is_dir() {
        return Ok(());
    }
    unbind(paths)?;
    remove_links(&gadget.join("os_desc"))?;
    for configuration in directories(&gadget.join("configs")) {
        remove_links(&configuration)?;
        for strings in directories(&configuration.join("strings")) {
            fs::remove_dir(&strings).map_err(Error::at(&strings))?;
        }
        fs::remove_dir(&configuration).map_err(Error::at(&configuration))?;
    }
    for function in directories(&gadget.join("functions")) {
        remove_function(&function)?;
    }
    for strings in directories(&gadget.join("strings")) {
        fs::remove_dir(&strings).map_err(Error::at(&strings))?;
    }
    fs::remove_dir(&gadget).map_err(Error::at(&gadget))
}

/// Links first, wherever they are; then directories that are not the kernel's own, which it refuses to remove.
fn remove_function(function: &Path) -> Result<(), Error> {
    let mut all = vec![function.to_owned()];
    let mut at = 0;
    while let Some(dir) = all.get(at).cloned() {
        remove_links(&dir)?;
        all.extend(directories(&dir));
        at += 1;
    }
    for dir in all.iter().skip(1).rev() {
        let _ = fs::remove_dir(dir);
    }
    fs::remove_dir(function).map_err(Error::at(function))
}

fn remove_links(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            let path = entry.path();
            fs::remove_file(&path).map_err(Error::at(&path))?;
        }
    }
    Ok(())
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
#[path = "configfs_tests.rs"]
mod tests;
