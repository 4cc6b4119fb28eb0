//! Merging: what a later file says wins, map by map.

use crate::node::{Entry, Node, Value};

/// Puts `over` on top of `base`: maps key by key, anything else as a whole. A key with nothing behind it leaves
/// a map as it is, so that a section whose lines are all commented out changes nothing.
pub(crate) fn merge(base: &mut Node, over: Node) {
    match (&mut base.value, over.value) {
        (Value::Map(_), Value::Null) => {}
        (Value::Map(map), Value::Map(entries)) => {
            base.at = over.at;
            for entry in entries.into_entries() {
                let Entry { key, at, node } = entry;
                match map.get_mut(&key) {
                    Some(old) => merge(old, node),
                    None => {
                        map.insert(Entry { key, at, node });
                    }
                }
            }
        }
        (slot, value) => {
            *slot = value;
            base.at = over.at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{At, Map};
    use proptest::prelude::*;
    use std::path::Path;

    fn at() -> At {
        At::file(Path::new("/t.yaml"))
    }

    fn node() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![
            "[a-c]{0,2}".prop_map(|text| Node::text(text, at())),
            Just(Node { at: at(), value: Value::Null }),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| Node { at: at(), value: Value::List(items) }),
                proptest::collection::btree_map("[a-d]", inner, 0..4).prop_map(|entries| {
                    let mut map = Map::default();
                    for (key, node) in entries {
                        map.insert(Entry { key, at: at(), node });
                    }
                    Node { at: at(), value: Value::Map(map) }
                }),
            ]
        })
    }

    fn merged(base: &Node, over: &Node) -> Node {
        let mut node = base.clone();
        merge(&mut node, over.clone());
        node
    }

    proptest! {
        #[test]
        fn a_tree_on_top_of_itself_is_itself(node in node()) {
            prop_assert_eq!(merged(&node, &node), node);
        }

        #[test]
        fn the_later_of_two_values_counts(base in node(), over in node()) {
            prop_assume!(over.value != Value::Null && over.as_map().is_none());
            prop_assert_eq!(merged(&base, &over), over);
        }

        #[test]
        fn merging_twice_is_merging_once(base in node(), over in node()) {
            let once = merged(&base, &over);
            prop_assert_eq!(merged(&once, &over), once);
        }

        #[test]
        fn no_key_of_a_map_gets_lost(base in node(), over in node()) {
            prop_assume!(base.as_map().is_some() && over.as_map().is_some());
            let both = merged(&base, &over);
            for entry in base.as_map().unwrap().iter().chain(over.as_map().unwrap().iter()) {
                prop_assert!(both.as_map().unwrap().get(&entry.key).is_some());
            }
        }
    }

    #[test]
    fn lists_are_replaced_not_joined() {
        let list = |text: &str| Node { at: at(), value: Value::List(vec![Node::text(text, at())]) };
        assert_eq!(merged(&list("a"), &list("b")), list("b"));
    }
}
