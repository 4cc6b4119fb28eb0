//! `gpio`: lines of a GPIO chip. Pins are offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::line::{self, Input, Levels, Output, Outputs};
use crate::{Driver, Offline, PinUse, Wake};

/// Whom the kernel names as the lines' user.
pub const CONSUMER: &str = "kvmd";

/// Which chip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The chip's device node.
    pub device: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self { device: PathBuf::from("/dev/gpiochip0") }
    }
}

/// Looks for the descriptor of that name among those the supervisor has handed over.
pub type Handed<'a> = &'a mut dyn FnMut(&str) -> Option<OwnedFd>;

/// The output lines of these pins as the supervisor takes them and hands them over, in the order of their offsets.
///
/// # Errors
/// [`Offline`] for a pin that is no number.
pub fn outputs(settings: &Settings, pins: &[PinUse]) -> Result<Option<Outputs>, Offline> {
    let mut lines = BTreeMap::new();
    for pin in pins {
        if let PinUse::Output { pin, initial } = pin {
            let offset = offset(pin)?;
            // Two channels of one line: the first one that says a level says it for both.
            let first: &mut Option<bool> = lines.entry(offset).or_default();
            *first = first.or(*initial);
        }
    }
    let lines: Vec<Output> = lines.into_iter().map(|(offset, initial)| Output { offset, initial }).collect();
    Ok((!lines.is_empty()).then(|| Outputs::new(settings.device.clone(), CONSUMER, lines)))
}

fn offset(pin: &str) -> Result<u32, Offline> {
    pin.parse().map_err(|_| Offline(format!("{pin:?} is no line of a GPIO chip")))
}

/// The driver.
#[derive(Debug)]
pub struct Chip {
    settings: Settings,
    handed: Option<OwnedFd>,
    outputs: Option<Outputs>,
    driven: BTreeSet<u32>,
    inputs: Option<watch::Receiver<Levels>>,
    /// It has a receiver of its own, and as long as there is one the lines are watched.
    teller: Option<AbortOnDropHandle<()>>,
}

impl Chip {
    /// A chip whose lines are taken by [`Driver::attach`].
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, handed: None, outputs: None, driven: BTreeSet::new(), inputs: None, teller: None }
    }

    /// A chip whose output lines somebody else holds already: they keep their levels, `initial` was their business.
    #[must_use]
    pub fn holding(settings: Settings, lines: Option<OwnedFd>) -> Self {
        Self { handed: lines, ..Self::new(settings) }
    }
}

fn offline(error: &io::Error) -> Offline {
    Offline(error.to_string())
}

impl Driver for Chip {
    fn attach(&mut self, pins: &[PinUse], wake: Wake) -> Result<(), Offline> {
        self.outputs = outputs(&self.settings, pins)?;
        for pin in pins {
            if let PinUse::Output { pin, .. } = pin {
                self.driven.insert(offset(pin)?);
            }
        }
        let mut inputs: BTreeMap<u32, Input> = BTreeMap::new();
        for pin in pins {
            if let PinUse::Input { pin, debounce } = pin {
                let offset = offset(pin)?;
                inputs.entry(offset).or_insert(Input { offset, debounce: *debounce });
            }
        }
        // A line that is driven is read where it is driven.
        let inputs: Vec<Input> =
            inputs.into_values().filter(|input| !self.driven.contains(&input.offset)).collect();
        let mut known = Ok(());
        if !inputs.is_empty() {
            let mut levels = line::watch(self.settings.device.clone(), CONSUMER, inputs);
            known = levels.borrow_and_update().as_ref().map(|_| ()).map_err(|why| Offline(why.clone()));
            self.inputs = Some(levels.clone());
            let tell = async move {
                while levels.changed().await.is_ok() {
                    wake.up();
                }
            };
            self.teller = Some(AbortOnDropHandle::new(tokio::spawn(tell)));
        }
        if let Some(outputs) = self.outputs.take() {
            let mut outputs = match self.handed.take() {
                Some(lines) => outputs.shared(lines),
                None => outputs,
            };
            let taken = outputs.take();
            self.outputs = Some(outputs);
            taken.map_err(|error| offline(&error))?;
        }
        known
    }

    fn read(&mut self, pin: &str) -> Result<bool, Offline> {
        let offset = offset(pin)?;
        if let Some(outputs) = self.outputs.as_mut().filter(|_| self.driven.contains(&offset)) {
            return outputs.level(offset).map_err(|error| offline(&error));
        }
        let unknown = || Offline(format!("line {offset} is not watched"));
        let inputs = self.inputs.as_ref().ok_or_else(unknown)?.borrow();
        let levels = inputs.as_ref().map_err(|why| Offline(why.clone()))?;
        levels.get(&offset).copied().ok_or_else(unknown)
    }

    fn write(&mut self, pin: &str, level: bool) -> Result<(), Offline> {
        let offset = offset(pin)?;
        let outputs = self.outputs.as_mut().ok_or_else(|| Offline(format!("line {offset} is not driven")))?;
        outputs.set(offset, level).map_err(|error| offline(&error))
    }
}
