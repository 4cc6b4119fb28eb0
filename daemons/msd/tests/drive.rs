//! The lent drive as its users see it: a handle, a storage directory, and a fake in place of the target.
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use msd::{
    Compression, Current, Deed, DriveError, Drives, Error, Fake, Flags, Medium, Msd, Settings, Sha256, State,
};
use sha2::Digest as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct House {
    dir: tempfile::TempDir,
    fake: Fake,
    msd: Msd,
    state: watch::Receiver<State>,
    stop: CancellationToken,
    owner: JoinHandle<()>,
}

impl House {
    async fn with(files: &[(&str, &[u8])]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, data) in files {
            fs::write(dir.path().join(name), data).unwrap();
        }
        Self::on(dir, Fake::new()).await
    }

    async fn on(dir: tempfile::TempDir, fake: Fake) -> Self {
        let drives = Drives::new(fake.drive());
        Self::of(dir, fake, drives).await
    }

    async fn of(dir: tempfile::TempDir, fake: Fake, drives: Drives) -> Self {
        let stop = CancellationToken::new();
        let settings = Settings {
            root: dir.path().to_owned(),
            look_every: Duration::from_millis(50),
            ..Settings::default()
        };
        let (msd, owner) = msd::spawn(settings, drives, fake.remount(), stop.clone());
        let mut house = Self { dir, fake, state: msd.subscribe(), msd, stop, owner };
        house.until(|state| state.online).await;
        house.fake.forget();
        house
    }

    /// Waits for a state; the limit only keeps a broken test from hanging.
    async fn until(&mut self, wanted: impl FnMut(&State) -> bool) -> State {
        tokio::time::timeout(Duration::from_secs(20), self.state.wait_for(wanted))
            .await
            .unwrap()
            .unwrap()
            .clone()
    }

    fn now(&self) -> State {
        self.state.borrow().clone()
    }

    fn names(&self) -> Vec<String> {
        self.now().storage.unwrap().images.keys().cloned().collect()
    }

    async fn upload(&self, name: &str, data: &[u8]) -> Result<msd::Written, Error> {
        let mut write = self.msd.begin_write(name, data.len() as u64, false).await?;
        for piece in data.chunks(10_000) {
            write.chunk(Bytes::copy_from_slice(piece)).await?;
        }
        write.finish(None).await
    }

    async fn connect(&self, image: &str, cdrom: bool, rw: bool) -> Result<(), Error> {
        self.msd.set_params(Some(Some(image.to_owned())), Some(cdrom), Some(rw)).await?;
        self.msd.set_connected(true).await
    }

    fn medium(&self, image: &str, cdrom: bool, rw: bool) -> Medium {
        Medium { path: self.dir.path().canonicalize().unwrap().join(image), cdrom, rw }
    }

    async fn end(self) -> (tempfile::TempDir, Fake) {
        self.stop.cancel();
        self.owner.await.unwrap();
        (self.dir, self.fake)
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 7 + i / 251) % 256).unwrap()).collect()
}

fn marker(dir: &Path, name: &str) -> bool {
    dir.join(format!(".__{name}.incomplete")).exists()
}

fn sha256(data: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(data).into())
}

