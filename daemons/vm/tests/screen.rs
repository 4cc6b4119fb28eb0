//! The screen against the fake one.

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vm::fake::Vnc;
use vm::screen::{Leds, Screen, Settings, Status, leds};

async fn reach<T>(receiver: &mut watch::Receiver<T>, wanted: impl FnMut(&T) -> bool) {
    let reached = tokio::time::timeout(Duration::from_secs(60), receiver.wait_for(wanted)).await;
    assert!(matches!(reached, Ok(Ok(_))), "not reached");
}

fn connect(path: &Path) -> (Screen, watch::Receiver<Status>, CancellationToken) {
    let stop = CancellationToken::new();
    let screen = Screen::connect(path, Settings::default(), &stop);
    let status = screen.subscribe();
    (screen, status, stop)
}

#[tokio::test(start_paused = true)]
async fn the_picture_follows_colour_and_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vnc.sock");
    let vnc = Vnc::listen(&path, 6, 4).unwrap();
    let (screen, mut status, _stop) = connect(&path);
    let mut picture = Vec::new();
    reach(&mut status, |now| now.size == Some((6, 4))).await;
    assert_eq!(screen.copy(&mut picture), Some(screen.status()));
    assert_eq!(picture, [0; 96]);

    let seen = screen.status().generation;
    vnc.paint([1, 2, 3]);
    reach(&mut status, |now| now.generation > seen).await;
    screen.copy(&mut picture).unwrap();
    assert_eq!(picture, [1, 2, 3, 0].repeat(24));

    vnc.resize(2, 2);
    reach(&mut status, |now| now.size == Some((2, 2))).await;
    screen.copy(&mut picture).unwrap();
    assert_eq!(picture, [1, 2, 3, 0].repeat(4));
}

#[tokio::test(start_paused = true)]
async fn a_still_screen_makes_no_generations_although_it_is_nudged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vnc.sock");
    let _vnc = Vnc::listen(&path, 6, 4).unwrap();
    let (_screen, mut status, _stop) = connect(&path);
    reach(&mut status, |now| now.size.is_some()).await;
    let news = tokio::time::timeout(Duration::from_secs(30), status.changed()).await;
    assert!(news.is_err(), "{:?}", *status.borrow());
}

#[tokio::test(start_paused = true)]
async fn a_screen_that_goes_away_is_no_picture_and_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vnc.sock");
    let vnc = Vnc::listen(&path, 6, 4).unwrap();
    vnc.set_leds(4);
    let (screen, mut status, _stop) = connect(&path);
    reach(&mut screen.leds(), |now| *now == Some(Leds { caps: true, num: false, scroll: false })).await;
    reach(&mut status, |now| now.size.is_some()).await;
    let seen = screen.status().generation;
    vnc.hang_up();
    reach(&mut status, |now| now.size.is_none()).await;
    assert_eq!(screen.copy(&mut vec![7]), None);
    assert!(screen.leds().borrow().is_none());
    reach(&mut status, |now| now.size.is_some() && now.generation > seen + 1).await;
}

#[tokio::test(start_paused = true)]
async fn lights_can_be_watched_without_a_picture() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vnc.sock");
    let vnc = Vnc::listen(&path, 6, 4).unwrap();
    let mut lights = leds(&path, Settings::default(), CancellationToken::new());
    reach(&mut lights, |now| *now == Some(Leds::default())).await;
    vnc.set_leds(3);
    reach(&mut lights, |now| *now == Some(Leds { caps: false, num: true, scroll: true })).await;
}

#[tokio::test]
async fn a_reading_thread_is_woken_by_news_and_by_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vnc.sock");
    let _vnc = Vnc::listen(&path, 6, 4).unwrap();
    let (screen, _, stop) = connect(&path);
    let reader = screen.clone();
    let wait = move |seen| reader.wait_newer(seen, Duration::from_secs(60));
    let first = tokio::task::spawn_blocking({
        let wait = wait.clone();
        move || wait(0)
    });
    let first = first.await.unwrap().expect("a first picture");
    assert_eq!(first.size, Some((6, 4)));
    let second = tokio::task::spawn_blocking(move || wait(first.generation));
    stop.cancel();
    let last = second.await.unwrap().expect("the end is news");
    assert_eq!(last.size, None);
    assert_eq!(screen.wait_newer(last.generation, Duration::from_secs(60)), None, "and then at once");
}
