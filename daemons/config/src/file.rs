//! Reading settings files: which ones, in which order, and what they include.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::merge::merge;
use crate::node::{At, Entry, Node, Value};
use crate::report::{Problem, Reader};
use crate::yaml::{self, Include};
use crate::{Args, Layout, legacy};

/// The largest settings file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// How deep files may include files.
const MAX_INCLUDES: usize = 16;

/// How many files may be read in one go.
const MAX_FILES: usize = 256;

/// Reads and merges every file `args` ask for. What is wrong goes to `reader`, and the other files still count.
pub(crate) fn read_all(args: &Args, layout: &Layout, reader: &mut Reader) -> Node {
    let mut files = Files { open: Vec::new(), files: MAX_FILES, nodes: yaml::MAX_NODES };
    let mut root = Node::map(At::file(Path::new("")));
    let mut add = |path: &Path, wanted: bool, wrap: &[&str], reader: &mut Reader| match files
        .root(path, wanted, reader)
    {
        Ok(Some(node)) => merge(&mut root, legacy::modernise(nest(node, wrap))),
        Ok(None) => {}
        Err(problem) => reader.problems.push(problem),
    };

    let main = args.main_config.clone().unwrap_or_else(|| layout.lib.join("main.yaml"));
    add(&main, args.main_config.is_some(), &[], reader);
    add(&layout.etc.join("auth.yaml"), false, &["kvmd", "auth"], reader);
    let dir = args.override_dir.clone().unwrap_or_else(|| layout.etc.join("override.d"));
    match list(&dir) {
        Ok(paths) => paths.iter().for_each(|path| add(path, true, &[], reader)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && args.override_dir.is_none() => {}
        Err(error) => reader.problems.push(unreadable(&dir, None, &error)),
    }
    add(&layout.etc.join("override.yaml"), false, &[], reader);
    for path in &args.override_config {
        add(path, true, &[], reader);
    }
    root
}

/// `node` as the value of the path `wrap`.
fn nest(node: Node, wrap: &[&str]) -> Node {
    wrap.iter().rev().fold(node, |node, key| {
        let at = node.at.clone();
        let mut map = Node::map(at.clone());
        if let Some(entries) = map.as_map_mut() {
            entries.insert(Entry { key: (*key).to_owned(), at, node });
        }
        map
    })
}

/// The files of a directory in name order; what an editor or a package manager left behind is not ours.
fn list(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn unreadable(path: &Path, from: Option<&At>, error: &std::io::Error) -> Problem {
    match from {
        Some(at) => Problem {
            at: Some(at.clone()),
            key: "!include".to_owned(),
            text: format!("cannot read {}: {error}", path.display()),
        },
        None => {
            Problem { at: Some(At::file(path)), key: String::new(), text: format!("cannot read: {error}") }
        }
    }
}

/// The files being read, for the bounds on them.
struct Files {
    /// Those that include each other, outermost first; a file in here again is a cycle.
    open: Vec<PathBuf>,
    /// How many more may be read.
    files: usize,
    /// How many more values may be read.
    nodes: usize,
}

impl Files {
    /// The tree of a file that has to be a map; `None` for one that is not there and not `wanted`.
    fn root(&mut self, path: &Path, wanted: bool, reader: &mut Reader) -> Result<Option<Node>, Problem> {
        if !wanted && matches!(path.try_exists(), Ok(false)) {
            return Ok(None);
        }
        let node = self.read(path, None, reader)?;
        match node.value {
            Value::Map(_) => Ok(Some(node)),
            Value::Null => Ok(None),
            _ => {
                let text = format!("expected a map, found {}", node.found());
                Err(Problem { at: Some(node.at), key: String::new(), text })
            }
        }
    }

    fn read(&mut self, path: &Path, from: Option<&At>, reader: &mut Reader) -> Result<Node, Problem> {
        let refuse = |text: String| Problem {
            at: Some(from.cloned().unwrap_or_else(|| At::file(path))),
            key: from.map_or(String::new(), |_| "!include".to_owned()),
            text,
        };
        let real = path.canonicalize().map_err(|error| unreadable(path, from, &error))?;
        if self.open.contains(&real) {
            return Err(refuse(format!("{} includes itself", path.display())));
        }
        if self.open.len() >= MAX_INCLUDES {
            return Err(refuse(format!("too deep: at most {MAX_INCLUDES} files within each other")));
        }
        self.files = self
            .files
            .checked_sub(1)
            .ok_or_else(|| refuse(format!("too many: at most {MAX_FILES} files")))?;
        let text = text(&real).map_err(|error| unreadable(path, from, &error))?;
        self.open.push(real);
        let node = yaml::parse(&text, path, self, reader);
        self.open.pop();
        node
    }
}

impl Include for Files {
    fn include(&mut self, names: &[String], at: &At, reader: &mut Reader) -> Result<Node, Problem> {
        let parent = at.file.parent().unwrap_or(Path::new("/")).to_owned();
        let mut paths = Vec::new();
        for name in names.iter().filter(|name| !name.is_empty()) {
            let path = parent.join(name);
            if path.is_dir() {
                paths.extend(list(&path).map_err(|error| unreadable(&path, Some(at), &error))?);
            } else {
                paths.push(path);
            }
        }
        let mut tree = Node { at: at.clone(), value: Value::Null };
        for path in paths {
            merge(&mut tree, self.read(&path, Some(at), reader)?);
        }
        Ok(tree)
    }

    fn budget(&mut self) -> &mut usize {
        &mut self.nodes
    }
}

fn text(path: &Path) -> std::io::Result<String> {
    use std::io::{Error, ErrorKind};
    // Not a pipe or a device: those may never end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "not UTF-8"))
}
