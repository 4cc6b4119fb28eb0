//! A USB relay board made of `/dev/uhid`: the kernel's HID core on one side, eight bits on the other.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use gpio::hidrelay;
use gpio::{DriverSettings, Error};
use testkit::lab::{inside, wait_for};

use super::{LIMIT, channels, output, start};

/// Types of messages, and bytes of the largest one.
const DESTROY: u32 = 1;
const GET_REPORT: u32 = 9;
const GET_REPORT_REPLY: u32 = 10;
const CREATE2: u32 = 11;
const SET_REPORT: u32 = 13;
const SET_REPORT_REPLY: u32 = 14;
const EVENT: usize = 4380;

/// Vendor page, one feature report of eight bytes without a number.
const DESCRIPTOR: &[u8] = &[
    0x06, 0x00, 0xFF, 0x09, 0x01, 0xA1, 0x01, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, 0x08, 0x09,
    0x00, 0xB1, 0x02, 0xC0,
];

struct Board {
    uhid: File,
    relays: Arc<AtomicU8>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn message(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut message = kind.to_ne_bytes().to_vec();
    message.extend(body);
    message.resize(EVENT, 0);
    message
}

impl Board {
    fn plug_in() -> Self {
        let mut uhid = OpenOptions::new().read(true).write(true).open("/dev/uhid").unwrap();
        let mut body = vec![0; 128 + 64 + 64];
        body[..9].copy_from_slice(b"USBRelay8");
        body.extend(u16::try_from(DESCRIPTOR.len()).unwrap().to_ne_bytes());
        body.extend(3_u16.to_ne_bytes());
        for number in [0x16C0_u32, 0x05DF, 0x0100, 0] {
            body.extend(number.to_ne_bytes());
        }
        body.extend(DESCRIPTOR);
        uhid.write_all(&message(CREATE2, &body)).unwrap();
        let (relays, ended) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicBool::new(false)));
        let mut device = uhid.try_clone().unwrap();
        let (bits, end) = (Arc::clone(&relays), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut event = vec![0; EVENT];
            while !end.load(Ordering::SeqCst) {
                let Ok(_) = device.read(&mut event) else { return };
                let word = |at: usize| u32::from_ne_bytes(event[at..at + 4].try_into().unwrap());
                let id = word(4).to_ne_bytes();
                match word(0) {
                    GET_REPORT => {
                        let mut body = id.to_vec();
                        body.extend([0, 0, 8, 0]);
                        body.extend(*b"ABCDE\0\0");
                        body.push(bits.load(Ordering::SeqCst));
                        device.write_all(&message(GET_REPORT_REPLY, &body)).unwrap();
                    }
                    SET_REPORT => {
                        // Id, report number, type, size, then the report with its number before it.
                        let (order, relay) = (event[13], event[14]);
                        let bit = 1 << (relay - 1);
                        match order {
                            0xFF => bits.fetch_or(bit, Ordering::SeqCst),
                            0xFD => bits.fetch_and(!bit, Ordering::SeqCst),
                            _ => unreachable!("an order {order:x} for relay {relay}"),
                        };
                        let mut body = id.to_vec();
                        body.extend([0, 0]);
                        device.write_all(&message(SET_REPORT_REPLY, &body)).unwrap();
                    }
                    _ => {}
                }
            }
        });
        Self { uhid, relays, ended, thread: Some(thread) }
    }

    fn node() -> Option<PathBuf> {
        let found = fs::read_dir("/sys/class/hidraw").ok()?.flatten().find(|entry| {
            let uevent = fs::read_to_string(entry.path().join("device/uevent")).unwrap_or_default();
            uevent.contains("000016C0:000005DF")
        })?;
        Some(PathBuf::from("/dev").join(found.file_name()))
    }

    fn unplug(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        self.uhid.write_all(&message(DESTROY, &[])).unwrap();
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if !self.ended.load(Ordering::SeqCst) {
            self.unplug();
        }
        drop(self.thread.take());
    }
}

#[tokio::test]
async fn a_relay_board_is_switched_looked_at_and_missed() {
    if !inside() {
        return;
    }
    let mut board = Board::plug_in();
    wait_for("the hidraw node", LIMIT, || Board::node().is_some());
    let device = Board::node().unwrap();
    let settings = hidrelay::Settings { device, state_poll: Duration::from_millis(100) };
    let two = [("one", 0, false, output(Some(true), true)), ("eight", 7, false, output(None, true))];
    let owner = start(channels("d", &two), DriverSettings::HidRelay(settings), None);
    owner
        .until("the first levels", |state| state.outputs["one"].state && !state.outputs["eight"].state)
        .await;
    assert_eq!(board.relays.load(Ordering::SeqCst), 0b0000_0001);
    owner.gpio.switch("eight", true, true).await.unwrap();
    owner.gpio.switch("one", false, true).await.unwrap();
    owner.until("the new levels", |state| !state.outputs["one"].state && state.outputs["eight"].state).await;
    assert_eq!(board.relays.load(Ordering::SeqCst), 0b1000_0000);
    // Somebody else's doing is seen too.
    board.relays.store(0b0000_0001, Ordering::SeqCst);
    owner
        .until("another's levels", |state| state.outputs["one"].state && !state.outputs["eight"].state)
        .await;
    board.unplug();
    owner.until("offline", |state| !state.outputs["one"].online).await;
    assert!(matches!(owner.gpio.switch("one", true, true).await, Err(Error::DriverOffline { .. })));
    board = Board::plug_in();
    owner.until("online again", |state| state.outputs["one"].online).await;
    owner.gpio.switch("one", true, true).await.unwrap();
    owner.until("switched", |state| state.outputs["one"].state).await;
    assert_eq!(board.relays.load(Ordering::SeqCst), 0b0000_0001);
}
