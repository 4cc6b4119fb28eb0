//! Rules between values: a minimum below its maximum, a channel with a driver that exists.

use crate::node::{At, Node};
use crate::report::Reader;
use crate::tree::driver::too_many;
use crate::{AtxType, Config, Driver, SourceType};

/// Says what single keys cannot know, and brings defaults within their limits: who sets only `max: 20` means
/// that the default is at most 20 too.
pub(crate) fn settle(config: &mut Config, tree: &Node, reader: &mut Reader) {
    let mut check = Check { tree, reader };
    let streamer = &mut config.kvmd.streamer;
    let fps = &mut streamer.desired_fps;
    check.within("kvmd.streamer.desired_fps", &mut fps.default, fps.min, fps.max);
    let bitrate = &mut streamer.h264_bitrate;
    if bitrate.default > 0 {
        check.within("kvmd.streamer.h264_bitrate", &mut bitrate.default, bitrate.min, bitrate.max);
    }
    let gop = &mut streamer.h264_gop;
    check.within("kvmd.streamer.h264_gop", &mut gop.default, gop.min, gop.max);
    if streamer.source.r#type == SourceType::Replay && streamer.source.file.is_none() {
        check.wrong("kvmd.streamer.source.file", "the file to replay", &"nothing");
    }
    check.edges("kvmd.hid.mouse_x_range.min", &config.kvmd.hid.mouse_x_range);
    check.edges("kvmd.hid.mouse_y_range.min", &config.kvmd.hid.mouse_y_range);
    check.drivers(&config.kvmd.gpio);
    check.panel(&config.kvmd);
    let (http, https) = (&config.nginx.http, &config.nginx.https);
    // Both listeners on one port would fail later, and say less.
    if http.enabled && https.enabled && http.port == https.port && http.port != 0 {
        check.wrong("nginx.http.port", "a port other than nginx.https.port", &http.port);
    }
}

struct Check<'a> {
    tree: &'a Node,
    reader: &'a mut Reader,
}

impl Check<'_> {
    fn within(&mut self, section: &str, default: &mut u32, min: u32, max: u32) {
        if min > max {
            self.wrong(&format!("{section}.min"), &format!("at most max ({max})"), &min);
            return;
        }
        let settled = (*default).clamp(min, max);
        let key = format!("{section}.default");
        if settled != *default
            && let Some(node) = self.tree.find(&key.split('.').collect::<Vec<_>>())
        {
            let text = format!("{default} is not from min to max ({min} to {max}); {settled} is used");
            self.reader.warn(&node.at, &key, text);
        }
        *default = settled;
    }

    fn edges(&mut self, key: &str, range: &crate::Range) {
        if range.min >= range.max {
            self.wrong(key, &format!("less than max ({})", range.max), &range.min);
        }
    }

    fn drivers(&mut self, gpio: &crate::Gpio) {
        for (name, channel) in &gpio.scheme {
            let key = |last: &str| format!("kvmd.gpio.scheme.{name}.{last}");
            let Some(driver) = gpio.drivers.get(&channel.driver) else {
                let known: Vec<_> = gpio.drivers.keys().map(String::as_str).collect();
                let expected = format!("one of kvmd.gpio.drivers ({})", known.join(", "));
                self.wrong(&key("driver"), &expected, &channel.driver);
                continue;
            };
            if let Some(expected) = driver.wants_pin(&channel.pin) {
                self.wrong(&key("pin"), expected, &channel.pin);
            }
            if let Some(expected) = driver.wants_mode(channel.mode) {
                self.wrong(&key("mode"), expected, &channel.mode.name());
            }
        }
        for (name, driver) in &gpio.drivers {
            if let Some((last, expected, found)) = driver.fault() {
                self.wrong(&format!("kvmd.gpio.drivers.{name}.{last}"), &expected, &found);
            }
            let own: Vec<_> = gpio.scheme.values().filter(|channel| channel.driver == *name).collect();
            if driver.chip().is_some() && too_many(&own) {
                let key = format!("kvmd.gpio.drivers.{name}");
                self.wrong(&key, "at most 64 inputs and 64 outputs", &"more");
            }
        }
    }

    /// Two users of one line would fail later, and say less.
    fn panel(&mut self, kvmd: &crate::Kvmd) {
        let atx = &kvmd.atx;
        if atx.r#type != AtxType::Gpio {
            return;
        }
        let pins = [
            ("power_led_pin", atx.power_led_pin),
            ("hdd_led_pin", atx.hdd_led_pin),
            ("power_switch_pin", atx.power_switch_pin),
            ("reset_switch_pin", atx.reset_switch_pin),
        ];
        for (at, (name, pin)) in pins.into_iter().enumerate() {
            if let Some((other, _)) = pins.iter().take(at).find(|(_, other)| *other == pin) {
                self.wrong(&format!("kvmd.atx.{name}"), &format!("another line than {other}"), &pin);
            }
        }
        for (name, channel) in &kvmd.gpio.scheme {
            let chip = kvmd.gpio.drivers.get(&channel.driver).and_then(Driver::chip);
            let taken = pins.iter().find(|(_, pin)| channel.pin.parse() == Ok(*pin));
            if let Some((other, pin)) = taken.filter(|_| chip == Some(&atx.device)) {
                let expected = format!("another line than kvmd.atx.{other}");
                self.wrong(&format!("kvmd.gpio.scheme.{name}.pin"), &expected, &pin);
            }
        }
    }

    fn wrong(&mut self, key: &str, expected: &str, found: &dyn std::fmt::Display) {
        let at = place(self.tree, key);
        self.reader.expected(&at, key, expected, &found.to_string());
    }
}

/// Where `key` was written, or the nearest part of its path.
fn place(tree: &Node, key: &str) -> At {
    let mut node = tree;
    for part in key.split('.') {
        match node.as_map().and_then(|map| map.get(part)) {
            Some(inner) => node = inner,
            None => break,
        }
    }
    node.at.clone()
}
