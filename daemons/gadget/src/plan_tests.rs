use proptest::prelude::*;

use super::*;
use crate::controller::Kind;
use crate::settings::{Audio, Camera, Drive, Ethernet, EthernetDriver, Keyboard, Mouse, Serial};

fn controller(kind: Kind) -> Controller {
    Controller { name: "x".to_owned(), kind }
}

fn everything() -> Settings {
    Settings {
        endpoints: 99,
        extra_drives: vec![Drive::extra(); 2],
        ethernet: Some(Ethernet { start: true, driver: EthernetDriver::Ecm, host_mac: None, kvm_mac: None }),
        serial: Some(Serial { start: true }),
        audio: Some(Audio { start: true, speakers: true, mic: true }),
        camera: Some(Camera { start: true }),
        ..Settings::default()
    }
}

fn table(plan: &Plan) -> String {
    let line = |function: &Function| {
        let fate = match &function.fate {
            Fate::Linked => String::new(),
            Fate::DoesNotFit { turn_off: Some(off) } => format!("  does not fit, without {off:?} it would"),
            fate => format!("  {fate:?}"),
        };
        format!("{:20} {:2}  {}{fate}\n", function.name, function.cost.endpoints, function.description)
    };
    plan.functions.iter().map(line).collect()
}

#[test]
fn functions_come_in_the_order_of_the_contract_with_its_costs() {
    insta::assert_snapshot!(table(&plan(&everything(), &Controller::unknown())));
}

#[test]
fn what_does_not_fit_says_what_to_turn_off() {
    let settings = Settings { endpoints: 9, ..everything() };
    insta::assert_snapshot!(table(&plan(&settings, &controller(Kind::Dwc2))));
}

#[test]
fn the_usual_gadget_fits_a_raspberry_pi_and_takes_five_endpoints() {
    let plan = plan(&Settings::default(), &controller(Kind::Dwc2));
    assert!(plan.functions.iter().all(Function::is_linked));
    assert_eq!((plan.used(), plan.endpoints), (5, 9));
}

#[test]
fn a_controller_s_own_limit_holds_whatever_the_settings_say() {
    let settings = Settings { extra_drives: Vec::new(), ..everything() };
    let inputs = |plan: &Plan| plan.linked().map(|one| one.cost.inputs).sum::<u32>();
    let plan_for = |kind| plan(&settings, &controller(kind));
    assert_eq!(inputs(&plan_for(Kind::Other)), 13);
    assert!(inputs(&plan_for(Kind::Dwc2)) <= 7);
}

#[test]
fn in_bios_safe_mode_the_host_sees_a_boot_keyboard_and_nothing_else() {
    let plan = plan(&Settings { bios_safe: true, ..everything() }, &Controller::unknown());
    let linked: Vec<_> = plan.linked().map(|function| function.name.as_str()).collect();
    assert_eq!(linked, ["hid.usb0"]);
    assert_eq!(plan.functions.len(), 10, "the others are there, to be linked again");
}

#[test]
fn a_function_that_is_not_started_costs_nothing() {
    let drive = Drive { start: false, ..Drive::default() };
    let settings = Settings { endpoints: 3, drive: Some(drive), ..Settings::default() };
    let plan = plan(&settings, &Controller::unknown());
    assert_eq!(plan.functions.last().map(|one| &one.fate), Some(&Fate::NotStarted));
    assert_eq!(plan.used(), 3);
}

#[test]
fn what_never_fits_gets_no_advice_and_the_keyboard_is_never_given_up() {
    let plan = plan(&Settings { endpoints: 3, ..everything() }, &Controller::unknown());
    let fate = |name: &str| plan.functions.iter().find(|one| one.name == name).map(|one| one.fate.clone());
    assert_eq!(fate("ecm.usb0"), Some(Fate::DoesNotFit { turn_off: None }));
    assert!(matches!(fate("uvc.usb0"), Some(Fate::DoesNotFit { turn_off: Some(_) })));
}

