//! What is set of the switch, kept in files of the reference's names: one task writes them when nothing has changed for
//! five seconds, and at the end.

use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// How long nothing must change before it is written.
const QUIET: Duration = Duration::from_secs(5);
/// EDIDs there may be.
const EDIDS: usize = 256;
/// Ports there can be: five units of four.
const PORTS: u32 = 20;
/// The EDID that is always there.
const DEFAULT: &str = "default";

/// The colour of a light.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color {
    /// 0 to 255.
    pub red: u8,
    /// 0 to 255.
    pub green: u8,
    /// 0 to 255.
    pub blue: u8,
    /// 0 to 255.
    pub brightness: u8,
    /// Milliseconds between on and off; 0 = steady.
    pub blink_ms: u16,
}

impl Color {
    const fn new(red: u8, green: u8, blue: u8, brightness: u8, blink_ms: u16) -> Self {
        Self { red, green, blue, brightness, blink_ms }
    }

    fn read(value: &Value) -> Option<Self> {
        let byte = |name: &str| u8::try_from(value[name].as_u64()?).ok();
        let blink_ms = u16::try_from(value["blink_ms"].as_u64()?).ok()?;
        Some(Self::new(byte("red")?, byte("green")?, byte("blue")?, byte("brightness")?, blink_ms))
    }
}

impl From<Color> for Value {
    fn from(color: Color) -> Self {
        let Color { red, green, blue, brightness, blink_ms } = color;
        json!({"red": red, "green": green, "blue": blue, "brightness": brightness, "blink_ms": blink_ms})
    }
}

/// What the lights are for, and their usual colours.
pub(super) const COLORS: [(&str, Color); 5] = [
    ("inactive", Color::new(255, 0, 0, 64, 0)),
    ("active", Color::new(0, 255, 0, 128, 0)),
    ("flashing", Color::new(0, 170, 255, 128, 0)),
    ("beacon", Color::new(228, 44, 156, 255, 250)),
    ("bootloader", Color::new(255, 170, 0, 128, 0)),
];

/// A monitor's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edid {
    /// What people call it.
    pub name: String,
    /// 256 or 512 hexadecimal digits, capital letters.
    pub data: String,
}

/// Seconds of each press, where they are not the usual ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delays {
    /// A press of the power button.
    pub power: Option<f64>,
    /// A long one.
    pub power_long: Option<f64>,
    /// A press of the reset button.
    pub reset: Option<f64>,
}

/// What is set of a port.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Port {
    /// The EDID it shows.
    pub edid: Option<String>,
    /// Whether a monitor is pretended where there is none.
    pub dummy: Option<bool>,
    /// What people call it.
    pub name: Option<String>,
    /// Its presses.
    pub delays: Delays,
}

/// All that is set.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Monitors' descriptions by their ids.
    pub edids: BTreeMap<String, Edid>,
    /// Colours by what they are for.
    pub colors: BTreeMap<String, Color>,
    /// Ports by their flat numbers.
    pub ports: BTreeMap<u32, Port>,
}

