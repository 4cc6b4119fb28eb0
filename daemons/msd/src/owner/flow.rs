//! Images on their way in and out.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Owner;
use crate::download::{Compression, Download, Out, Read};
use crate::scan;
use crate::speed::Speed;
use crate::transfer::{self, Progress};
use crate::upload::{Ended, Order, Upload, Write};
use crate::{Error, upload};

/// A transfer under way.
pub(super) struct Active {
    pub(super) direction: Direction,
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) progress: Arc<Progress>,
    pub(super) speed: Speed,
    cancel: CancellationToken,
    ended: oneshot::Receiver<Ended>,
    /// Held here for a write, which ends with our remount. A read's is held by its thread, which can free it before the
    /// client sees the last byte.
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

impl Owner {
    /// Gives the region back with the error.
    pub(super) async fn begin_write(
        &mut self,
        order: Order,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Write, (Error, Option<OwnedSemaphorePermit>)> {
        let own = match self.may_write(order.name.as_str()).await {
            Ok(own) => own,
            Err(error) => return Err((error, permit)),
        };
        match self.start_write(order).await {
            Ok((write, active)) => {
                self.active = Some(Active { permit, ..active });
                Ok(write)
            }
            Err(error) => {
                if own {
                    self.close_storage().await;
                }
                self.rescan().await;
                Err((error, permit))
            }
        }
    }

    /// Checks, and opens the storage where the image goes to our own part (`true`).
    async fn may_write(&mut self, image: &str) -> Result<bool, Error> {
        self.online()?;
        self.check_disconnected()?;
        let scan = self.online()?;
        if scan.images.get(image).is_some_and(|found| found.complete) {
            return Err(Error::ImageExists(image.to_owned()));
        }
        self.check_not_beside(image)?;
        let own = scan::part_of(&scan.parts, image).is_empty();
        if own {
            self.open_storage().await?;
        }
        Ok(own)
    }

    async fn start_write(&mut self, order: Order) -> Result<(Write, Active), Error> {
        let (root, window) = (self.settings.root.clone(), self.settings.sync_chunk);
        let (image, size, from) = (order.name.as_str().to_owned(), order.size, order.from);
        let prepare = move || Upload::prepare(&root, order, window);
        let prepared = spawn_blocking(prepare).await.unwrap_or(Err(Error::Stopped))?;
        let (pieces, inbox) = mpsc::channel::<upload::Piece>(transfer::QUEUE);
        let (progress, cancel) = (Arc::new(Progress::starting_at(from)), self.stop.child_token());
        let (report, ended) = oneshot::channel();
        let (runtime, seen, token) = (Handle::current(), Arc::clone(&progress), cancel.clone());
        transfer::start("msd-write", move || {
            let _ = report.send(prepared.run(&runtime, inbox, &seen, &token));
        })?;
        log::info!("writing {image:?}, {size} bytes, from byte {from}");
        self.rescan_at = Some(Instant::now());
        let write = Write::new(image.clone(), size, from, pieces, Arc::clone(&progress));
        let speed = Speed::starting_at(from, Instant::now());
        let active = Active {
            direction: Direction::In,
            name: image,
            size,
            progress,
            speed,
            cancel,
            ended,
            permit: None,
        };
        Ok((write, active))
    }

    pub(super) async fn begin_read(
        &mut self,
        image: String,
        compression: Compression,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Read, Error> {
        self.online()?;
        self.check_disconnected()?;
        if !self.online()?.images.contains_key(&image) {
            return Err(Error::UnknownImage(image));
        }
        let (root, name, piece) = (self.settings.root.clone(), image.clone(), self.settings.read_chunk);
        let open = move || Download::open(&root, &name, compression, piece);
        let download = spawn_blocking(open).await.unwrap_or(Err(Error::Stopped))?;
        let size = download.size;
        let (pieces, outbox) = mpsc::channel(transfer::QUEUE);
        let (progress, cancel) = (Arc::new(Progress::default()), self.stop.child_token());
        let (report, ended) = oneshot::channel();
        let read = Read::new(image.clone(), size, outbox, Arc::clone(&progress));
        let (runtime, seen, token, name) =
            (Handle::current(), Arc::clone(&progress), cancel.clone(), image.clone());
        transfer::start("msd-read", move || {
            download.run(&Out { runtime: &runtime, cancel: &token, pieces: &pieces }, &seen);
            let written = upload::Written { name, size, written: seen.done(), sha256: None };
            // In this order: when the state says "not busy" the region is free, and when the client sees the end too.
            drop(permit);
            let _ = report.send(Ended { result: Ok(written), reply: None });
            drop(pieces);
        })?;
        self.active = Some(Active {
            direction: Direction::Out,
            name: image,
            size,
            progress,
            speed: Speed::starting_at(0, Instant::now()),
            cancel,
            ended,
            permit: None,
        });
        Ok(read)
    }

    /// Ends a transfer under way and waits for its thread.
    pub(super) async fn end_active(&mut self) {
        if let Some(active) = &self.active {
            active.cancel.cancel();
            let ended = ended(&mut self.active).await;
            self.end_transfer(ended).await;
        }
    }

    pub(super) async fn end_transfer(&mut self, ended: Option<Ended>) {
        let Some(active) = self.active.take() else { return };
        let result = ended.map_or((Err(Error::Stopped), None), |ended| (ended.result, ended.reply));
        if active.direction == Direction::In {
            match &result.0 {
                Ok(written) if result.1.is_some() => {
                    log::info!("wrote {:?}, {} bytes", written.name, written.written);
                }
                Ok(written) => log::warn!(
                    "the client left after {} of {} bytes of {:?}",
                    written.written,
                    active.size,
                    active.name
                ),
                Err(error) => log::error!("writing {:?} failed: {error}", active.name),
            }
            if !self.connected() {
                self.close_storage().await;
            }
            self.rescan().await;
        }
        // In this order: when the state says "not busy" the region is free, and when the client hears of the end both are.
        drop(active.permit);
        self.show();
        if let (result, Some(reply)) = result {
            let _ = reply.send(result);
        }
    }
}

/// The end of the transfer under way; never, without one. `None`: its thread died.
pub(super) async fn ended(active: &mut Option<Active>) -> Option<Ended> {
    match active {
        Some(active) => (&mut active.ended).await.ok(),
        None => std::future::pending().await,
    }
}
