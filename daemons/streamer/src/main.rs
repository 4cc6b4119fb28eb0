//! The `kvmd-streamer` program.

use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::Context;
use clap::Parser;
use frames::Writer;
use life::{Life, ListenFds};
use streamer::{Work, monitor, serve, settings, source};
use tokio::sync::mpsc;

/// Captures the target's screen and publishes it as JPEG. Started by the supervisor.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    #[command(flatten)]
    config: config::Args,
}

fn main() -> ExitCode {
    let passed = life::listen_fds(); // before anything opens a descriptor
    let flags = Flags::parse();
    if let Err(error) = life::init_logging("kvmd-streamer") {
        log::error!("{error}");
    }
    let config = match config::load(&flags.config) {
        Ok((config, _)) => config, // the warnings are the supervisor's to give, once
        Err(errors) => {
            log::error!("{errors}");
            return ExitCode::from(config::Errors::EXIT_CODE);
        }
    };
    match passed.map_err(anyhow::Error::from).and_then(|passed| run(&config, &flags.config.layout(), passed))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(config: &config::Config, layout: &config::Layout, mut passed: ListenFds) -> anyhow::Result<()> {
    let ring = passed.take("ring").context("the frame ring was not passed (descriptor \"ring\")")?;
    let listener = passed.take("streamer").context("the socket was not passed (descriptor \"streamer\")")?;
    let listener = UnixListener::from(listener);
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let ring = Writer::attach(ring)?;

    let life = Life::start()?;
    let (to_work, commands) = mpsc::channel(16);
    let streamer = &config.kvmd.streamer;
    let monitor = monitor(streamer, &layout.streamer_state());
    let source = source(streamer, &config.vm.sockets, monitor.wanted(), life.stop());
    let work = Work::new(settings(streamer), source, ring, commands, monitor)?;
    let (state, turns) = (work.subscribe(), work.turns());

    let stop = life.stop().clone();
    let worker = std::thread::Builder::new().name("frames".to_owned()).spawn(move || {
        let _ends_the_process = stop.clone().drop_guard();
        work.run(&stop);
    })?;
    let served = tokio::spawn(serve(listener, state, to_work, life.stop().child_token()));
    life.ready();

    let mut seen = 0;
    life.until_stopped(|| std::mem::replace(&mut seen, turns.load(Ordering::Relaxed)) != seen).await;
    served.await?;
    worker.join().map_err(|_| anyhow::anyhow!("the thread \"frames\" panicked"))
}
