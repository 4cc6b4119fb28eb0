//! Rules: what one key accepts, how its value is shown, and how a person is told.
//!
//! A [`Leaf`] is a rule for one value. A [`Rule`] is anything that may stand behind a key: one value ([`One`]),
//! a section of its own ([`Sub`]), sections by name ([`MapOf`]).

use serde_json::Value as Json;

use crate::Layout;
use crate::node::Node;
use crate::report::Reader;
use crate::section::{Described, Section};

mod collection;
mod scalar;

pub use collection::{Foreign, Row};
pub(crate) use collection::{MapOf, arguments, foreign, list, map_of, optional, rows, title};
pub use scalar::Resolution;
pub(crate) use scalar::{
    Choice, address, choice, choices, command, file_name, flag, host, integer, mac, mode, number, path,
    path_or_empty, resolution, seconds, text, usb_text, user,
};

/// What may stand behind a key of type `T`.
pub(crate) trait Rule<T> {
    /// Reads `node` into `slot`, which holds the default; says what is wrong to `reader`.
    fn read(&self, node: &Node, key: &str, slot: &mut T, layout: &Layout, reader: &mut Reader);
    /// The value as it is shown; secrets masked.
    fn show(&self, value: &T) -> Json;
    /// Adds what the documentation says about this key.
    fn describe(&self, key: &str, doc: &str, value: &T, out: &mut Vec<Described>);
}

/// A rule for one value.
pub(crate) trait Leaf<T> {
    /// "a whole number from 1 to 100": the sentence "expected …" ends with it.
    fn expects(&self) -> String;
    /// The value, if `node` is one.
    fn parse(&self, node: &Node) -> Option<T>;
    /// The value as JSON.
    fn show(&self, value: &T) -> Json;
    /// For a `node` that is no such value: what to say was expected, and where the fault lies.
    fn fault<'a>(&self, node: &'a Node) -> (String, &'a Node) {
        (self.expects(), node)
    }
}

/// What stands in for a secret.
pub(crate) const MASK: &str = "<hidden>";

/// The rule of a key that is one value.
pub(crate) struct One<L>(pub(crate) L);

impl<T, L: Leaf<T>> Rule<T> for One<L> {
    fn read(&self, node: &Node, key: &str, slot: &mut T, _: &Layout, reader: &mut Reader) {
        if let Some(value) = self.0.parse(node) {
            *slot = value;
        } else {
            let (expected, fault) = self.0.fault(node);
            reader.expected(&fault.at, key, &expected, &fault.found());
        }
    }

    fn show(&self, value: &T) -> Json {
        self.0.show(value)
    }

    fn describe(&self, key: &str, doc: &str, value: &T, out: &mut Vec<Described>) {
        let default = Rule::show(self, value).to_string();
        out.push(Described::Key {
            key: key.to_owned(),
            expects: self.0.expects(),
            default,
            doc: doc.to_owned(),
        });
    }
}

/// The rule of a key that is a section of its own.
pub(crate) struct Sub;

impl<T: Section> Rule<T> for Sub {
    fn read(&self, node: &Node, key: &str, slot: &mut T, layout: &Layout, reader: &mut Reader) {
        crate::section::read(slot, node, key, layout, reader);
    }

    fn show(&self, value: &T) -> Json {
        value.show()
    }

    fn describe(&self, key: &str, doc: &str, value: &T, out: &mut Vec<Described>) {
        out.push(Described::Section { key: key.to_owned(), doc: doc.to_owned() });
        value.describe(key, out);
    }
}
