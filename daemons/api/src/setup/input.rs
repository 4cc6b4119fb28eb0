//! Keyboard and mouse: which cable, and what goes over it.

use super::{Machine, Start};
use anyhow::{Context, bail};
use config::{Config, HidType, Layout};
use hid_wire::Key;

fn hid_settings(config: &Config) -> anyhow::Result<hid::Settings> {
    let settings = &config.kvmd.hid;
    let win98 = settings.mouse.absolute_win98_fix;
    let key = |name: &String| {
        Key::from_name(name).with_context(|| format!("kvmd.hid.ignore_keys: no key {name:?}"))
    };
    Ok(hid::Settings {
        ignore_keys: settings.ignore_keys.iter().map(key).collect::<Result<_, _>>()?,
        mice: match (settings.r#type, settings.mouse_alt.device.is_some(), settings.mouse.absolute) {
            (HidType::Ch9329, _, _) => hid::Mice::Both { win98: false, relative_first: false },
            (_, true, absolute) => hid::Mice::Both { win98, relative_first: !absolute },
            (_, false, true) => hid::Mice::Absolute { win98 },
            (_, false, false) => hid::Mice::Relative,
        },
        x_range: hid::Range { min: settings.mouse_x_range.min, max: settings.mouse_x_range.max },
        y_range: hid::Range { min: settings.mouse_y_range.min, max: settings.mouse_y_range.max },
        jiggler_enabled: settings.jiggler.enabled,
        jiggler_active: settings.jiggler.active,
        jiggler_interval: settings.jiggler.interval,
        retries: settings.keyboard.write_retries,
        ..hid::Settings::default()
    })
}

pub(super) fn start_hid(
    config: &Config,
    layout: &Layout,
    machine: &Machine,
    start: &mut Start<'_>,
) -> anyhow::Result<hid::Hid> {
    let ours = &config.kvmd.hid;
    let settings = hid_settings(config)?;
    let stop = start.stop.child_token();
    let (hid, task) = match ours.r#type {
        HidType::Noop => hid::spawn(settings, hid::link::Noop, stop),
        HidType::Otg if ours.noop => hid::spawn(settings, hid::link::Noop, stop),
        HidType::Otg => {
            let paths = gadget::Paths { name: config.otg.gadget.clone(), ..gadget::Paths::default() };
            let link = otg_settings(config, layout, &paths);
            let states = gadget::state::watch(paths, machine.later.child_token());
            hid::spawn(settings, hid::link::Otg::new(link, states), stop)
        }
        HidType::Ch9329 => {
            let (device, speed, read_timeout) = (ours.device.clone(), ours.speed, ours.read_timeout);
            let link = hid::link::ch9329::Settings { device, speed, read_timeout };
            hid::spawn(settings, hid::link::Ch9329::new(link).context("kvmd.hid.speed")?, stop)
        }
        HidType::Vm => {
            let (qmp, later) = machine.get("kvmd.hid.type")?;
            let leds = vm::screen::leds(
                machine.screen.clone(),
                vm::screen::Settings::default(),
                later.child_token(),
            );
            hid::spawn(settings, hid::link::Vm::new(qmp.clone(), leds), stop)
        }
        HidType::Serial | HidType::Spi | HidType::Bt => bail!(
            "kvmd.hid.type: this release has no driver for micro-controllers (serial, spi) or Bluetooth (bt); it has otg, ch9329, \
             vm and noop"
        ),
    }
    .context("cannot start the keyboard and mouse")?;
    start.keep(task);
    Ok(hid)
}

fn otg_settings(config: &Config, layout: &Layout, paths: &gadget::Paths) -> hid::link::otg::Settings {
    use hid::link::otg::{Function, Settings};
    let ours = &config.kvmd.hid;
    let keyboard = Function {
        device: ours.keyboard.device.clone(),
        select_timeout: ours.keyboard.select_timeout,
        horizontal_wheel: false,
    };
    let mouse = Function {
        device: ours.mouse.device.clone(),
        select_timeout: ours.mouse.select_timeout,
        horizontal_wheel: ours.mouse.horizontal_wheel,
    };
    let alt = &ours.mouse_alt;
    let alt = alt.device.clone().map(|device| Function {
        device,
        select_timeout: alt.select_timeout,
        horizontal_wheel: alt.horizontal_wheel,
    });
    let (absolute, relative) = if ours.mouse.absolute { (Some(mouse), alt) } else { (alt, Some(mouse)) };
    Settings {
        keyboard,
        absolute,
        relative,
        udc: config.otg.remote_wakeup.then(|| paths.udc_file()),
        last_absolute: Some(layout.run.join("otg/last-absolute")),
        ..Settings::default()
    }
}
