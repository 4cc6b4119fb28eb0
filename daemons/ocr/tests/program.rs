//! Reading text by the real program where it is installed, and by scripts that behave badly in its place.
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use encode::Gray;
use ocr::{Error, Ocr, Settings};

/// A place where a script stands for the program, and a language is installed.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("eng.traineddata"), b"").unwrap();
        let program = dir.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    fn ocr(&self) -> Ocr {
        self.ocr_with(|_| {})
    }

    fn ocr_with(&self, change: impl FnOnce(&mut Settings)) -> Ocr {
        let program = self.dir.path().join("program");
        let mut settings =
            Settings { program, data: vec![self.dir.path().to_owned()], ..Settings::default() };
        change(&mut settings);
        Ocr::new(settings)
    }
}

fn picture() -> Gray {
    Gray { width: 3, height: 2, pixels: vec![1, 2, 3, 4, 5, 6] }
}

#[tokio::test]
async fn the_program_gets_the_picture_and_its_answer_is_the_text() {
    let bench = Bench::new("cat > \"$(dirname \"$0\")/seen\"; echo \"$*\"");
    let text = bench.ocr().read(picture(), &[]).await.unwrap();
    assert!(text.starts_with("stdin stdout -l eng --psm 6 --tessdata-dir /"), "{text}");
    assert_eq!(fs::read(bench.dir.path().join("seen")).unwrap(), b"P5\n3 2\n255\n\x01\x02\x03\x04\x05\x06");
}

#[tokio::test]
async fn a_program_that_fails_says_why() {
    let bench = Bench::new("echo first >&2; echo the reason >&2; exit 1");
    assert_eq!(bench.ocr().read(picture(), &[]).await, Err(Error::Failed("the reason".to_owned())));
    assert_eq!(
        bench.ocr().read(picture(), &["tlh".to_owned()]).await,
        Err(Error::UnknownLanguage("tlh".to_owned()))
    );
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_an_error() {
    let bench = Bench::new("exec sleep 1000");
    let ocr = bench.ocr_with(|settings| settings.time = Duration::from_millis(100));
    assert!(matches!(ocr.read(picture(), &[]).await, Err(Error::TooSlow(_))));
}

#[tokio::test]
async fn the_time_counts_from_the_place_on_and_not_from_the_picture() {
    let bench = Bench::new("cat > /dev/null; exec sleep 1");
    let time = Duration::from_secs(3);
    let place = bench.ocr_with(|settings| settings.time = time).place(&[]).unwrap();
    tokio::time::sleep(time).await;
    // From here on the program would have time enough.
    assert!(matches!(place.read(picture()).await, Err(Error::TooSlow(_))));
}

#[tokio::test]
async fn a_program_whose_reader_is_gone_is_killed() {
    let bench = Bench::new(
        "echo $$ > \"$(dirname \"$0\")/begun\"; mv \"$(dirname \"$0\")/begun\" \"$(dirname \"$0\")/pid\"; exec sleep 1000",
    );
    let ocr = bench.ocr();
    let reads = tokio::spawn(async move { ocr.read(picture(), &[]).await });
    let noted = bench.dir.path().join("pid");
    let begin = Instant::now();
    while !noted.exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the program did not begin");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    reads.abort();
    let pid = fs::read_to_string(noted).unwrap();
    assert_gone(Path::new("/proc").join(pid.trim())).await;
}

/// Not there any more, or only waiting to be reaped.
async fn assert_gone(process: PathBuf) {
    let begin = Instant::now();
    while fs::read_to_string(process.join("stat")).is_ok_and(|stat| !stat.contains(") Z")) {
        assert!(begin.elapsed() < Duration::from_secs(20), "still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_program_that_talks_without_end_is_cut() {
    let bench = Bench::new("head -c 3000000 /dev/zero | tr '\\0' x");
    assert_eq!(bench.ocr().read(picture(), &[]).await.unwrap().len(), 1 << 20);
}

#[tokio::test]
async fn a_program_that_wants_all_memory_does_not_get_it() {
    // The shell's own copy of what is echoed into the variable is what would grow.
    let bench = Bench::new("cat > /dev/null; text=$(head -c 20000000 /dev/zero | tr '\\0' x); echo ${#text}");
    let with = |memory| bench.ocr_with(|settings| settings.memory = memory);
    assert!(matches!(with(24 << 20).read(picture(), &[]).await, Err(Error::Failed(_))));
    // And it is for want of that.
    assert_eq!(with(1 << 30).read(picture(), &[]).await.as_deref(), Ok("20000000\n"));
}

#[tokio::test]
async fn a_few_may_wait_and_the_next_is_told_so() {
    let bench = Bench::new("cat > /dev/null; exec sleep 1000");
    let ocr = bench.ocr();
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let ocr = ocr.clone();
        waiting.push(tokio::spawn(async move { ocr.read(picture(), &[]).await }));
        tokio::task::yield_now().await;
    }
    assert_eq!(ocr.read(picture(), &[]).await, Err(Error::Busy));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    for reader in waiting {
        assert!(reader.await.unwrap_err().is_cancelled());
    }
    let quick = Bench::new("cat > /dev/null");
    fs::copy(quick.dir.path().join("program"), bench.dir.path().join("program2")).unwrap();
    fs::rename(bench.dir.path().join("program2"), bench.dir.path().join("program")).unwrap();
    assert_eq!(ocr.read(picture(), &[]).await, Ok(String::new()), "who left holds no place");
}

/// Letters of five by seven dots, each dot four by four pixels, black on white: as large as on a screen.
fn written(text: &str) -> Gray {
    const DOT: usize = 4;
    let glyph = |letter| match letter {
        'H' => [0x11, 0x11, 0x11, 0x1F, 0x11, 0x11, 0x11],
        'E' => [0x1F, 0x10, 0x10, 0x1E, 0x10, 0x10, 0x1F],
        'L' => [0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1F],
        'T' => [0x1F, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04],
        _ => [0_u8; 7],
    };
    let (columns, lines) = (text.len() * 6 + 8, 7 + 8);
    let (width, height) = (columns * DOT, lines * DOT);
    let mut pixels = vec![255; width * height];
    for (place, letter) in text.chars().enumerate() {
        for (line, bits) in glyph(letter).into_iter().enumerate() {
            for column in (0..5).filter(|column| bits & (0x10 >> column) != 0) {
                let (x, y) = ((4 + place * 6 + column) * DOT, (4 + line) * DOT);
                for row in y..y + DOT {
                    pixels[row * width + x..row * width + x + DOT].fill(0);
                }
            }
        }
    }
    Gray { width: u32::try_from(width).unwrap(), height: u32::try_from(height).unwrap(), pixels }
}

#[tokio::test]
async fn the_real_program_reads_what_is_written() {
    let data = [
        "/usr/share/tessdata",
        "/usr/share/tesseract-ocr/5/tessdata",
        "/usr/share/tesseract-ocr/4.00/tessdata",
    ];
    let ocr = Ocr::new(Settings { data: data.map(PathBuf::from).into(), ..Settings::default() });
    let Some(languages) = ocr.languages() else {
        eprintln!("skipped: tesseract is not installed");
        return;
    };
    assert!(languages.available.contains(&"eng".to_owned()), "{languages:?}");
    let text = ocr.read(written("THE TELL"), &["ENG".to_owned()]).await.unwrap();
    assert_eq!(text.trim(), "THE TELL");
}
