//! The plan: which functions there are, which of them the host sees, and what to turn off for the others.
//!
//! Pure. Functions come in the contract's order (API.md section 13); each costs endpoints, and the controller and the
//! settings give a budget. A function that does not fit is made but not linked, so that it can be linked later without
//! anything being made anew; the plan says what to turn off for it.

use std::cmp::Reverse;

use crate::controller::Controller;
use crate::settings::Settings;
use crate::tree::{self, Item};

/// What a function is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The keyboard.
    Keyboard,
    /// The mouse.
    Mouse,
    /// The second mouse.
    MouseAlt,
    /// The drive of the API.
    Drive,
    /// One of the additional drives, counted from 1.
    ExtraDrive(u32),
    /// The network card.
    Ethernet,
    /// The serial port.
    Serial,
    /// The sound card.
    Audio,
    /// The camera.
    Camera,
}

impl Role {
    /// What is turned off together: the additional drives are one setting.
    fn group(self) -> Self {
        match self {
            Self::ExtraDrive(_) => Self::ExtraDrive(0),
            other => other,
        }
    }
}

/// What may be turned off for something else, what is missed least first, and how much it is missed. Never the keyboard.
const DISPENSABLE: [(Role, u32); 8] = [
    (Role::Camera, 1),
    (Role::Audio, 1),
    (Role::Serial, 1),
    (Role::Ethernet, 1),
    (Role::ExtraDrive(0), 1),
    (Role::MouseAlt, 3),
    (Role::Drive, 6),
    (Role::Mouse, 12),
];

/// Endpoints beside the control endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// As the contract counts.
    pub endpoints: u32,
    /// Those towards the host.
    pub inputs: u32,
    /// Those from the host.
    pub outputs: u32,
}

impl Cost {
    pub(crate) const fn new(endpoints: u32, inputs: u32, outputs: u32) -> Self {
        Self { endpoints, inputs, outputs }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            endpoints: self.endpoints.saturating_add(other.endpoints),
            inputs: self.inputs.saturating_add(other.inputs),
            outputs: self.outputs.saturating_add(other.outputs),
        }
    }
}

/// What there is to spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Budget {
    endpoints: u32,
    inputs: Option<u32>,
    outputs: Option<u32>,
}

impl Budget {
    fn carries(self, cost: Cost) -> bool {
        cost.endpoints <= self.endpoints
            && self.inputs.is_none_or(|limit| cost.inputs <= limit)
            && self.outputs.is_none_or(|limit| cost.outputs <= limit)
    }
}

/// What becomes of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The host sees it.
    Linked,
    /// The settings say that it is not started.
    NotStarted,
    /// In BIOS-safe mode the host sees nothing but the keyboard.
    BiosSafe,
    /// There are not enough endpoints left for it.
    DoesNotFit {
        /// With these turned off it would fit; `None` when it never does.
        turn_off: Option<Vec<Role>>,
    },
}

/// A report that releases everything and moves nothing; lengths are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing but zeroes.
    Zeroes {
        /// Its length.
        len: u8,
    },
    /// Zeroes, but for the position last sent: an absolute mouse cannot let go without saying where it is.
    AtLastPosition {
        /// Its length.
        len: u8,
    },
}

/// One function of the gadget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its directory's name, `hid.usb0` say.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// The same for people.
    pub description: String,
    /// What it takes.
    pub cost: Cost,
    /// What becomes of it.
    pub fate: Fate,
    /// For a HID function: the report that releases everything and moves nothing.
    pub rest: Option<Rest>,
    /// What is made in its directory.
    pub(crate) items: Vec<Item>,
}

impl Function {
    /// Whether the host is to see it.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.fate == Fate::Linked
    }
}

/// What the gadget will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every function, in the order they are made and linked in.
    pub functions: Vec<Function>,
    /// Endpoints there are to spend, as the contract counts.
    pub endpoints: u32,
    /// What is made beside the functions.
    pub(crate) items: Vec<Item>,
}

impl Plan {
    /// Endpoints the linked functions take together, as the contract counts.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.linked().map(|function| function.cost.endpoints).sum()
    }

    /// What the host is to see, in order.
    pub fn linked(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(|function| function.is_linked())
    }
}

/// Plans the gadget for a controller.
#[must_use]
pub fn plan(settings: &Settings, controller: &Controller) -> Plan {
    let budget =
        Budget { endpoints: settings.endpoints, inputs: controller.inputs(), outputs: controller.outputs() };
    let parts = tree::functions(settings);
    let wishes: Vec<Wish> = parts
        .iter()
        .map(|(part, start)| Wish {
            role: part.role,
            cost: part.cost,
            start: *start,
            hidden: settings.bios_safe && part.role != Role::Keyboard,
        })
        .collect();
    let fates = fates(&wishes, budget);
    let functions =
        parts.into_iter().zip(fates).map(|((function, _), fate)| Function { fate, ..function }).collect();
    Plan { functions, endpoints: settings.endpoints, items: tree::device(settings) }
}

/// A function as far as the budget is concerned.
#[derive(Debug, Clone, Copy)]
struct Wish {
    role: Role,
    cost: Cost,
    start: bool,
    /// By BIOS-safe mode.
    hidden: bool,
}

impl Wish {
    fn competes(&self) -> bool {
        self.start && !self.hidden
    }
}

fn fates(wishes: &[Wish], budget: Budget) -> Vec<Fate> {
    let fits = fits(wishes, budget, &[]);
    wishes
        .iter()
        .zip(&fits)
        .enumerate()
        .map(|(at, (wish, fits))| match (wish.start, wish.hidden, fits) {
            (false, ..) => Fate::NotStarted,
            (true, true, _) => Fate::BiosSafe,
            (true, false, true) => Fate::Linked,
            (true, false, false) => Fate::DoesNotFit { turn_off: turn_off(wishes, budget, at) },
        })
        .collect()
}

/// Who gets a place: first come, first served; one that does not fit leaves its endpoints to those after it.
fn fits(wishes: &[Wish], budget: Budget, off: &[Role]) -> Vec<bool> {
    let mut spent = Cost::default();
    wishes
        .iter()
        .map(|wish| {
            let sum = spent.plus(wish.cost);
            let fits = wish.competes() && !off.contains(&wish.role.group()) && budget.carries(sum);
            if fits {
                spent = sum;
            }
            fits
        })
        .collect()
}

/// The things whose absence gives this one a place and is missed least.
fn turn_off(wishes: &[Wish], budget: Budget, at: usize) -> Option<Vec<Role>> {
    let own = wishes.get(at)?.role.group();
    let competes = |role: Role| wishes.iter().any(|wish| wish.competes() && wish.role.group() == role);
    let others: Vec<(Role, u32)> =
        DISPENSABLE.into_iter().filter(|(role, _)| *role != own && competes(*role)).collect();
    let members = |set: u32| others.iter().enumerate().filter(move |(bit, _)| set >> bit & 1 == 1);
    let missed = |set: u32| members(set).map(|(_, (_, weight))| weight).sum::<u32>();
    // At most 2^8 small sums; among those missed equally the one with the earlier members.
    let mut sets: Vec<u32> = (1..1_u32 << others.len()).collect();
    sets.sort_by_key(|set| (missed(*set), Reverse(set.reverse_bits())));
    sets.into_iter().find_map(|set| {
        let off: Vec<Role> = members(set).map(|(_, (role, _))| *role).collect();
        fits(wishes, budget, &off).get(at).is_some_and(|fits| *fits).then_some(off)
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
