//! The `kvmd` program.

use anyhow::Context;
use api::{
    server::{self, Listeners, Settings},
    setup,
    streamer::frames::Frames,
};
use clap::Parser;
use config::Args;
use life::{Life, ListenFds};
use std::{net::TcpListener, os::unix::net::UnixListener, process::ExitCode, time::Duration};

/// The HTTPS and WebSocket face of the appliance.
#[derive(Debug, Parser)]
#[command(name = "kvmd", version)]
struct Program {
    #[command(flatten)]
    args: Args,
}

/// How long requests under way and devices may take when we stop.
const DRAIN: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let program = Program::parse();
    let descriptors = life::listen_fds();
    if let Err(why) = life::init_logging("kvmd") {
        log::warn!("{why}");
    }
    let (config, warnings) = match config::load(&program.args) {
        Ok(loaded) => loaded,
        Err(errors) => {
            log::error!("{errors}");
            return ExitCode::from(config::Errors::EXIT_CODE);
        }
    };
    for warning in warnings {
        log::warn!("{warning}");
    }
    let run = async { serve(&config, &program.args, descriptors?).await };
    let done = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(run));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            log::error!("{why:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: &config::Config, args: &Args, mut descriptors: ListenFds) -> anyhow::Result<()> {
    let life = Life::start()?;
    // The ring's thread rests while nobody watches, and ends with `_ring`.
    let (frames, _ring) = match descriptors.take("ring") {
        Some(ring) => Frames::start(&ring).map(|(frames, thread)| (frames, Some(thread)))?,
        None => (Frames::none(), None),
    };
    let (listeners, unix) = listeners(&mut descriptors)?;
    let mut devices = setup::start(config, &args.layout(), frames, &mut descriptors, life.stop())?;
    let settings = Settings {
        workers: std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(4),
        drain: DRAIN,
    };
    let mut servers = server::start(&devices.handles, listeners, settings)?;
    life.ready();
    if let Some(unix) = unix {
        servers.serve_local(&devices.handles, unix, settings)?;
    }
    let failed = tokio::select! {
        // An owner that ends because we stop has not failed.
        biased;
        () = life.until_stopped(|| true) => None,
        why = servers.failed() => Some(why),
        // Without its keyboard, say, the daemon is not one: the supervisor starts it again whole.
        _ = devices.owners.join_next(), if !devices.owners.is_empty() => Some(anyhow::anyhow!("a device's owner has ended")),
    };
    life.stop().cancel();
    let rest = async {
        servers.stop().await;
        while devices.owners.join_next().await.is_some() {}
        // Clients have left by now, and what they did last is known.
        devices.handles.audit.end().await;
        devices.later.cancel();
    };
    if tokio::time::timeout(DRAIN + Duration::from_secs(1), rest).await.is_err() {
        log::warn!("not everything came to rest in time");
    }
    failed.map_or(Ok(()), Err)
}

/// Those for people, and the one for local processes.
fn listeners(descriptors: &mut ListenFds) -> anyhow::Result<(Listeners, Option<UnixListener>)> {
    let tcp = |descriptors: &mut ListenFds, name: &str| {
        descriptors.take_all(name).into_iter().map(TcpListener::from).collect::<Vec<_>>()
    };
    let listeners = Listeners {
        https: tcp(descriptors, "https"),
        http: tcp(descriptors, "http"),
        tls: descriptors.take("tls-cert").zip(descriptors.take("tls-key")),
    };
    let unix = descriptors.take("kvmd").map(UnixListener::from);
    if listeners.https.is_empty() && listeners.http.is_empty() && unix.is_none() {
        anyhow::bail!("no listening socket was handed over: kvmd is started by kvmd-supervisor");
    }
    Ok((listeners, unix))
}
