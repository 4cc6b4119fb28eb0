//! What comes back from the host: lights, and whether it is there.

use std::io;
use std::time::Duration;

use gadget::UdcState;
use hid_wire::Leds;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::node::{Node, Open};
use crate::link::Presence;

/// Between two looks for lights.
const LOOK: Duration = Duration::from_millis(100);

/// Publishes both until nobody listens any more. Does nothing at all while the host is away.
pub(super) async fn follow<O: Open>(
    keyboard: O,
    mut bus: watch::Receiver<UdcState>,
    leds: watch::Sender<Leds>,
    presence: watch::Sender<Presence>,
) {
    let mut lights = Lights { keyboard, node: None };
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Also what was away and came back between two looks has come: a value that was written again counts.
    for arrival in 1.. {
        let state = *bus.borrow_and_update();
        if !matches!(state, UdcState::Configured | UdcState::Suspended) {
            // A keyboard that is powered or configured anew has its lights off.
            leds.send_if_modified(|seen| std::mem::take(seen) != Leds::default());
        }
        presence.send_replace(if state.is_configured() {
            Presence::Here { arrival }
        } else {
            Presence::Away
        });
        loop {
            tokio::select! {
                () = presence.closed() => return,
                changed = bus.changed() => match changed {
                    Ok(()) => break,
                    // Nobody watches the bus any more: it stays as it is.
                    Err(_) => return presence.closed().await,
                },
                _ = look.tick(), if state.is_configured() => {
                    if let Some(now) = lights.look() {
                        leds.send_if_modified(|seen| std::mem::replace(seen, now) != now);
                    }
                }
            }
        }
    }
}

struct Lights<O: Open> {
    keyboard: O,
    node: Option<O::Node>,
}

impl<O: Open> Lights<O> {
    /// What the host set since the last look.
    fn look(&mut self) -> Option<Leds> {
        // A node whose function is gone says nothing, like one whose host does: only its place tells.
        self.node.take_if(|node| self.keyboard.is_replaced(node));
        let node = match &mut self.node {
            Some(node) => node,
            none => none.insert(self.keyboard.open().ok()?),
        };
        let mut last = None;
        // With an interrupt endpoint there may be several; nobody sets lights without end.
        for _ in 0..16 {
            match node.read() {
                Ok(byte) => last = Some(Leds::from_byte(byte)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.node = None;
                    break;
                }
            }
        }
        last
    }
}