fn settings() -> impl Strategy<Value = Settings> {
    let flag = any::<bool>;
    let mouse =
        || {
            (any::<bool>(), any::<bool>(), any::<bool>())
                .prop_map(|(start, absolute, horizontal_wheel)| Mouse { start, absolute, horizontal_wheel })
        };
    let some = prop::option::weighted::<BoxedStrategy<bool>>;
    let start = || flag().boxed();
    (
        (0_u32..20, prop::bool::weighted(0.1), some(0.9, start())),
        (prop::option::of(mouse()), prop::option::of(mouse()), some(0.8, start())),
        (prop::collection::vec(flag(), 0..4), some(0.6, start()), some(0.6, start())),
        (prop::option::of((flag(), flag(), flag())), some(0.6, start()), 0_usize..5),
    )
        .prop_map(
            |((endpoints, bios_safe, keyboard), (mouse, mouse_alt, drive), (extra, net, serial), last)| {
                use EthernetDriver::{Ecm, Eem, Ncm, Rndis, Rndis5};
                let (audio, camera, driver) = last;
                let driver = [Ecm, Eem, Ncm, Rndis, Rndis5][driver];
                let drive_of = |start| Drive { start, ..Drive::default() };
                Settings {
                    endpoints,
                    bios_safe,
                    keyboard: keyboard.map(|start| Keyboard { start }),
                    mouse,
                    mouse_alt,
                    drive: drive.map(drive_of),
                    extra_drives: extra.into_iter().map(drive_of).collect(),
                    ethernet: net.map(|start| Ethernet { start, driver, host_mac: None, kvm_mac: None }),
                    serial: serial.map(|start| Serial { start }),
                    audio: audio.map(|(start, speakers, mic)| Audio { start, speakers, mic }),
                    camera: camera.map(|start| Camera { start }),
                    ..Settings::default()
                }
            },
        )
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Dwc2), Just(Kind::Dummy), Just(Kind::Other)]
}

/// As a person does who follows the advice.
fn without(mut settings: Settings, off: &[Role]) -> Settings {
    let drive_off = |drive: &mut Drive| drive.start = false;
    for role in off {
        match role {
            Role::Keyboard => settings.keyboard = None,
            Role::Mouse => settings.mouse = None,
            Role::MouseAlt => settings.mouse_alt = None,
            Role::Drive => settings.drive = None,
            Role::ExtraDrive(_) => settings.extra_drives.iter_mut().for_each(drive_off),
            Role::Ethernet => settings.ethernet = None,
            Role::Serial => settings.serial = None,
            Role::Audio => settings.audio = None,
            Role::Camera => settings.camera = None,
        }
    }
    settings
}

proptest! {
    #[test]
    fn the_budget_is_never_exceeded(settings in settings(), kind in kind()) {
        let controller = controller(kind);
        let plan = plan(&settings, &controller);
        let sum = |of: fn(&Cost) -> u32| plan.linked().map(|function| of(&function.cost)).sum::<u32>();
        prop_assert!(plan.used() <= settings.endpoints);
        prop_assert!(sum(|cost| cost.inputs) <= controller.inputs().unwrap_or(u32::MAX));
        prop_assert!(sum(|cost| cost.outputs) <= controller.outputs().unwrap_or(u32::MAX));
    }

    #[test]
    fn the_order_is_that_of_the_contract_whatever_is_left_out(settings in settings(), kind in kind()) {
        let roles: Vec<_> =
            plan(&settings, &controller(kind)).functions.iter().map(|one| one.role).collect();
        let mut sorted = roles.clone();
        sorted.sort();
        sorted.dedup();
        prop_assert_eq!(roles, sorted);
    }

    #[test]
    fn the_same_settings_give_the_same_plan(settings in settings(), kind in kind()) {
        prop_assert_eq!(plan(&settings, &controller(kind)), plan(&settings.clone(), &controller(kind)));
    }

    #[test]
    fn nothing_is_refused_that_would_have_fitted(settings in settings(), kind in kind()) {
        let controller = controller(kind);
        let plan = plan(&settings, &controller);
        let used = |of: fn(&Cost) -> u32| plan.linked().map(|function| of(&function.cost)).sum::<u32>();
        for function in plan.functions.iter().filter(|one| matches!(one.fate, Fate::DoesNotFit { .. })) {
            let cost = function.cost;
            let within = |sum: u32, limit: Option<u32>| limit.is_none_or(|limit| sum <= limit);
            prop_assert!(
                used(|cost| cost.endpoints) + cost.endpoints > settings.endpoints
                    || !within(used(|cost| cost.inputs) + cost.inputs, controller.inputs())
                    || !within(used(|cost| cost.outputs) + cost.outputs, controller.outputs()),
                "{} was refused",
                function.name
            );
        }
    }

    #[test]
    fn what_is_advised_to_be_turned_off_really_makes_room(settings in settings(), kind in kind()) {
        let controller = controller(kind);
        let first = plan(&settings, &controller);
        for function in &first.functions {
            let Fate::DoesNotFit { turn_off } = &function.fate else { continue };
            // Without advice, nothing but giving up the keyboard helps.
            let off = turn_off.clone().unwrap_or_else(|| {
                DISPENSABLE.map(|(role, _)| role).into_iter().filter(|role| *role != function.role.group()).collect()
            });
            prop_assert!(!off.contains(&Role::Keyboard) && !off.contains(&function.role.group()));
            let second = plan(&without(settings.clone(), &off), &controller);
            let again = second.functions.iter().find(|one| one.name == function.name);
            prop_assert_eq!(again.map(Function::is_linked), Some(turn_off.is_some()), "{}", function.name);
        }
    }
}
