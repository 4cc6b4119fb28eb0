//! Sections: one declaration gives the type, the defaults, the reading, the showing and the documentation.

use serde_json::Value as Json;

use crate::Layout;
use crate::node::{Node, Value};
use crate::report::{Reader, join};

/// A group of keys. Made by [`section!`].
pub(crate) trait Section: Sized {
    /// The keys, in the order they are declared.
    const KEYS: &'static [&'static str];
    /// Every key at its default.
    fn defaults(layout: &Layout) -> Self;
    /// Reads one of [`Section::KEYS`].
    fn set(&mut self, name: &str, node: &Node, key: &str, layout: &Layout, reader: &mut Reader);
    /// All keys and values, secrets masked.
    fn show(&self) -> Json;
    /// What the documentation says about each key; `key` is the section's own path.
    fn describe(&self, key: &str, out: &mut Vec<Described>);
}

/// One line of the documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Described {
    /// A section begins.
    Section { key: String, doc: String },
    /// A key, what it accepts, and its default.
    Key { key: String, expects: String, default: String, doc: String },
}

/// Reads a map into a section, warning about keys it does not have. Nothing at all leaves the defaults.
pub(crate) fn read<T: Section>(slot: &mut T, node: &Node, key: &str, layout: &Layout, reader: &mut Reader) {
    let Some(map) = node.as_map() else {
        if node.value != Value::Null {
            reader.expected(&node.at, key, "a map", &node.found());
        }
        return;
    };
    for entry in map.iter() {
        let key = join(key, &entry.key);
        if T::KEYS.contains(&entry.key.as_str()) {
            slot.set(&entry.key, &entry.node, &key, layout, reader);
        } else {
            reader.unknown(&entry.at, &key, &entry.key, T::KEYS);
        }
    }
}

/// Declares a section: a struct whose fields are named as the keys of the settings.
///
/// `name: Type = DEFAULT => LEAF` is a value, `name: Type` alone a section of its own, and
/// `name: Type = DEFAULT; RULE` anything else. The identifier in
/// parentheses is the [`Layout`], for defaults that depend on it. The doc comments become the documentation.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident($layout:ident) {
            $($(#[doc = $doc:literal])+ $field:ident: $type:ty $(= $default:expr $(=> $leaf:expr)? $(; $rule:expr)?)?,)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[doc = $doc])+ pub $field: $type),+ }

        impl $crate::section::Section for $name {
            const KEYS: &'static [&'static str] = &[$($crate::section::plain(stringify!($field))),+];

            fn defaults($layout: &$crate::Layout) -> Self {
                let _ = $layout;
                Self { $($field: section!(@default $layout, $type $(, $default)?)),+ }
            }

            fn set(
                &mut self,
                name: &str,
                node: &$crate::node::Node,
                key: &str,
                layout: &$crate::Layout,
                reader: &mut $crate::report::Reader,
            ) {
                $(if name == $crate::section::plain(stringify!($field)) {
                    let rule = section!(@rule $($(=> $leaf)? $(; $rule)?)?);
                    return $crate::rule::Rule::<$type>::read(&rule, node, key, &mut self.$field, layout, reader);
                })+
            }

            fn show(&self) -> serde_json::Value {
                let mut map = serde_json::Map::new();
                $(
                    let rule = section!(@rule $($(=> $leaf)? $(; $rule)?)?);
                    let shown = $crate::rule::Rule::<$type>::show(&rule, &self.$field);
                    map.insert($crate::section::plain(stringify!($field)).to_owned(), shown);
                )+
                serde_json::Value::Object(map)
            }

            fn describe(&self, key: &str, out: &mut Vec<$crate::section::Described>) {
                $(
                    let rule = section!(@rule $($(=> $leaf)? $(; $rule)?)?);
                    let path = $crate::report::join(key, $crate::section::plain(stringify!($field)));
                    let doc = concat!($($doc),+).trim();
                    $crate::rule::Rule::<$type>::describe(&rule, &path, doc, &self.$field, out);
                )+
            }
        }
    };
    (@default $layout:ident, $type:ty) => { <$type as $crate::section::Section>::defaults($layout) };
    (@default $layout:ident, $type:ty, $default:expr) => { $default };
    (@rule) => { $crate::rule::Sub };
    (@rule => $leaf:expr) => { $crate::rule::One($leaf) };
    (@rule ; $rule:expr) => { $rule };
}
pub(crate) use section;

/// A field's name as a key: without the `r#` of Rust's own words.
pub(crate) const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}
