//! Older spellings of keys, turned into today's before files are merged.
//!
//! Done file by file: `desired_fps: 20` on top of another file's `desired_fps: {max: 60}` has to become its
//! `default`, not replace the map. A key that is given in both spellings keeps today's.

use crate::node::{Entry, Map, Node, Value};

/// `root` in today's spelling.
pub(crate) fn modernise(mut root: Node) -> Node {
    if let Some(kvmd) = at_path(&mut root, &["kvmd"]) {
        if let Some(streamer) = kvmd.get_mut("streamer").and_then(Node::as_map_mut) {
            wrap(streamer, "desired_fps", "default");
            move_to(streamer, "max_fps", &["desired_fps", "max"]);
            wrap(streamer, "resolution", "default");
            move_to(streamer, "available_resolutions", &["resolution", "available"]);
        }
        if let Some(scheme) =
            kvmd.get_mut("gpio").and_then(Node::as_map_mut).and_then(|gpio| gpio.get_mut("scheme"))
        {
            pulses(scheme);
        }
        wake_on_lan(kvmd);
    }
    if let Some(otg) = at_path(&mut root, &["otg"]) {
        move_to(otg, "msd", &["devices", "msd"]);
        move_to(otg, "acm", &["devices", "serial"]);
        move_to(otg, "drives", &["devices", "drives"]);
    }
    root
}

fn at_path<'a>(root: &'a mut Node, path: &[&str]) -> Option<&'a mut Map> {
    path.iter().try_fold(root.as_map_mut()?, |map, key| map.get_mut(key)?.as_map_mut())
}

/// `key: VALUE` becomes `key: {inner: VALUE}`.
fn wrap(map: &mut Map, key: &str, inner: &str) {
    let Some(node) = map.get_mut(key) else { return };
    if matches!(node.value, Value::Scalar { .. }) {
        let at = node.at.clone();
        let mut wrapped = Map::default();
        wrapped.insert(Entry { key: inner.to_owned(), at: at.clone(), node: node.clone() });
        *node = Node { at, value: Value::Map(wrapped) };
    }
}

/// Moves the value of `key` to `path`, unless there is one.
fn move_to(map: &mut Map, key: &str, path: &[&str]) {
    if let Some(entry) = map.remove(key) {
        put(map, path, entry.node);
    }
}

fn put(map: &mut Map, path: &[&str], node: Node) {
    let Some((key, rest)) = path.split_first() else { return };
    let at = node.at.clone();
    if rest.is_empty() {
        if map.get(key).is_none() {
            map.insert(Entry { key: (*key).to_owned(), at, node });
        }
        return;
    }
    if map.get(key).is_none() {
        map.insert(Entry { key: (*key).to_owned(), at: at.clone(), node: Node::map(at) });
    }
    if let Some(inner) = map.get_mut(key).and_then(Node::as_map_mut) {
        put(inner, rest, node);
    }
}

/// `pulse: false` becomes a pulse of no length.
fn pulses(scheme: &mut Node) {
    let Some(scheme) = scheme.as_map_mut() else { return };
    let channels: Vec<_> = scheme.iter().map(|entry| entry.key.clone()).collect();
    for channel in channels {
        let Some(pulse) = at_key(scheme, &channel).and_then(|channel| channel.get_mut("pulse")) else {
            continue;
        };
        if pulse.as_text() == Some("false") {
            let at = pulse.at.clone();
            *pulse = Node::map(at.clone());
            for key in ["delay", "min_delay", "max_delay"] {
                if let Some(map) = pulse.as_map_mut() {
                    put(map, &[key], Node::text("0", at.clone()));
                }
            }
        }
    }
}

fn at_key<'a>(map: &'a mut Map, key: &str) -> Option<&'a mut Map> {
    map.get_mut(key)?.as_map_mut()
}

/// `kvmd.wol: {mac: …}` becomes a driver and a button of the name the web UI looks for.
fn wake_on_lan(kvmd: &mut Map) {
    let Some(wol) = kvmd.get("wol").and_then(Node::as_map) else { return };
    let Some(mac) = wol.get("mac").filter(|mac| mac.as_text().is_some_and(|text| !text.is_empty())) else {
        return;
    };
    let at = mac.at.clone();
    let mut driver = Map::default();
    put(&mut driver, &["type"], Node::text("wol", at.clone()));
    for key in ["ip", "port", "mac"] {
        if let Some(node) = wol.get(key) {
            put(&mut driver, &[key], node.clone());
        }
    }
    let mut channel = Map::default();
    for (key, value) in [("driver", "__wol__"), ("pin", "0"), ("mode", "output"), ("switch", "false")] {
        put(&mut channel, &[key], Node::text(value, at.clone()));
    }
    put(kvmd, &["gpio", "drivers", "__wol__"], Node { at: at.clone(), value: Value::Map(driver) });
    put(kvmd, &["gpio", "scheme", "__wol__"], Node { at, value: Value::Map(channel) });
}
