//! The driver on a LUN that behaves like the kernel's.

mod fake;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use proptest::prelude::*;

use self::fake::Fake;
use super::lun::{Attributes, Refusal, current, eject, flags, insert, parse_file, parse_flag};
use super::*;

const CD_SIZE: usize = 300 * 2048;

struct House {
    dir: tempfile::TempDir,
    lun: Fake,
}

impl House {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), lun: Fake::new() }
    }

    fn image(&self, name: &str, len: usize) -> PathBuf {
        let path = self.dir.path().canonicalize().unwrap().join(name);
        fs::write(&path, vec![7; len]).unwrap();
        path
    }

    fn cd(&self) -> Medium {
        Medium { path: self.image("a.iso", CD_SIZE), cdrom: true, rw: false }
    }

    fn flash(&self) -> Medium {
        Medium { path: self.image("b.img", 512), cdrom: false, rw: true }
    }

    fn drive(&self) -> Otg {
        // The directory is only watched: attributes are read from the fake.
        let names = Names { cdrom: "a CD drive".to_owned(), flash: "a disk".to_owned() };
        Otg::with(self.lun.clone(), self.dir.path().to_owned(), Some(names)).unwrap()
    }
}

async fn until(drive: &Otg, wanted: Current) {
    let mut current = drive.current();
    let seen = current.wait_for(|current| *current == wanted);
    timeout(Duration::from_secs(20), seen).await.unwrap().unwrap();
}

#[test]
fn every_kind_of_medium_follows_every_other() {
    let house = House::new();
    let stick = Medium { rw: false, ..house.flash() };
    let media = [house.cd(), house.flash(), stick];
    for before in &media {
        for after in &media {
            for medium in [before, after] {
                assert_eq!(insert(&house.lun, medium).unwrap(), *medium);
                assert_eq!(current(&house.lun).unwrap(), Current::Holds(medium.clone()));
                eject(&house.lun).unwrap();
                assert_eq!(current(&house.lun).unwrap(), Current::Empty);
                assert_eq!(flags(&house.lun).unwrap(), Flags { cdrom: medium.cdrom, rw: medium.rw });
            }
        }
    }
}

#[test]
fn a_locked_medium_comes_out_all_the_same() {
    let house = House::new();
    insert(&house.lun, &house.cd()).unwrap();
    house.lun.lock_door();
    eject(&house.lun).unwrap();
    assert_eq!(current(&house.lun).unwrap(), Current::Empty);
}

#[test]
fn a_kernel_that_cannot_force_says_that_the_target_has_locked_it() {
    let house = House::new();
    house.lun.forget_forced_eject();
    insert(&house.lun, &house.cd()).unwrap();
    house.lun.lock_door();
    assert_eq!(eject(&house.lun), Err(DriveError::Locked));
    house.lun.unlock_door();
    eject(&house.lun).unwrap();
}

#[test]
fn a_medium_put_in_behind_our_back_is_not_replaced() {
    let house = House::new();
    insert(&house.lun, &house.cd()).unwrap();
    assert_eq!(insert(&house.lun, &house.flash()), Err(DriveError::Locked));
    assert_eq!(current(&house.lun).unwrap(), Current::Holds(house.cd()));
}

#[test]
fn ejecting_an_empty_drive_is_no_error() {
    let house = House::new();
    eject(&house.lun).unwrap();
}

#[test]
fn what_the_kernel_does_not_open_is_told_in_words() {
    let house = House::new();
    let refusal = |medium: &Medium| match insert(&house.lun, medium) {
        Err(DriveError::Permissions(why)) => why,
        other => format!("{other:?}"),
    };
    let small = Medium { path: house.image("small", CD_SIZE - 1), cdrom: true, rw: false };
    assert!(refusal(&small).contains("too small for a CD"), "{}", refusal(&small));
    let empty = Medium { path: house.image("empty", 511), cdrom: false, rw: false };
    assert!(refusal(&empty).contains("too small: 512"), "{}", refusal(&empty));
    let missing = Medium { path: house.dir.path().join("missing"), ..house.cd() };
    assert!(refusal(&missing).contains("No such file"), "{}", refusal(&missing));
    for (errno, says) in [(Errno::EACCES, "denied"), (Errno::EIO, "Input"), (Errno::EINVAL, "nvalid")] {
        house.lun.refuse_files(Some(errno));
        assert!(refusal(&house.cd()).contains(says), "{}", refusal(&house.cd()));
    }
    house.lun.refuse_files(None);
    assert_eq!(current(&house.lun).unwrap(), Current::Empty, "and nothing is left in it");
}

#[test]
fn an_image_that_may_not_be_written_is_refused_not_lent_read_only() {
    let house = House::new();
    house.lun.open_read_only(true);
    let refused = insert(&house.lun, &house.flash()).unwrap_err();
    assert!(matches!(&refused, DriveError::Permissions(why) if why.contains("not written")), "{refused}");
    assert_eq!(current(&house.lun).unwrap(), Current::Empty);
    insert(&house.lun, &Medium { rw: false, ..house.flash() }).unwrap();
}

