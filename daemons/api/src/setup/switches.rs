//! The named switches: which driver each channel gets, and which lines the supervisor holds.

use super::Start;
use crate::switch::{self, Switch};
use config::{Config, Layout};
use life::ListenFds;
use model::legacy::Wol;
use std::{collections::BTreeMap, net::Ipv4Addr, os::fd::OwnedFd};

pub(super) fn start_gpio(
    config: &Config,
    layout: &Layout,
    start: &mut Start<'_>,
) -> anyhow::Result<gpio::Gpio> {
    let settings = &config.kvmd.gpio;
    let scheme: BTreeMap<String, gpio::Channel> =
        settings.scheme.iter().map(|(name, channel)| (name.clone(), gpio_channel(channel))).collect();
    let mut drivers = gpio::Drivers::new();
    for (name, driver) in &settings.drivers {
        let own = scheme.values().filter(|channel| channel.hw.driver == *name);
        let pins: Vec<_> = own.map(gpio::pin_use).collect();
        // The default driver is there whether or not anything uses it.
        if !pins.is_empty() {
            let driver = gpio_driver(config, layout, driver);
            let held = held_lines(name, &driver, &pins, start.descriptors)?;
            drivers.insert(name.clone(), driver.build(held));
        }
    }
    let view = gpio::ViewSettings {
        title: settings.view.header.title.clone(),
        table: settings.view.table.iter().map(|row| row.clone().unwrap_or_default()).collect(),
    };
    let marks = start.descriptors.take("pulses").map(gpio::Marks::new);
    let stop = start.stop.child_token();
    let (gpio, task) = gpio::spawn_marked(gpio::Settings { scheme, view }, drivers, marks, stop)?;
    start.keep(task);
    Ok(gpio)
}

pub(super) fn start_switch(config: &Config, layout: &Layout, start: &mut Start<'_>) -> Switch {
    let dir = layout.kvmd_state().join("switch");
    let stop = start.stop.child_token();
    let (switch, task) = switch::spawn(dir, &config.kvmd.switch.default_edid, stop);
    start.keep(task);
    switch
}

/// The machine that the channel `__wol__` wakes, where there is one.
pub(super) fn wol(gpio: &config::Gpio) -> Wol {
    let driver = gpio.scheme.get("__wol__").and_then(|channel| gpio.drivers.get(&channel.driver));
    let Some(config::Driver::Wol(wol)) = driver else { return Wol::default() };
    let mac: Vec<String> = wol.mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let ip = wol.ip.unwrap_or(Ipv4Addr::BROADCAST.into()).to_string();
    Wol { ip, port: wol.port, mac: mac.join(":") }
}

/// The output lines of a chip, when the supervisor holds exactly these.
fn held_lines(
    name: &str,
    driver: &gpio::DriverSettings,
    pins: &[gpio::PinUse],
    descriptors: &mut ListenFds,
) -> anyhow::Result<Option<OwnedFd>> {
    let gpio::DriverSettings::Gpio(chip) = driver else { return Ok(None) };
    let outputs = gpio::chip::outputs(chip, pins)?;
    Ok(outputs.and_then(|outputs| descriptors.take(&outputs.descriptor_name(&format!("gpio.{name}")))))
}

fn gpio_driver(config: &Config, layout: &Layout, driver: &config::Driver) -> gpio::DriverSettings {
    use gpio::DriverSettings as Ours;
    match driver {
        config::Driver::Noop(_) => Ours::Noop,
        config::Driver::Gpio(chip) => Ours::Gpio(gpio::chip::Settings { device: chip.device.clone() }),
        config::Driver::HidRelay(relay) => Ours::HidRelay(gpio::hidrelay::Settings {
            device: relay.device.clone(),
            state_poll: relay.state_poll,
        }),
        config::Driver::Wol(wol) => Ours::Wol(gpio::wol::Settings {
            ip: wol.ip.unwrap_or(Ipv4Addr::BROADCAST.into()),
            port: wol.port,
            mac: wol.mac,
        }),
        config::Driver::Cmd(cmd) => {
            Ours::Cmd(gpio::cmd::CmdSettings { command: cmd.cmd.clone(), timeout: cmd.timeout })
        }
        config::Driver::CmdRet(cmd) => Ours::CmdRet(gpio::cmd::CmdRetSettings {
            command: cmd.cmd.clone(),
            timeout: cmd.timeout,
            state_poll: cmd.state_poll,
        }),
        config::Driver::Pwm(pwm) => Ours::Pwm(gpio::pwm::Settings {
            chip: pwm.chip,
            period_ns: pwm.period,
            push_ns: pwm.duty_cycle_push,
            release_ns: pwm.duty_cycle_release,
            ..gpio::pwm::Settings::default()
        }),
        config::Driver::Servo(servo) => Ours::Servo(gpio::pwm::Servo {
            chip: servo.chip,
            period_ns: servo.period,
            min_ns: servo.duty_cycle_min,
            max_ns: servo.duty_cycle_max,
            min_angle: servo.angle_min,
            max_angle: servo.angle_max,
            push_angle: servo.angle_push,
            release_angle: servo.angle_release,
        }),
        config::Driver::Otgconf(otg) => Ours::OtgConf(gpio::otgconf::Settings {
            udc: Some(otg.udc.clone()).filter(|udc| !udc.is_empty()),
            init_delay: otg.init_delay,
            paths: gadget::Paths { name: config.otg.gadget.clone(), ..gadget::Paths::default() },
            mark: layout.run.join("otg/relinking"),
            ..gpio::otgconf::Settings::default()
        }),
        config::Driver::Locator(chip) => {
            Ours::Locator(gpio::locator::Settings { device: chip.device.clone() })
        }
    }
}

fn gpio_channel(channel: &config::Channel) -> gpio::Channel {
    let mode = match channel.mode {
        config::GpioMode::Input => gpio::Mode::Input { debounce: channel.debounce },
        config::GpioMode::Output => gpio::Mode::Output {
            initial: channel.initial,
            switch: channel.switch,
            busy_delay: channel.busy_delay,
            pulse: gpio::Pulse {
                delay: channel.pulse.delay,
                min_delay: channel.pulse.min_delay,
                max_delay: channel.pulse.max_delay,
            },
        },
    };
    gpio::Channel {
        hw: gpio::Hw { driver: channel.driver.clone(), pin: channel.pin.clone() },
        inverted: channel.inverted,
        mode,
    }
}