impl Default for Settings {
    fn default() -> Self {
        let edid = Edid { name: "Default".to_owned(), data: usual_edid() };
        Self {
            edids: [(DEFAULT.to_owned(), edid)].into(),
            colors: COLORS.map(|(role, color)| (role.to_owned(), color)).into(),
            ports: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// False when there is no room.
    pub(super) fn add_edid(&mut self, id: &str, edid: Edid) -> bool {
        let room = self.edids.len() < EDIDS;
        if room {
            self.edids.insert(id.to_owned(), edid);
        }
        room
    }

    /// Ports that showed it show the usual one.
    pub(super) fn remove_edid(&mut self, id: &str) {
        self.edids.remove(id);
        for port in self.ports.values_mut().filter(|port| port.edid.as_deref() == Some(id)) {
            port.edid = None;
        }
    }

    /// Takes over what is given. An empty name and a delay of 0 stand for the usual; a port that no switch can have is
    /// ignored.
    pub(super) fn set_port(&mut self, number: u32, wanted: Port) {
        if number >= PORTS {
            return;
        }
        let port = self.ports.entry(number).or_default();
        let Port { edid, dummy, name, delays } = wanted;
        if let Some(edid) = edid {
            port.edid = Some(edid).filter(|id| id != DEFAULT);
        }
        if let Some(name) = name {
            port.name = Some(name).filter(|name| !name.is_empty());
        }
        port.dummy = dummy.or(port.dummy);
        let own = &mut port.delays;
        for (own, wanted) in [
            (&mut own.power, delays.power),
            (&mut own.power_long, delays.power_long),
            (&mut own.reset, delays.reset),
        ] {
            if let Some(wanted) = wanted {
                *own = Some(wanted).filter(|delay| *delay > 0.0);
            }
        }
    }

    /// The files, by name.
    fn files(&self) -> [(&'static str, Value); 8] {
        let own = self.edids.iter().filter(|(id, _)| *id != DEFAULT);
        let edids: Value =
            own.map(|(id, edid)| (id.clone(), json!({"name": edid.name, "data": edid.data}))).collect();
        let colors: Value =
            self.colors.iter().map(|(role, color)| (role.clone(), Value::from(*color))).collect();
        [
            ("edids_all", edids),
            ("edids_port", self.of_ports(|port| port.edid.clone().map(Value::from))),
            ("dummies", self.of_ports(|port| port.dummy.map(Value::from))),
            ("colors", colors),
            ("port_names", self.of_ports(|port| port.name.clone().map(Value::from))),
            ("atx_click_power_delays", self.of_ports(|port| port.delays.power.map(Value::from))),
            ("atx_click_power_long_delays", self.of_ports(|port| port.delays.power_long.map(Value::from))),
            ("atx_click_reset_delays", self.of_ports(|port| port.delays.reset.map(Value::from))),
        ]
    }

    fn of_ports(&self, value: impl Fn(&Port) -> Option<Value>) -> Value {
        self.ports.iter().filter_map(|(number, port)| Some((number.to_string(), value(port)?))).collect()
    }

    /// What the files say; whatever makes no sense is left out.
    fn read(dir: &Path) -> Self {
        let mut settings = Self::default();
        for (id, edid) in object(dir, "edids_all") {
            let (name, data) = (edid["name"].as_str(), edid["data"].as_str());
            if let (Ok(id), Some(Ok(name)), Some(Ok(data))) = (
                super::check::edid(&id),
                name.map(super::check::edid_name),
                data.map(super::check::edid_data),
            ) {
                settings.add_edid(&id, Edid { name, data });
            }
        }
        for (role, color) in object(dir, "colors") {
            if let (Some(own), Some(color)) = (settings.colors.get_mut(&role), Color::read(&color)) {
                *own = color;
            }
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut ports = |file, wanted: &dyn Fn(&Value) -> Port| {
            for (number, value) in object(dir, file) {
                if let Ok(number) = number.parse() {
                    settings.set_port(number, wanted(&value));
                }
            }
        };
        ports("edids_port", &|value| Port { edid: text(value), ..Port::default() });
        ports("dummies", &|value| Port { dummy: value.as_bool(), ..Port::default() });
        ports("port_names", &|value| Port { name: text(value), ..Port::default() });
        let delays = |delays| Port { delays, ..Port::default() };
        let none = Delays::default;
        ports("atx_click_power_delays", &|value| delays(Delays { power: value.as_f64(), ..none() }));
        ports("atx_click_power_long_delays", &|value| {
            delays(Delays { power_long: value.as_f64(), ..none() })
        });
        ports("atx_click_reset_delays", &|value| delays(Delays { reset: value.as_f64(), ..none() }));
        settings
    }
}

fn object(dir: &Path, file: &str) -> serde_json::Map<String, Value> {
    const LONGEST: u64 = 1 << 20;
    let path = dir.join(format!("{file}.json"));
    let fits = fs::metadata(&path).is_ok_and(|meta| meta.len() <= LONGEST);
    let text = fits.then(|| fs::read(&path).ok()).flatten();
    let value = text.and_then(|text| serde_json::from_slice(&text).ok());
    match value {
        Some(Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    }
}

/// The handle. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Switch(Arc<watch::Sender<Settings>>);

impl Switch {
    /// What is set, and its changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Settings> {
        self.0.subscribe()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Settings)) {
        self.try_change(|settings| {
            change(settings);
            true
        });
    }

    /// Answers what `change` does: false leaves everything as it was.
    pub(super) fn try_change(&self, change: impl FnOnce(&mut Settings) -> bool) -> bool {
        let mut done = false;
        self.0.send_if_modified(|settings| {
            let before = settings.clone();
            done = change(settings);
            *settings != before
        });
        done
    }
}

/// Reads what was kept in `dir` and starts the task that keeps it. `default` is the file of the usual EDID, where the
/// administrator has one. The task ends with `stop`, after a last write.
#[must_use]
pub fn spawn(dir: PathBuf, default: &Path, stop: CancellationToken) -> (Switch, JoinHandle<()>) {
    let mut settings = Settings::read(&dir);
    if let Some(data) = fs::read_to_string(default).ok().and_then(|text| super::check::edid_data(&text).ok())
    {
        settings.edids.insert(DEFAULT.to_owned(), Edid { name: "Default".to_owned(), data });
    }
    let switch = Switch(Arc::new(watch::Sender::new(settings)));
    (switch.clone(), tokio::spawn(keep(switch, dir, stop)))
}

async fn keep(switch: Switch, dir: PathBuf, stop: CancellationToken) {
    let mut changes = switch.subscribe();
    loop {
        let changed = stop.run_until_cancelled(changes.changed()).await;
        if changed.is_none() && !changes.has_changed().unwrap_or(false) {
            return;
        }
        // Whoever drags a slider is not written down at each step.
        while let Some(Ok(Ok(()))) = stop.run_until_cancelled(timeout(QUIET, changes.changed())).await {}
        let (files, dir) = (changes.borrow_and_update().files(), dir.clone());
        let write = move || files.iter().try_for_each(|(name, value)| write(&dir, name, value));
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => log::warn!("What is set of the switch is not kept: {why}"),
            Err(why) => log::error!("Keeping what is set of the switch panicked: {why}"),
        }
    }
}

/// Leaves a file alone that says so already.
fn write(dir: &Path, name: &str, value: &Value) -> Result<(), auth::Error> {
    let (path, text) = (dir.join(format!("{name}.json")), value.to_string());
    if fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    auth::file::replace(&path, text.as_bytes())
}

/// A random id (RFC 9562, version 4).
pub(super) fn new_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex::encode(bytes);
    Ok([&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-"))
}

/// A monitor of 1920x1080 at 60 Hz without sound: what most targets are content with.
fn usual_edid() -> String {
    let mut bytes = vec![0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00];
    bytes.extend([0x31, 0xd8, 1, 0, 0, 0, 0, 0, 1, 30, 1, 3]); // maker LNX, product 1, 2020, EDID 1.3
    bytes.extend([0x80, 0, 0, 120, 0x0a]); // digital, no size, gamma 2.2, RGB, the first mode is preferred
    bytes.extend([0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]); // colours of sRGB
    bytes.extend([0x21, 0x08, 0x00]); // 640x480, 800x600 and 1024x768 at 60 Hz
    bytes.extend([1; 16]);
    // 148.5 MHz, 1920 of 2200 pixels, 1080 of 1125 lines, both syncs positive (CTA-861, mode 16).
    bytes.extend([0x02, 0x3a, 0x80, 0x18, 0x71, 0x38, 0x2d, 0x40, 0x58, 0x2c, 0x45, 0, 0, 0, 0, 0, 0, 0x1e]);
    bytes.extend(*b"\0\0\0\xfc\0KVM\n         ");
    bytes.extend([0, 0, 0, 0xfd, 0, 50, 75, 30, 83, 15, 0, 10, 32, 32, 32, 32, 32, 32]); // what it can follow
    bytes.extend(*b"\0\0\0\xff\0NONE\n        \0");
    bytes.push(bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte)));
    hex::encode_upper(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Settings {
        let mut settings = Settings::default();
        let id = new_id().unwrap();
        assert!(settings.add_edid(&id, Edid { name: "Mine".to_owned(), data: usual_edid() }));
        settings.colors.insert("active".to_owned(), Color::new(1, 2, 3, 4, 5));
        let delays = Delays { power: Some(1.5), power_long: Some(7.0), reset: Some(0.25) };
        let port = Port { edid: Some(id), dummy: Some(false), name: Some("Rack 3".to_owned()), delays };
        settings.set_port(4, port);
        settings
    }

    #[test]
    fn what_was_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let settings = example();
        for (name, value) in settings.files() {
            write(dir.path(), name, &value).unwrap();
        }
        assert_eq!(Settings::read(dir.path()), settings);
        assert!(!fs::read_to_string(dir.path().join("edids_all.json")).unwrap().contains(DEFAULT));
    }

    #[test]
    fn files_that_make_no_sense_are_as_none() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("edids_all", r#"{"x": {"name": "n", "data": "00"}, "default": {"name": "evil", "data": "00"}}"#),
            ("colors", r#"{"active": {"red": 256}, "nope": 1}"#),
            ("port_names", r#"{"99": "far", "x": "y", "1": 2}"#),
            ("dummies", "[1]"),
            ("edids_port", "{"),
        ] {
            fs::write(dir.path().join(format!("{name}.json")), text).unwrap();
        }
        let read = Settings::read(dir.path());
        assert_eq!((&read.edids, &read.colors), (&Settings::default().edids, &Settings::default().colors));
        assert!(read.ports.values().all(|port| *port == Port::default()));
    }

    #[test]
    fn an_empty_name_and_no_delay_stand_for_the_usual() {
        let mut settings = example();
        let delays = Delays { power: Some(0.0), ..Delays::default() };
        settings.set_port(4, Port { name: Some(String::new()), delays, ..Port::default() });
        let port = &settings.ports[&4];
        assert_eq!((port.name.as_ref(), port.delays.power, port.delays.reset), (None, None, Some(0.25)));
        let id = port.edid.clone().unwrap();
        settings.remove_edid(&id);
        assert_eq!(settings.ports[&4].edid, None);
        settings.set_port(PORTS, Port { dummy: Some(true), ..Port::default() });
        assert_eq!(settings.ports.len(), 1);
    }

    #[test]
    fn there_is_a_last_edid() {
        let mut settings = Settings::default();
        let edid = Edid { name: "x".to_owned(), data: String::new() };
        for number in 1..EDIDS {
            assert!(settings.add_edid(&number.to_string(), edid.clone()));
        }
        assert!(!settings.add_edid("one more", edid));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_written_when_five_seconds_have_been_quiet_and_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let (switch, task) = spawn(dir.path().to_owned(), Path::new("/nowhere"), stop.clone());
        let file = dir.path().join("colors.json");
        let paint = |red| {
            switch.change(|settings| {
                settings.colors.insert("beacon".to_owned(), Color::new(red, 0, 0, 0, 0));
            });
        };
        for red in 0..3 {
            paint(red);
            tokio::time::sleep(QUIET / 2).await;
            assert!(!file.exists(), "{red}");
        }
        while !fs::read_to_string(&file).is_ok_and(|text| text.contains("\"red\":2")) {
            tokio::time::sleep(QUIET).await;
        }
        paint(7);
        stop.cancel();
        task.await.unwrap();
        assert!(fs::read_to_string(&file).unwrap().contains("\"red\":7"));
    }
}