/// Sends some of an image, from a byte on, and leaves.
async fn send_and_leave(house: &mut House, data: &[u8], from: usize, until: usize) {
    let mut write = house
        .msd
        .resume_write("x.img", data.len() as u64, from as u64..data.len() as u64, false)
        .await
        .unwrap();
    for piece in data[from..until].chunks(70_000) {
        write.chunk(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    drop(write);
    house.until(|state| !state.busy).await;
}

#[tokio::test]
async fn an_upload_that_broke_off_twenty_times_goes_on_and_is_right() {
    let mut house = House::with(&[]).await;
    let data = pattern(5_000_000);
    let mut from = 0;
    for step in 1..=20 {
        let until = from + (data.len() - from) * (step * 37 % 41) / 100;
        send_and_leave(&mut house, &data, from, until).await;
        let image = house.now().storage.unwrap().images["x.img"].clone();
        assert!(!image.complete);
        assert_eq!(image.written, Some(until as u64), "everything that was taken is there");
        // Every other client goes on a little before the end: it was told less.
        from = until.saturating_sub(step % 2 * 1000);
    }
    let mut write = house
        .msd
        .resume_write("x.img", data.len() as u64, from as u64..data.len() as u64, false)
        .await
        .unwrap();
    write.chunk(Bytes::copy_from_slice(&data[from..])).await.unwrap();
    let written = write.finish(Some(sha256(&data))).await.unwrap();
    assert_eq!((written.written, written.sha256), (5_000_000, Some(sha256(&data))));
    assert_eq!(fs::read(house.dir.path().join("x.img")).unwrap(), data);
    assert!(!marker(house.dir.path(), "x.img"));
    assert_eq!(house.now().storage.unwrap().images["x.img"].written, None);
}

#[tokio::test]
async fn an_upload_goes_on_after_the_daemon_was_stopped() {
    let mut house = House::with(&[]).await;
    let data = pattern(100_000);
    send_and_leave(&mut house, &data, 0, 60_000).await;
    let (dir, fake) = house.end().await;
    let house = House::on(dir, fake).await;
    assert_eq!(house.now().storage.unwrap().images["x.img"].written, Some(60_000));
    let refused = house.msd.resume_write("x.img", 100_000, 60_001..100_000, false).await.unwrap_err();
    assert_eq!(refused, Error::NoSuchOffset { name: "x.img".into(), wanted: 60_001, written: 60_000 });
    assert!(!house.now().busy);
    let mut write = house.msd.resume_write("x.img", 100_000, 60_000..100_000, false).await.unwrap();
    write.chunk(Bytes::copy_from_slice(&data[60_000..])).await.unwrap();
    assert_eq!(write.finish(None).await.unwrap().sha256, Some(sha256(&data)));
}

#[tokio::test]
async fn who_leaves_while_a_late_image_is_checked_frees_the_drive_and_can_come_back() {
    // So long that its digest takes hours, of which not a byte lies on the disk.
    const SIZE: u64 = 1 << 40;
    let dir = tempfile::tempdir().unwrap();
    fs::File::create(dir.path().join("x.img")).unwrap().set_len(SIZE).unwrap();
    let note = format!("resume v1 {SIZE:020} {:020}\n", SIZE - 1);
    fs::write(dir.path().join(".__x.img.incomplete"), note).unwrap();
    let mut house = House::on(dir, Fake::new()).await;
    for _ in 0..2 {
        let mut write = house.msd.resume_write("x.img", SIZE, SIZE - 1..SIZE, false).await.unwrap();
        write.chunk(Bytes::from_static(b"x")).await.unwrap();
        let waits = tokio::spawn(write.finish(None));
        house.until(|state| state.storage.as_ref().unwrap().uploading.as_ref().unwrap().done == SIZE).await;
        assert!(house.now().busy && !waits.is_finished());
        waits.abort();
        let left = house.until(|state| !state.busy).await;
        let image = left.storage.unwrap().images["x.img"].clone();
        assert_eq!(
            (image.complete, image.written),
            (false, Some(SIZE - 1)),
            "there is something left to send"
        );
    }
}

#[tokio::test]
async fn an_image_that_comes_in_parts_is_whole_with_the_last_one() {
    let mut house = House::with(&[]).await;
    let data = pattern(100_000);
    for part in [0..40_000, 40_000..90_000, 90_000..100_000_usize] {
        let range = part.start as u64..part.end as u64;
        let mut write = house.msd.resume_write("x.img", 100_000, range, false).await.unwrap();
        write.chunk(Bytes::copy_from_slice(&data[part.clone()])).await.unwrap();
        let written = write.finish(None).await.unwrap();
        assert_eq!(written.written, part.end as u64);
        assert_eq!(written.sha256, (part.end == data.len()).then(|| sha256(&data)));
    }
    assert!(house.until(|state| !state.busy).await.storage.unwrap().images["x.img"].complete);
}

#[tokio::test]
async fn an_image_that_is_not_what_was_meant_stays_incomplete_and_begins_anew() {
    let house = House::with(&[]).await;
    for remove in [false, true] {
        let mut write = house.msd.begin_write("x.img", 3, remove).await.unwrap();
        write.chunk(Bytes::from_static(b"abd")).await.unwrap();
        let (wanted, found) = (sha256(b"abc"), sha256(b"abd"));
        assert_eq!(write.finish(Some(wanted)).await, Err(Error::Digest { wanted, found }));
        let images = house.now().storage.unwrap().images;
        assert_eq!(
            images.get("x.img").map(|image| (image.complete, image.written)),
            (!remove).then_some((false, Some(0)))
        );
    }
}

#[tokio::test]
async fn an_uploaded_image_is_there_byte_for_byte_and_complete() {
    let house = House::with(&[]).await;
    let data = pattern(9_000_001);
    let written = house.upload("a b'\"ф.img", &data).await.unwrap();
    assert_eq!((written.size, written.written), (9_000_001, 9_000_001));
    let state = house.now();
    assert!(!state.busy);
    assert!(state.storage.unwrap().images["a b'\"ф.img"].complete);
    assert!(!marker(house.dir.path(), "a b'\"ф.img"));
    assert_eq!(fs::read(house.dir.path().join("a b'\"ф.img")).unwrap(), data);
    assert_eq!(house.fake.deeds(), [Deed::Remount(true), Deed::Remount(false)]);
}

#[tokio::test]
async fn an_upload_makes_its_directories() {
    let house = House::with(&[]).await;
    house.upload("a/b/c.iso", b"data").await.unwrap();
    assert_eq!(house.names(), ["a/b/c.iso"]);
}

#[tokio::test]
async fn an_empty_image_can_be_uploaded() {
    let house = House::with(&[]).await;
    house.upload("zero.img", b"").await.unwrap();
    assert!(house.now().storage.unwrap().images["zero.img"].complete);
}

#[tokio::test]
async fn a_second_operation_during_a_transfer_is_refused_not_queued() {
    let house = House::with(&[("old", b"x")]).await;
    let write = house.msd.begin_write("new", 10, false).await.unwrap();
    assert!(house.now().busy);
    assert_eq!(house.msd.set_params(None, None, None).await, Err(Error::Busy));
    assert_eq!(house.msd.set_connected(true).await, Err(Error::Busy));
    assert_eq!(house.msd.remove("old").await, Err(Error::Busy));
    assert_eq!(house.msd.begin_write("other", 1, false).await.unwrap_err(), Error::Busy);
    assert_eq!(house.msd.begin_read("old", Compression::None).await.unwrap_err(), Error::Busy);
    drop(write);
}

#[tokio::test]
async fn an_upload_cut_off_leaves_an_incomplete_image_that_can_be_uploaded_again() {
    let mut house = House::with(&[]).await;
    let mut write = house.msd.begin_write("cut.img", 1000, false).await.unwrap();
    write.chunk(Bytes::from_static(b"abc")).await.unwrap();
    drop(write);
    let state = house.until(|state| !state.busy).await;
    let image = &state.storage.unwrap().images["cut.img"];
    assert!(!image.complete);
    assert_eq!(image.size, 1000);
    house.upload("cut.img", &pattern(500)).await.unwrap();
    assert_eq!(fs::read(house.dir.path().join("cut.img")).unwrap(), pattern(500));
    assert_eq!(house.upload("cut.img", b"x").await, Err(Error::ImageExists("cut.img".to_owned())));
}

#[tokio::test]
async fn an_upload_cut_off_can_be_made_to_leave_nothing() {
    let mut house = House::with(&[]).await;
    let mut write = house.msd.begin_write("cut.img", 1000, true).await.unwrap();
    write.chunk(Bytes::from_static(b"abc")).await.unwrap();
    drop(write);
    house.until(|state| !state.busy).await;
    assert_eq!(fs::read_dir(house.dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_image_whose_bytes_are_all_there_is_not_removed_although_nobody_waited_for_its_check() {
    let mut house = House::with(&[]).await;
    let data = pattern(100_000);
    let mut write = house.msd.begin_write("all.img", 100_000, true).await.unwrap();
    write.chunk(Bytes::copy_from_slice(&data)).await.unwrap();
    drop(write);
    let state = house.until(|state| !state.busy).await;
    let image = state.storage.unwrap().images["all.img"].clone();
    assert_eq!((image.complete, image.written), (false, Some(99_999)));
    let mut write = house.msd.resume_write("all.img", 100_000, 99_999..100_000, true).await.unwrap();
    write.chunk(Bytes::copy_from_slice(&data[99_999..])).await.unwrap();
    assert_eq!(write.finish(None).await.unwrap().sha256, Some(sha256(&data)));
    assert_eq!(fs::read(house.dir.path().join("all.img")).unwrap(), data);
    // One that is something else than was meant is removed: there is nothing to go on with.
    let mut write = house.msd.begin_write("else.img", 100_000, true).await.unwrap();
    write.chunk(Bytes::copy_from_slice(&data)).await.unwrap();
    assert!(matches!(write.finish(Some(sha256(b"else"))).await, Err(Error::Digest { .. })));
    assert_eq!(fs::read_dir(house.dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn an_upload_that_ends_early_stays_incomplete() {
    let house = House::with(&[]).await;
    let mut write = house.msd.begin_write("short", 10, false).await.unwrap();
    write.chunk(Bytes::from_static(b"abc")).await.unwrap();
    assert_eq!(write.finish(None).await.unwrap().written, 3);
    assert!(!house.now().storage.unwrap().images["short"].complete);
}

#[tokio::test]
async fn more_data_than_announced_is_refused() {
    let house = House::with(&[]).await;
    let mut write = house.msd.begin_write("x", 2, false).await.unwrap();
    assert_eq!(write.chunk(Bytes::from_static(b"abc")).await, Err(Error::TooMuchData(2)));
}

#[tokio::test]
async fn an_image_larger_than_the_disk_is_refused_at_once_and_the_region_is_free() {
    let house = House::with(&[]).await;
    assert!(matches!(house.msd.begin_write("big", 1 << 50, false).await, Err(Error::NoSpace { .. })));
    assert!(!house.now().busy);
    assert_eq!(house.fake.deeds(), [Deed::Remount(true), Deed::Remount(false)]);
    house.upload("small", b"x").await.unwrap();
}

#[tokio::test]
async fn bad_names_are_refused_before_anything_is_touched() {
    let house = House::with(&[]).await;
    for name in ["../x", ".hidden", "/etc/passwd", &"n".repeat(300)] {
        assert!(matches!(house.msd.begin_write(name, 1, false).await, Err(Error::BadName { .. })), "{name}");
    }
    assert_eq!(house.fake.deeds(), []);
}

#[tokio::test]
async fn a_storage_that_stays_read_only_is_told() {
    let house = House::with(&[("a", b"x")]).await;
    house.fake.set_mount_refusal(Some("disk on fire"));
    let refused = Error::Remount("disk on fire".to_owned());
    assert_eq!(house.upload("x", b"x").await, Err(refused.clone()));
    assert_eq!(house.msd.remove("a").await, Err(refused.clone()));
    assert_eq!(house.connect("a", false, true).await, Err(refused));
    house.connect("a", false, false).await.unwrap();
}

#[tokio::test]
async fn a_cd_is_connected_without_a_remount_and_a_writable_disk_after_one() {
    let house = House::with(&[("disk", b"x")]).await;
    house.connect("disk", true, true).await.unwrap();
    assert_eq!(house.fake.deeds(), [Deed::Insert(house.medium("disk", true, false))]);
    house.msd.set_connected(false).await.unwrap();
    house.fake.forget();
    house.connect("disk", false, true).await.unwrap();
    assert_eq!(house.fake.deeds(), [Deed::Remount(true), Deed::Insert(house.medium("disk", false, true))]);
    house.fake.forget();
    house.msd.set_connected(false).await.unwrap();
    assert_eq!(house.fake.deeds(), [Deed::Eject, Deed::Remount(false)]);
}

#[tokio::test]
async fn an_upload_is_the_groups_to_read_and_lent_writable_also_to_write_whatever_the_umask() {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o027));
    let house = House::with(&[]).await;
    house.upload("sub/disk.img", b"x").await.unwrap();
    let mode = || fs::metadata(house.dir.path().join("sub/disk.img")).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o640);
    house.connect("sub/disk.img", false, false).await.unwrap();
    assert_eq!(mode(), 0o640, "lent to be read");
    house.msd.set_connected(false).await.unwrap();
    house.connect("sub/disk.img", false, true).await.unwrap();
    assert_eq!(mode(), 0o660);
    let directory = fs::metadata(house.dir.path().join("sub")).unwrap().permissions().mode();
    assert_eq!(directory & 0o050, 0o050, "the group finds its way");
}

#[tokio::test]
async fn nothing_but_disconnect_works_while_connected() {
    let house = House::with(&[("disk", b"x"), ("other", b"x")]).await;
    assert_eq!(house.msd.set_connected(false).await, Err(Error::Disconnected));
    assert_eq!(house.msd.set_connected(true).await, Err(Error::ImageNotSelected));
    house.connect("disk", false, false).await.unwrap();
    let drive = house.now().drive.unwrap();
    assert!(drive.connected && !drive.cdrom && !drive.rw);
    assert_eq!(drive.image.unwrap().name, "disk");
    assert_eq!(house.msd.set_connected(true).await, Err(Error::Connected));
    assert_eq!(house.msd.set_params(Some(None), None, None).await, Err(Error::Connected));
    assert_eq!(house.upload("new", b"x").await, Err(Error::Connected));
    assert_eq!(house.msd.remove("other").await, Err(Error::Connected));
    assert_eq!(house.msd.begin_read("other", Compression::None).await.unwrap_err(), Error::Connected);
    house.msd.set_connected(false).await.unwrap();
    let drive = house.now().drive.unwrap();
    assert!(!drive.connected && drive.image.unwrap().name == "disk", "the choice outlives the disconnect");
}

#[tokio::test]
async fn a_drive_that_refuses_leaves_everything_disconnected_and_closed() {
    let house = House::with(&[("disk", b"x")]).await;
    for (refusal, error) in [
        (DriveError::Locked, Error::Locked),
        (DriveError::Permissions("no".to_owned()), Error::Permissions("no".to_owned())),
        (DriveError::Failed("?".to_owned()), Error::Drive("?".to_owned())),
    ] {
        house.fake.set_refusal(Some(refusal));
        assert_eq!(house.connect("disk", false, true).await, Err(error));
        assert_eq!(house.fake.deeds().last(), Some(&Deed::Remount(false)));
        assert!(!house.now().drive.unwrap().connected);
    }
}

#[tokio::test]
async fn unknown_images_are_refused() {
    let house = House::with(&[]).await;
    let unknown = Error::UnknownImage("nope".to_owned());
    assert_eq!(house.connect("nope", true, false).await, Err(unknown.clone()));
    assert_eq!(house.msd.remove("nope").await, Err(unknown.clone()));
    assert_eq!(house.msd.begin_read("nope", Compression::None).await.unwrap_err(), unknown);
}

#[tokio::test]
async fn a_removed_image_is_gone_with_its_marker_and_its_selection() {
    let house = House::with(&[("x", b"x"), (".__x.incomplete", b"")]).await;
    house.msd.set_params(Some(Some("x".to_owned())), None, None).await.unwrap();
    house.msd.remove("x").await.unwrap();
    assert_eq!(house.names(), Vec::<String>::new());
    assert_eq!(house.now().drive.unwrap().image, None);
    assert_eq!(fs::read_dir(house.dir.path()).unwrap().count(), 0);
    assert_eq!(house.fake.deeds(), [Deed::Remount(true), Deed::Remount(false)]);
}

#[tokio::test]
async fn a_guest_that_ejects_is_noticed_and_the_storage_closed() {
    let mut house = House::with(&[("disk", b"x")]).await;
    house.connect("disk", false, true).await.unwrap();
    house.fake.forget();
    house.fake.set_current(Current::Empty);
    house.until(|state| state.drive.as_ref().is_some_and(|drive| !drive.connected)).await;
    assert_eq!(house.fake.deeds(), [Deed::Remount(false)]);
}

#[tokio::test]
async fn a_drive_that_goes_away_is_offline_and_comes_back() {
    let mut house = House::with(&[("disk", b"x")]).await;
    house.fake.set_current(Current::Absent);
    let state = house.until(|state| !state.online).await;
    assert!(state.enabled && state.drive.is_none() && state.storage.is_none());
    assert_eq!(house.upload("x", b"x").await, Err(Error::Offline));
    assert_eq!(house.msd.set_connected(false).await, Err(Error::Offline));
    house.fake.set_current(Current::Empty);
    house.until(|state| state.online).await;
}

#[tokio::test]
async fn a_restart_of_the_daemon_keeps_what_is_connected() {
    let house = House::with(&[("disk.img", b"x")]).await;
    house.connect("disk.img", false, true).await.unwrap();
    house.fake.forget();
    let (dir, fake) = house.end().await;
    assert!(!fake.deeds().contains(&Deed::Eject));
    let house = House::on(dir, fake).await;
    let drive = house.now().drive.unwrap();
    assert!(drive.connected && drive.rw && !drive.cdrom);
    assert_eq!(drive.image.unwrap().name, "disk.img");
    assert_eq!(house.fake.deeds(), [], "a storage the target writes to is not closed under it");
}

#[tokio::test]
async fn a_storage_left_open_by_a_killed_predecessor_is_closed() {
    let fake = Fake::new();
    let stop = CancellationToken::new();
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { root: dir.path().to_owned(), ..Settings::default() };
    let (msd, _owner) = msd::spawn(settings, fake.drive(), fake.remount(), stop);
    msd.subscribe().wait_for(|state| state.online).await.unwrap();
    assert_eq!(fake.deeds(), [Deed::Remount(false)]);
}

#[tokio::test]
async fn an_empty_drive_is_adopted_as_it_stands_and_told_from_then_on() {
    let fake = Fake::new();
    fake.set_flags(Some(Flags { cdrom: false, rw: true }));
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x"), b"x").unwrap();
    let mut house = House::on(dir, fake).await;
    let drive = house.now().drive.unwrap();
    assert_eq!((drive.cdrom, drive.rw), (false, true));
    house.msd.set_params(None, Some(true), None).await.unwrap();
    // A gadget that is made anew does not change what was chosen.
    house.fake.set_current(Current::Absent);
    house.until(|state| !state.online).await;
    house.fake.set_current(Current::Empty);
    let drive = house.until(|state| state.online).await.drive.unwrap();
    assert_eq!((drive.cdrom, drive.rw), (true, false));
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_is_busy_is_closed_later() {
    let house = House::with(&[("disk", b"x")]).await;
    house.connect("disk", false, true).await.unwrap();
    house.fake.forget();
    house.fake.set_mount_refusal(Some("Device or resource busy"));
    house.msd.set_connected(false).await.unwrap();
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(house.fake.deeds(), [Deed::Eject], "refused so far");
    house.fake.set_mount_refusal(None);
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(house.fake.deeds(), [Deed::Eject, Deed::Remount(false)], "once, and then no more");
}

#[tokio::test(start_paused = true)]
async fn what_another_drive_holds_is_neither_removed_nor_written_twice_nor_closed() {
    let (fake, other) = (Fake::new(), Fake::new());
    let dir = tempfile::tempdir().unwrap();
    for name in ["held", "free", ".__held.incomplete"] {
        fs::write(dir.path().join(name), b"x").unwrap();
    }
    let drives = Drives::new(fake.drive()).and(other.drive());
    let house = House::of(dir, fake, drives).await;
    let hold = |rw| other.set_current(Current::Holds(Medium { rw, ..house.medium("held", false, rw) }));
    hold(false);
    assert_eq!(house.msd.remove("held").await, Err(Error::Connected));
    assert_eq!(house.upload("held", b"new").await, Err(Error::Connected));
    assert_eq!(house.connect("held", false, true).await, Err(Error::Connected));
    house.connect("held", false, false).await.unwrap();
    house.msd.set_connected(false).await.unwrap();
    hold(true);
    assert_eq!(house.connect("held", false, false).await, Err(Error::Connected));
    house.fake.forget();
    house.msd.remove("free").await.unwrap();
    assert_eq!(house.fake.deeds(), [Deed::Remount(true)], "it is written to: it stays open");
    other.set_current(Current::Empty);
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(house.fake.deeds(), [Deed::Remount(true), Deed::Remount(false)]);
    house.msd.remove("held").await.unwrap();
}

#[tokio::test]
async fn an_image_from_elsewhere_is_shown_and_forgotten_when_it_is_out() {
    let mut house = House::with(&[]).await;
    let path = Path::new("/usr/share/other.iso").to_owned();
    house.fake.set_current(Current::Holds(Medium { path, cdrom: true, rw: false }));
    let state = house.until(|state| state.drive.as_ref().is_some_and(|drive| drive.connected)).await;
    let image = state.drive.unwrap().image.unwrap();
    assert!(!image.in_storage && image.image.complete && image.name == "/usr/share/other.iso");
    house.msd.set_connected(false).await.unwrap();
    assert_eq!(house.now().drive.unwrap().image, None);
}

#[tokio::test]
async fn a_reset_ends_a_transfer_and_disconnects() {
    let house = House::with(&[("disk", b"x")]).await;
    let mut write = house.msd.begin_write("big", 100, false).await.unwrap();
    house.msd.reset().await.unwrap();
    assert!(!house.now().busy);
    assert_eq!(write.chunk(Bytes::from_static(b"x")).await, Err(Error::Cancelled));
    house.connect("disk", true, false).await.unwrap();
    house.msd.reset().await.unwrap();
    assert_eq!(house.fake.current(), Current::Empty);
    assert_eq!(house.now().drive.unwrap().image.unwrap().name, "disk");
}

#[tokio::test]
async fn stopping_ends_a_transfer_and_leaves_the_image_marked() {
    let house = House::with(&[]).await;
    let mut write = house.msd.begin_write("big", 100, false).await.unwrap();
    write.chunk(Bytes::from_static(b"abc")).await.unwrap();
    let (dir, fake) = house.end().await;
    assert!(marker(dir.path(), "big"));
    assert_eq!(fake.deeds().last(), Some(&Deed::Remount(false)));
    assert_eq!(write.finish(None).await, Err(Error::Cancelled));
}

#[tokio::test]
async fn files_copied_in_and_removed_by_others_are_noticed() {
    let mut house = House::with(&[]).await;
    fs::create_dir(house.dir.path().join("sub")).unwrap();
    fs::write(house.dir.path().join("sub/by-ssh.iso"), b"x").unwrap();
    house
        .until(|state| {
            state.storage.as_ref().is_some_and(|storage| storage.images.contains_key("sub/by-ssh.iso"))
        })
        .await;
    fs::write(house.dir.path().join("sub/more.iso"), b"x").unwrap();
    house.until(|state| state.storage.as_ref().is_some_and(|storage| storage.images.len() == 2)).await;
    fs::remove_dir_all(house.dir.path().join("sub")).unwrap();
    house.until(|state| state.storage.as_ref().is_some_and(|storage| storage.images.is_empty())).await;
}

async fn download(house: &House, name: &str, compression: Compression) -> Vec<u8> {
    let mut read = house.msd.begin_read(name, compression).await.unwrap();
    let mut data = Vec::new();
    while let Some(piece) = read.chunk().await.unwrap() {
        data.extend_from_slice(&piece);
    }
    data
}

#[tokio::test]
async fn an_image_is_read_out_whole_and_the_region_is_free_at_its_end() {
    let data = pattern(3_000_003);
    let mut house = House::with(&[("x", &data), ("empty", b"")]).await;
    // Again and again without a pause: the region must be free whenever the last byte has been seen.
    for _ in 0..20 {
        assert_eq!(download(&house, "x", Compression::None).await, data);
        assert_eq!(download(&house, "empty", Compression::None).await, b"");
    }
    house.until(|state| !state.busy).await;
}

#[tokio::test]
async fn packed_images_unpack_to_the_same_bytes() {
    let data = pattern(2_000_000);
    let house = House::with(&[("x", &data)]).await;
    let packed = download(&house, "x", Compression::Zstd).await;
    assert!(packed.len() < data.len() / 2);
    assert_eq!(zstd::decode_all(&packed[..]).unwrap(), data);
    let packed = download(&house, "x", Compression::Lzma).await;
    assert!(packed.starts_with(b"\xfd7zXZ\0"));
    let mut unpacked = Vec::new();
    std::io::copy(&mut liblzma::read::XzDecoder::new(&packed[..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, data);
}

#[tokio::test]
async fn a_reader_that_leaves_frees_the_region() {
    let mut house = House::with(&[("x", &pattern(8_000_000))]).await;
    let mut read = house.msd.begin_read("x", Compression::None).await.unwrap();
    read.chunk().await.unwrap().unwrap();
    let downloading = house.until(|state| state.busy).await.storage.unwrap().downloading.unwrap();
    assert_eq!((downloading.name.as_str(), downloading.size), ("x", 8_000_000));
    drop(read);
    house.until(|state| !state.busy).await;
    house.upload("y", b"x").await.unwrap();
}

#[tokio::test]
async fn a_file_cut_while_it_is_read_is_an_error_not_a_short_file() {
    let house = House::with(&[("x", &pattern(64_000_000))]).await;
    let mut read = house.msd.begin_read("x", Compression::None).await.unwrap();
    read.chunk().await.unwrap().unwrap();
    fs::write(house.dir.path().join("x"), b"").unwrap();
    let error = loop {
        match read.chunk().await {
            Ok(piece) => assert!(piece.is_some(), "the file ended as if it were whole"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Io { .. }));
}

#[tokio::test]
async fn a_read_that_was_cancelled_never_looks_like_a_whole_one() {
    let house = House::with(&[("x", &pattern(8_000_000))]).await;
    let mut read = house.msd.begin_read("x", Compression::None).await.unwrap();
    // The client does not read: everything between it and the file is full when this comes.
    house.msd.reset().await.unwrap();
    let error = loop {
        match read.chunk().await {
            Ok(piece) => assert!(piece.is_some(), "the file ended as if it were whole"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Cancelled);
}

#[tokio::test]
async fn progress_is_shown_while_data_flows() {
    let mut house = House::with(&[]).await;
    let mut write = house.msd.begin_write("x", 100, false).await.unwrap();
    write.chunk(Bytes::from_static(b"0123456789")).await.unwrap();
    let transfer = |state: &State| state.storage.as_ref().and_then(|storage| storage.uploading.clone());
    let state = house.until(|state| transfer(state).is_some_and(|transfer| transfer.done == 10)).await;
    assert_eq!(transfer(&state).unwrap().size, 100);
    assert!(state.busy);
}

#[tokio::test]
async fn without_a_drive_everything_is_refused() {
    let msd = Msd::disabled();
    assert_eq!(*msd.subscribe().borrow(), State::default());
    assert_eq!(msd.reset().await, Err(Error::Disabled));
    assert_eq!(msd.set_connected(true).await, Err(Error::Disabled));
    assert_eq!(msd.begin_write("../x", 1, false).await.unwrap_err(), Error::Disabled);
}

#[tokio::test]
async fn room_that_comes_or_goes_without_a_file_of_the_storage_is_shown() {
    let mut house = House::with(&[]).await;
    let place = house.dir.path().to_owned();
    let before = house.now().storage.unwrap().parts[""].free;
    // On the same file system, and not in the storage.
    let mut beside = tempfile::tempfile_in(place.parent().unwrap()).unwrap();
    std::io::Write::write_all(&mut beside, &vec![7; 8 << 20]).unwrap();
    beside.sync_all().unwrap();
    // Others write there as well: what is shown is new, and what is so at that moment.
    let is_shown = |state: &State| {
        let shown = state.storage.as_ref().unwrap().parts[""].free;
        let now = nix::sys::statvfs::statvfs(&place).unwrap();
        shown != before && shown.abs_diff(now.blocks_available() * now.fragment_size()) < 4 << 20
    };
    tokio::time::timeout(Duration::from_secs(60), house.state.wait_for(is_shown)).await.unwrap().unwrap();
    house.end().await;
}