#[test]
fn no_link_is_lent() {
    let house = House::new();
    let image = house.image("real", CD_SIZE);
    let root = image.parent().unwrap();
    fs::create_dir(root.join("dir")).unwrap();
    fs::rename(&image, root.join("dir/real")).unwrap();
    std::os::unix::fs::symlink("dir/real", root.join("link")).unwrap();
    std::os::unix::fs::symlink("dir", root.join("way")).unwrap();
    nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    for path in ["link", "way/real", "pipe", "dir"] {
        let medium = Medium { path: root.join(path), cdrom: true, rw: false };
        assert!(matches!(insert(&house.lun, &medium), Err(DriveError::Permissions(_))), "{path}");
    }
    insert(&house.lun, &Medium { path: root.join("dir/real"), cdrom: true, rw: false }).unwrap();
}

#[test]
fn the_kernel_is_given_a_descriptor_and_never_a_path() {
    let house = House::new();
    insert(&house.lun, &house.cd()).unwrap();
    let written = house.lun.last_file();
    assert!(written.starts_with("/proc/self/fd/") && written.ends_with('\n'), "{written:?}");
}

#[test]
fn a_lun_that_is_not_there_is_absent() {
    let house = House::new();
    let nowhere = Directory(house.dir.path().join("no/such/lun.0"));
    assert_eq!(current(&nowhere).unwrap(), Current::Absent);
    assert_eq!(insert(&nowhere, &house.cd()), Err(DriveError::Absent));
    assert_eq!(eject(&nowhere), Err(DriveError::Absent));
}

#[test]
fn attributes_that_are_not_ours_are_no_fault_of_the_image() {
    let house = House::new();
    house.lun.take_away_rights();
    assert!(matches!(insert(&house.lun, &house.cd()), Err(DriveError::Failed(why)) if why.contains("ro:")));
    assert!(matches!(eject(&house.lun), Err(DriveError::Failed(_))));
}

#[tokio::test]
async fn what_the_lun_holds_is_known_at_once_and_left_alone_at_the_end() {
    let house = House::new();
    insert(&house.lun, &house.flash()).unwrap();
    let drive = house.drive();
    assert_eq!(*drive.current().borrow(), Current::Holds(house.flash()));
    drop(drive);
    assert_eq!(current(&house.lun).unwrap(), Current::Holds(house.flash()));
}

#[tokio::test]
async fn a_medium_goes_in_and_out() {
    let house = House::new();
    let mut drive = house.drive();
    drive.insert(house.cd()).await.unwrap();
    assert_eq!(*drive.current().borrow(), Current::Holds(house.cd()));
    drive.eject().await.unwrap();
    assert_eq!(*drive.current().borrow(), Current::Empty);
    assert_eq!(drive.flags().await, Some(Flags { cdrom: true, rw: false }));
    assert_eq!(house.lun.name(), "a CD drive\n");
    drive.insert(house.flash()).await.unwrap();
    assert_eq!(drive.flags().await, Some(Flags { cdrom: false, rw: true }));
    assert_eq!(house.lun.name(), "a disk\n", "a kernel with one name only");
}

#[tokio::test]
async fn the_target_ejects_and_the_closing_of_the_image_tells() {
    let house = House::new();
    let mut drive = house.drive();
    drive.insert(house.flash()).await.unwrap();
    // Held open as the kernel holds it; let go like there.
    let held = fs::File::open(house.flash().path).unwrap();
    house.lun.target_ejects();
    drop(held);
    until(&drive, Current::Empty).await;
}

#[tokio::test]
async fn a_lun_that_is_taken_away_and_made_again_comes_back() {
    let house = House::new();
    let mut drive = house.drive();
    house.lun.set_there(false);
    // Whatever happens in the directory above makes it look.
    fs::create_dir(house.dir.path().join("gone")).unwrap();
    until(&drive, Current::Absent).await;
    assert_eq!(drive.insert(house.cd()).await, Err(DriveError::Absent));
    assert_eq!(drive.flags().await, None);
    house.lun.set_there(true);
    fs::create_dir(house.dir.path().join("back")).unwrap();
    until(&drive, Current::Empty).await;
    drive.insert(house.cd()).await.unwrap();
}

#[tokio::test]
async fn a_directory_made_long_after_is_found() {
    let house = House::new();
    let lun = house.dir.path().join("kvmd/functions/mass_storage.usb0/lun.0");
    let drive = Otg::new(&lun).unwrap();
    assert_eq!(*drive.current().borrow(), Current::Absent);
    fs::create_dir_all(&lun).unwrap();
    for (name, text) in [("cdrom", "1\n"), ("ro", "1\n"), ("file", "")] {
        fs::write(lun.join(name), text).unwrap();
    }
    until(&drive, Current::Empty).await;
    fs::write(lun.join("file"), "/srv/by-hand.iso\n").unwrap();
    let path = PathBuf::from("/srv/by-hand.iso");
    until(&drive, Current::Holds(Medium { path, cdrom: true, rw: false })).await;
    fs::remove_dir_all(house.dir.path().join("kvmd")).unwrap();
    until(&drive, Current::Absent).await;
}

