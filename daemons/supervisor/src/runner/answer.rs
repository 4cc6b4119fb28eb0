//! What is asked over the control socket.

use std::time::Instant;

use client::supervisor::{Answer, Request, Status};

use super::Runner;
use super::drive::{locked, storage_row};
use crate::control::Call;
use crate::service::Event;
use crate::{STREAMER, gadget};

impl Runner {
    pub(super) async fn answer(&mut self, call: Call) {
        let answer = match call.request {
            Request::Status => Answer::Status { status: self.status() },
            Request::StartStreamer => {
                self.viewed = true;
                self.want_streamer().await
            }
            Request::StopStreamer => {
                self.viewed = false;
                self.want_streamer().await
            }
            Request::HoldStreamer { on } => {
                self.held = on;
                self.want_streamer().await
            }
            Request::Restart { service } => {
                let known = self.units.iter().find(|unit| unit.name == service).map(|unit| unit.name);
                match known {
                    Some(name) => self.restart(name).await,
                    None => Answer::Unknown { service },
                }
            }
            Request::RemountMsd { rw } => {
                self.remount(rw, call.answer);
                return;
            }
            request @ (Request::Gadget
            | Request::SetBiosSafe { .. }
            | Request::ConnectGadget { .. }
            | Request::ReplugGadget) => {
                let gadget = self.parts.gadget.clone();
                // Not waited for: plugging in takes its time.
                tokio::spawn(
                    async move { call.answer.send(gadget::answer(gadget.as_ref(), &request).await) },
                );
                return;
            }
            Request::System { ask } => {
                let system = self.parts.system.clone();
                tokio::spawn(async move { call.answer.send(system.answer(ask).await) });
                return;
            }
            Request::Update { ask } => {
                let updates = self.parts.updates.clone();
                tokio::spawn(async move { call.answer.send(updates.answer(ask).await) });
                return;
            }
            Request::Stop => {
                self.parts.life.stop().cancel();
                Answer::Done
            }
        };
        // Somebody who hung up does not want to know.
        let _ = call.answer.send(answer);
    }

    async fn want_streamer(&mut self) -> Answer {
        let event = if self.viewed || self.held { Event::Want } else { Event::Unwant };
        self.want(STREAMER, event).await
    }

    async fn want(&mut self, name: &'static str, event: Event) -> Answer {
        if self.give_up_at.is_some() && event != Event::Unwant {
            return Answer::Failed { reason: "the supervisor is stopping".to_owned() };
        }
        match self.units.iter().position(|unit| unit.name == name) {
            Some(at) => {
                self.feed(at, event).await;
                Answer::Done
            }
            None => Answer::Unknown { service: name.to_owned() },
        }
    }

    pub(super) async fn restart(&mut self, name: &'static str) -> Answer {
        self.want(name, Event::Restart).await
    }

    pub(super) fn is_ready(&self) -> bool {
        self.units.iter().all(|unit| unit.on_demand || unit.service.is_ready())
    }

    fn status(&self) -> Status {
        let now = Instant::now();
        let shown = locked(&self.shown).clone();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            ready: self.is_ready(),
            journal: self.parts.journal,
            services: self
                .units
                .iter()
                .map(|unit| unit.status(now))
                .chain(storage_row(&shown, now))
                .collect(),
            msd: shown.msd,
        }
    }
}
