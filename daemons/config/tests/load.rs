//! Loading whole directories of settings: order, errors, warnings, older spellings.

#![expect(clippy::unwrap_used, reason = "a test may end that way, its helpers too")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Args, Config, Driver, Layout, Resolution, Warning};
use proptest::prelude::*;

/// A `--state` directory with the given files below it.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            dir.write(name, text.as_bytes());
        }
        dir
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn args(&self) -> Args {
        Args { state: Some(self.0.path().to_owned()), ..Args::default() }
    }

    fn load(&self) -> Result<(Config, Vec<Warning>), String> {
        self.load_args(&self.args())
    }

    fn load_args(&self, args: &Args) -> Result<(Config, Vec<Warning>), String> {
        config::load(args).map_err(|errors| self.plain(&errors.to_string()))
    }

    /// `text` without the name of the temporary directory.
    fn plain(&self, text: &str) -> String {
        text.replace(&*self.0.path().to_string_lossy(), "DIR")
    }
}

fn one(text: &str) -> Result<(Config, Vec<Warning>), String> {
    Dir::new(&[("etc/override.yaml", text)]).load()
}

fn warnings(text: &str) -> String {
    let dir = Dir::new(&[("etc/override.yaml", text)]);
    let (_, warnings) = dir.load().unwrap();
    dir.plain(&warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn without_files_everything_is_at_its_default() {
    let dir = Dir::new(&[]);
    let (config, warnings) = dir.load().unwrap();
    assert_eq!(config, Config::defaults(&dir.args().layout()));
    assert!(warnings.is_empty());
}

#[test]
fn later_files_win_key_by_key() {
    let quality = |value: u32| format!("kvmd: {{streamer: {{quality: {value}}}}}");
    let mut dir = Dir::new(&[]);
    let mut expect = |name: &str, value: u32| {
        dir.write(name, quality(value).as_bytes());
        let mut args = dir.args();
        args.override_config.extend(name.starts_with("extra").then(|| dir.path(name)));
        let (config, _) = dir.load_args(&args).unwrap();
        assert_eq!(config.kvmd.streamer.quality, value, "{name}");
        assert_eq!(config.kvmd.streamer.desired_fps.default, 30);
        dir = Dir(std::mem::replace(&mut dir.0, tempfile::tempdir().unwrap()));
    };
    expect("lib/main.yaml", 1);
    expect("etc/override.d/10-a.yaml", 3);
    expect("etc/override.d/20-b.yaml", 4);
    expect("etc/override.yaml", 5);
    expect("extra.yaml", 6);
}

#[test]
fn the_old_file_of_logins_is_put_at_its_place() {
    let dir = Dir::new(&[("etc/auth.yaml", "internal: {force_users: [admin]}")]);
    assert_eq!(dir.load().unwrap().0.kvmd.auth.internal.force_users, ["admin"]);
}

#[test]
fn a_section_whose_lines_are_all_comments_changes_nothing() {
    let dir = Dir::new(&[
        ("lib/main.yaml", "kvmd: {streamer: {quality: 7}}"),
        ("etc/override.yaml", "kvmd:\n    streamer:\n    # quality: 9\n"),
    ]);
    assert_eq!(dir.load().unwrap().0.kvmd.streamer.quality, 7);
}

#[test]
fn files_may_include_files_directories_and_lists() {
    let dir = Dir::new(&[
        (
            "etc/override.yaml",
            "kvmd: !include [a.yaml, more]\nnginx: !include /dev/null\nvm: !include sub/vm.yaml",
        ),
        ("etc/a.yaml", "streamer: {quality: 1, forever: true}"),
        ("etc/more/1.yaml", "streamer: {quality: 2}"),
        ("etc/more/.hidden.yaml", "streamer: {quality: 3}"),
        ("etc/sub/vm.yaml", "{memory: 64}"),
    ]);
    let error = dir.load().unwrap_err();
    assert_eq!(error, "DIR/etc/override.yaml:2: !include: cannot read /dev/null: not a regular file");
    dir.write("etc/override.yaml", b"kvmd: !include [a.yaml, more]\nvm: !include sub/vm.yaml");
    let (config, _) = dir.load().unwrap();
    assert_eq!((config.kvmd.streamer.quality, config.kvmd.streamer.forever, config.vm.memory), (2, true, 64));
}

#[test]
fn a_file_that_includes_itself_is_told() {
    let dir = Dir::new(&[
        ("etc/override.yaml", "kvmd: !include b.yaml"),
        ("etc/b.yaml", "hid: !include override.yaml"),
    ]);
    insta::assert_snapshot!(dir.load().unwrap_err(), @"DIR/etc/b.yaml:1: !include: DIR/etc/override.yaml includes itself");
}

#[test]
fn the_usb_device_may_lack_a_serial_number_and_is_written_in_hexadecimal() {
    let (config, warnings) = one("otg: {serial: null, vendor_id: 0x1209, usb_version: 0x0110}").unwrap();
    assert_eq!((config.otg.serial, config.otg.vendor_id, config.otg.usb_version), (None, 0x1209, 0x0110));
    assert!(warnings.is_empty());
    let bad = "otg: {gadget: ../kvmd, max_power: 501, devices: {ethernet: {driver: wifi, host_mac: '02'}}}";
    insta::assert_snapshot!(one(bad).unwrap_err());
}

#[test]
fn every_bad_value_is_told_not_just_the_first() {
    let error = one(BAD_VALUES).unwrap_err();
    insta::assert_snapshot!(error);
}

const BAD_VALUES: &str = "\
kvmd:
    auth:
        enabled: perhaps
        expire: -1
        usc: {users: [Root]}
        internal: {type: ldap, file: relative/file}
        throttle: 5
    server: {unix_mode: 99, heartbeat: .nan}
    hid:
        type: serail
        mouse_x_range: {min: 5, max: 5}
        ignore_keys: KeyA
    streamer:
        quality: 101
        desired_fps: {min: 60, max: 30}
        resolution: {default: 1920X1080, available: [1x1, 0x0]}
        source: {type: replay}
    gpio:
        drivers:
            relay: {type: hidrelly}
            bad name: {}
            nothing:
        scheme:
            led: {pin: 5}
            fan: {driver: nowhere, pin: 1, mode: output, initial: maybe}
            # The next one is fine.
            ok: {pin: 6, mode: input}
        view: {table: [[a], 5]}
    info: []
nginx:
    http: {port: 8443, ipv4: localhost}
    https: {port: 70000}
vm: {memory: lots}
janus: [1]
";

#[test]
fn what_is_not_yaml_is_told_with_its_place() {
    let errors: Vec<_> = ["a: [1", "a: 'x", "- 1", "just text", "a: 1\nb", "kvmd: {a: *x}"]
        .iter()
        .map(|text| one(text).unwrap_err())
        .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn one_bad_file_does_not_hide_what_is_wrong_in_another() {
    let dir = Dir::new(&[
        ("etc/override.d/1.yaml", "kvmd: ["),
        ("etc/override.d/2.yaml", "kvmd: {streamer: {quality: x}}"),
    ]);
    dir.write("etc/override.d/3.yaml", b"kvmd: \xff");
    insta::assert_snapshot!(dir.load().unwrap_err());
}

#[test]
fn a_file_named_by_a_flag_must_be_there() {
    let dir = Dir::new(&[]);
    let args = Args {
        main_config: Some(dir.path("m.yaml")),
        override_dir: Some(dir.path("d")),
        override_config: vec![dir.path("o.yaml")],
        ..dir.args()
    };
    insta::assert_snapshot!(dir.load_args(&args).unwrap_err());
}

#[test]
fn an_unknown_key_is_a_warning_with_the_nearest_known_one() {
    insta::assert_snapshot!(warnings(
        "kvmd:\n  auth: {enabeld: true, internal: {forceusers: []}}\n  streamer: {qualty: 5, xyzzy: 1}\nngnix: {}\n"
    ));
}

#[test]
fn older_spellings_are_understood() {
    let (config, warnings) = one(
        "kvmd:\n  streamer: {desired_fps: 20, max_fps: 25, resolution: 640x480, available_resolutions: [640x480, 1280x720]}\n\
         \x20 gpio: {scheme: {a: {pin: 1, mode: output, pulse: false}}}\n\
         \x20 wol: {mac: 'ff:ff:ff:ff:ff:ff', port: 7}\n\
         otg: {acm: {enabled: true}, msd: {default: {cdrom: false}}, drives: {count: 2}}\n",
    )
    .unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let streamer = &config.kvmd.streamer;
    assert_eq!((streamer.desired_fps.default, streamer.desired_fps.max), (20, 25));
    assert_eq!(streamer.resolution.default, Some(Resolution { width: 640, height: 480 }));
    assert_eq!(streamer.resolution.available.len(), 2);
    assert_eq!(config.kvmd.gpio.scheme["a"].pulse.delay, Duration::ZERO);
    let Driver::Wol(wol) = &config.kvmd.gpio.drivers["__wol__"] else {
        panic!("{:?}", config.kvmd.gpio.drivers)
    };
    assert_eq!((wol.port, wol.mac), (7, [0xff; 6]));
    assert_eq!(config.kvmd.gpio.scheme["__wol__"].driver, "__wol__");
    assert!(config.otg.devices.serial.enabled);
    assert!(!config.otg.devices.msd.default.cdrom);
    assert_eq!(config.otg.devices.drives.count, 2);
}

#[test]
fn an_older_spelling_does_not_replace_another_files_map() {
    let dir = Dir::new(&[
        ("lib/main.yaml", "kvmd: {streamer: {desired_fps: {min: 5, max: 60}}}"),
        ("etc/override.yaml", "kvmd: {streamer: {desired_fps: 40}}"),
    ]);
    let fps = dir.load().unwrap().0.kvmd.streamer.desired_fps;
    assert_eq!((fps.default, fps.min, fps.max), (40, 5, 60));
}

#[test]
fn a_default_outside_new_limits_follows_them() {
    let (config, warnings) = one("kvmd: {streamer: {desired_fps: {max: 20}}}").unwrap();
    assert_eq!(config.kvmd.streamer.desired_fps.default, 20);
    assert!(warnings.is_empty());
    let (config, warnings) = one("kvmd: {streamer: {desired_fps: {default: 25, max: 20}}}").unwrap();
    assert_eq!(config.kvmd.streamer.desired_fps.default, 20);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn flags_accept_what_pikvm_accepts() {
    for (text, value) in [("true", true), ("yes", true), ("'No'", false), ("1", true), ("FALSE", false)] {
        let (config, _) = one(&format!("kvmd: {{auth: {{enabled: {text}}}}}")).unwrap();
        assert_eq!(config.kvmd.auth.enabled, value, "{text}");
    }
    for text in ["on", "off", "y", "''", "~", "[]", "2"] {
        assert!(one(&format!("kvmd: {{auth: {{enabled: {text}}}}}")).is_err(), "{text}");
    }
}

#[test]
fn permissions_are_octal_however_written() {
    for text in ["0660", "660", "'0660'", "0o660"] {
        let (config, _) = one(&format!("kvmd: {{server: {{unix_mode: {text}}}}}")).unwrap();
        assert_eq!(config.kvmd.server.unix_mode, 0o660, "{text}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let (config, _) = one("ipmi: {host: h, passwd: hunter2, token: hunter2}\n\
         janus: {deep: [{secret: hunter2, shared_secret: hunter2, name: visible}]}\n")
    .unwrap();
    assert_eq!(config.ipmi.0["passwd"], "hunter2");
    let shown = config.show().to_string();
    assert!(!shown.contains("hunter2"));
    assert!(shown.contains("visible"));
    let changes = format!("{:?}", config.diff(&Layout::system()));
    assert!(!changes.contains("hunter2"));
}

#[test]
fn what_is_shown_reads_back_as_the_same_settings() {
    let dir = Dir::new(&[(
        "etc/override.yaml",
        "kvmd: {gpio: {scheme: {a: {pin: 1, mode: output, initial: null}}}}",
    )]);
    let (config, _) = dir.load().unwrap();
    dir.write("etc/override.yaml", config::to_yaml(&config.show()).as_bytes());
    let (again, warnings) = dir.load().unwrap();
    assert_eq!(again, config);
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn the_difference_names_exactly_what_was_set() {
    let dir = Dir::new(&[("etc/override.yaml", "kvmd: {streamer: {quality: 5}}\nnginx: {https: {port: 1}}")]);
    let (config, _) = dir.load().unwrap();
    let changes: Vec<_> = config
        .diff(&dir.args().layout())
        .into_iter()
        .map(|change| format!("{}: {} (default {})", change.key, change.value, change.default))
        .collect();
    assert_eq!(changes, ["kvmd.streamer.quality: 5 (default 80)", "nginx.https.port: 1 (default 8443)"]);
}

#[test]
fn the_documentation_is_in_step() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, config::documentation()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(page == config::documentation(), "run: UPDATE_DOCS=1 cargo test -p config");
}

/// Any value YAML's flow style can hold.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("~".to_owned()),
        Just("true".to_owned()),
        Just(".inf".to_owned()),
        Just("1e400".to_owned()),
        Just("-9223372036854775808".to_owned()),
        Just("0x7fffffffffffffff".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        "[ -~é]{0,8}".prop_map(|text| format!("'{}'", text.replace('\'', "''"))),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            inner.prop_map(|value| format!("{{a: {value}}}")),
        ]
    })
}

/// The dotted path of every key, from what is shown.
fn keys() -> Vec<String> {
    fn walk(key: &str, json: &serde_json::Value, out: &mut Vec<String>) {
        out.push(key.to_owned());
        for (name, value) in json.as_object().into_iter().flatten() {
            walk(&if key.is_empty() { name.clone() } else { format!("{key}.{name}") }, value, out);
        }
    }
    let mut out = Vec::new();
    walk("", &Config::defaults(&Layout::system()).show(), &mut out);
    out.retain(|key| !key.is_empty());
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_value_behind_any_key_panics_and_every_problem_has_its_place(
        key in proptest::sample::select(keys()),
        value in value(),
    ) {
        let depth = key.split('.').count();
        let text = format!("{}{value}{}", key.split('.').map(|part| format!("{{{part}: ")).collect::<String>(), "}".repeat(depth));
        let dir = Dir::new(&[("etc/override.yaml", &text)]);
        match config::load(&dir.args()) {
            Ok((config, _)) => { let _ = config.show(); }
            Err(errors) => for problem in errors.iter() {
                let at = problem.at.as_ref().unwrap();
                prop_assert_eq!(at.line, 1, "{}", problem);
                // Rules between values may name a neighbour, never another section.
                let section = |key: &str| key.split('.').take(2).collect::<Vec<_>>().join(".");
                let (told, given) = (section(&problem.key), section(&key));
                prop_assert!(told.starts_with(&given) || given.starts_with(&told) || told.starts_with("nginx"), "{} for {}", problem, key);
            }
        }
    }
}

#[test]
fn every_driver_type_has_keys_of_its_own() {
    let (config, warnings) = one("kvmd:\n  gpio:\n    drivers:\n\
         \x20     chip: {type: gpio, device: /dev/gpiochip1}\n\
         \x20     relay: {type: hidrelay, device: /dev/hidraw3, state_poll: 2}\n\
         \x20     wake: {type: wol, mac: 02-00-5E-10-00-01}\n\
         \x20     script: {type: cmd, cmd: [/bin/echo, a b]}\n\
         \x20     light: {type: cmdret, cmd: [/bin/true]}\n\
         \x20     lamp: {type: pwm, duty_cycle_push: 20000000}\n\
         \x20     finger: {type: servo, angle_push: -45.5}\n\
         \x20     cable: {type: otgconf}\n\
         \x20     here: {type: locator}\n\
         \x20     none: {type: noop, odd: 1}\n")
    .unwrap();
    let drivers = &config.kvmd.gpio.drivers;
    assert_eq!(drivers.len(), 11, "and the one that is always there");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let Driver::HidRelay(relay) = &drivers["relay"] else { panic!("{drivers:?}") };
    assert_eq!((relay.device.to_str(), relay.state_poll), (Some("/dev/hidraw3"), Duration::from_secs(2)));
    let Driver::Wol(wake) = &drivers["wake"] else { panic!("{drivers:?}") };
    assert_eq!(
        (wake.mac, wake.port, wake.ip.unwrap().to_string()),
        ([2, 0, 0x5e, 0x10, 0, 1], 9, "255.255.255.255".to_owned())
    );
    let Driver::Cmd(script) = &drivers["script"] else { panic!("{drivers:?}") };
    assert_eq!(script.cmd, ["/bin/echo", "a b"]);
    let Driver::Servo(finger) = &drivers["finger"] else { panic!("{drivers:?}") };
    assert!((finger.angle_push + 45.5).abs() < f64::EPSILON);
}

#[test]
fn a_driver_that_cannot_work_stops_the_start() {
    for (driver, said) in [
        ("type: hue, token: x", "d.type: expected one of gpio, noop, hidrelay"),
        ("type: hue, token: x", "this one is PiKVM's, and not here"),
        ("type: abacus", "found abacus"),
        ("device: /dev/gpiochip0", "expected the key \"type\", found none"),
        ("type: wol", "expected the key \"mac\", found none"),
        ("type: wol, mac: 02:00:5e:10:00", "the address of a network card"),
        ("type: cmd, cmd: []", "a program and its arguments"),
        ("type: cmd, cmd: reboot", "a program and its arguments"),
        ("type: pwm, duty_cycle_push: 20000001", "at most period (20000000)"),
        ("type: servo, angle_max: .nan", "a number from -360 to 360"),
    ] {
        let errors = one(&format!("kvmd: {{gpio: {{drivers: {{d: {{{driver}}}}}}}}}")).unwrap_err();
        assert!(errors.contains(said), "{driver}: {errors}");
    }
}

#[test]
fn a_channel_its_driver_cannot_have_stops_the_start() {
    for (driver, channel, said) in [
        ("type: gpio", "pin: abc, mode: input", "expected the number of a line, found abc"),
        ("type: gpio", "pin: -1, mode: input", "the number of a line"),
        ("type: gpio", "pin: 24, mode: input", "another line than kvmd.atx.power_led_pin"),
        ("type: hidrelay, device: /dev/hidraw0", "pin: 8, mode: output", "a relay from 0 to 7"),
        ("type: cmdret, cmd: [/bin/true]", "pin: 0, mode: output", "the only mode of a cmdret driver"),
        ("type: wol, mac: '02:00:5e:10:00:01'", "pin: 0, mode: input", "the only mode of this driver"),
        ("type: otgconf", "pin: ../../x, mode: output", "udc or the name of a function"),
    ] {
        let text = format!(
            "kvmd: {{atx: {{type: gpio}}, gpio: {{drivers: {{d: {{{driver}}}}}, scheme: {{c: {{driver: d, {channel}}}}}}}}}"
        );
        let errors = one(&text).unwrap_err();
        assert!(
            errors.contains("kvmd.gpio.scheme.c.") && errors.contains(said),
            "{driver} {channel}: {errors}"
        );
    }
    let errors = one("kvmd: {atx: {type: gpio, hdd_led_pin: 24}}").unwrap_err();
    assert!(
        errors.contains("kvmd.atx.hdd_led_pin: expected another line than power_led_pin, found 24"),
        "{errors}"
    );
}