#[tokio::test]
async fn a_kernel_that_keeps_us_waiting_is_asked_once_and_the_rest_is_refused() {
    let house = House::new();
    let drive = house.drive();
    let gate = house.lun.hold_up();
    let first = drive.ask(Wish::Eject);
    let mut first = Box::pin(first);
    assert!(futures_now(&mut first).is_none());
    house.lun.until_held_up();
    let mut second = Box::pin(drive.ask(Wish::Eject));
    assert!(futures_now(&mut second).is_none(), "one waits");
    let third = drive.ask(Wish::Eject).await.unwrap_err();
    assert!(matches!(third, DriveError::Failed(why) if why.contains("does not answer")));
    drop(gate);
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
}

/// What a future has to say when it is asked once.
fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// What may be done to a LUN, by us and by others.
#[derive(Debug, Clone)]
enum Move {
    Insert { small: bool, cdrom: bool, rw: bool },
    Eject,
    Lock,
    TargetEjects,
    ByHand,
    Unwritable(bool),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let insert = (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(small, cdrom, rw)| Move::Insert {
        small,
        cdrom,
        rw: rw && !cdrom,
    });
    let one = prop_oneof![
        4 => insert,
        3 => Just(Move::Eject),
        1 => Just(Move::Lock),
        1 => Just(Move::TargetEjects),
        1 => Just(Move::ByHand),
        1 => any::<bool>().prop_map(Move::Unwritable),
    ];
    prop::collection::vec(one, 0..30)
}

proptest! {
    #[test]
    fn any_flag_is_parsed_without_panic_and_only_0_and_1_mean_something(text in prop::collection::vec(any::<u8>(), 0..6)) {
        match parse_flag(&text) {
            Some(value) => prop_assert_eq!(text.trim_ascii(), if value { b"1" } else { b"0" }),
            None => prop_assert!(text.trim_ascii() != b"0" && text.trim_ascii() != b"1"),
        }
    }

    #[test]
    fn a_path_comes_back_whatever_is_in_it(path in prop::collection::vec(1u8..=255, 1..100)) {
        use std::os::unix::ffi::OsStrExt as _;
        let mut text = path.clone();
        text.push(b'\n');
        let parsed = parse_file(&text).unwrap();
        prop_assert_eq!(parsed.as_os_str().as_bytes(), &path[..]);
    }

    #[test]
    fn whatever_happens_an_accepted_medium_is_in_as_asked_and_an_ejected_one_is_out(moves in moves()) {
        let house = House::new();
        let (small, large) = (house.image("small", 512), house.image("large", CD_SIZE));
        for one in moves {
            match one {
                Move::Insert { small: use_small, cdrom, rw } => {
                    let path = if use_small { small.clone() } else { large.clone() };
                    let medium = Medium { path, cdrom, rw };
                    let before = current(&house.lun).unwrap();
                    match insert(&house.lun, &medium) {
                        Ok(held) => {
                            prop_assert_eq!(&held, &medium);
                            prop_assert_eq!(current(&house.lun).unwrap(), Current::Holds(medium));
                        }
                        // Refused: what was in it is, and nothing of ours stays.
                        Err(_) => prop_assert_eq!(current(&house.lun).unwrap(), before),
                    }
                }
                Move::Eject => {
                    eject(&house.lun).unwrap();
                    prop_assert_eq!(current(&house.lun).unwrap(), Current::Empty);
                }
                Move::Lock => house.lun.lock_door(),
                Move::TargetEjects => house.lun.target_ejects(),
                Move::ByHand => drop(house.lun.write("file", format!("{}\n", large.display()).as_bytes())),
                Move::Unwritable(yes) => house.lun.open_read_only(yes),
            }
        }
    }
}

#[test]
fn the_fake_keeps_the_kernel_s_rules() {
    let lun = Fake::new();
    let house = House::new();
    let file = |path: &Path| lun.write("file", format!("{}\n", path.display()).as_bytes());
    let busy = |result: Result<(), Refusal>| matches!(result, Err(Refusal::Value(error)) if error.raw_os_error() == Some(Errno::EBUSY as i32));
    file(&house.cd().path).unwrap();
    assert!(busy(lun.write("cdrom", b"1\n")) && busy(lun.write("ro", b"0\n")));
    // A medium may be changed for another, but not while the door is locked.
    file(&house.flash().path).unwrap_err();
    lun.lock_door();
    assert!(busy(file(&house.cd().path)) && busy(lun.write("file", b"\n")));
    lun.write("forced_eject", b"\n").unwrap();
    assert_eq!(lun.read("file").unwrap(), b"");
    assert_eq!(lun.read("cdrom").unwrap(), b"1\n");
}
