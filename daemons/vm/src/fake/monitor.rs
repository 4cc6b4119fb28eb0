//! The fake machine monitor.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

#[derive(Debug)]
struct State {
    status: &'static str,
    disc: Option<String>,
    image: Option<(String, bool)>,
    plugged: bool,
    /// The guest opened the tray of the drive that holds something.
    open: bool,
    /// Ids of objects made by command.
    objects: Vec<String>,
    /// During this command the guest opens the tray.
    opens_during: Option<String>,
    refused: Vec<(String, String)>,
    silent: bool,
    commands: Vec<(String, Value)>,
}

/// A running fake. Dropping it closes the socket and its connections.
#[derive(Debug)]
pub struct Monitor {
    state: Arc<Mutex<State>>,
    count: watch::Receiver<usize>,
    events: broadcast::Sender<Option<Value>>,
    _stop: DropGuard,
}

impl Monitor {
    /// A machine that runs, listening at `path`, whose old socket is replaced. Must be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// The path cannot be listened at.
    pub fn listen(path: &Path) -> io::Result<Self> {
        drop(std::fs::remove_file(path));
        let listener = UnixListener::bind(path)?;
        let state = Arc::new(Mutex::new(State {
            status: "running",
            disc: None,
            image: None,
            plugged: false,
            open: false,
            objects: Vec::new(),
            opens_during: None,
            refused: Vec::new(),
            silent: false,
            commands: Vec::new(),
        }));
        let (counter, count) = watch::channel(0);
        let events = broadcast::Sender::new(64);
        let stop = CancellationToken::new();
        let server = Server { state: Arc::clone(&state), counter: Arc::new(counter), events: events.clone() };
        tokio::spawn(stop.clone().run_until_cancelled_owned(server.accept(listener, stop.clone())));
        Ok(Self { state, count, events, _stop: stop.drop_guard() })
    }

    /// Every command so far with its arguments, but for `qmp_capabilities` and queries.
    #[must_use]
    pub fn commands(&self) -> Vec<(String, Value)> {
        self.lock().commands.clone()
    }

    /// Waits until at least `count` commands came, and returns all. Bound the wait in the test if in doubt.
    pub async fn wait_commands(&self, count: usize) -> Vec<(String, Value)> {
        // The sender lives as long as the server; if that ended, what there is must do.
        drop(self.count.clone().wait_for(|now| *now >= count).await);
        self.commands()
    }

    /// From now on commands are recorded and not answered (`true`), or answered again.
    pub fn set_silent(&self, silent: bool) {
        self.lock().silent = silent;
    }

    /// From now on a command is refused with a `GenericError` and these words.
    pub fn refuse(&self, command: &str, description: &str) {
        self.lock().refused.push((command.to_owned(), description.to_owned()));
    }

    /// Refuses nothing any more.
    pub fn accept_all(&self) {
        self.lock().refused.clear();
    }

    /// The guest powers itself off.
    pub fn power_off(&self) {
        self.lock().status = "shutdown";
        self.emit("SHUTDOWN", json!({ "guest": true, "reason": "guest-shutdown" }));
        self.emit("STOP", Value::Null);
    }

    /// The guest opens the tray of the CD drive, or if that is empty, of the flash drive.
    pub fn open_tray(&self) {
        let moved = self.lock().open_tray();
        drop(self.events.send(Some(moved)));
    }

    /// The guest does so in the middle of the next such command, before its answer.
    pub fn open_tray_during(&self, command: &str) {
        self.lock().opens_during = Some(command.to_owned());
    }

    /// The flash drive falls off the bus; its image stays in use.
    pub fn lose_flash(&self) {
        self.lock().plugged = false;
        self.emit("DEVICE_DELETED", json!({ "device": "flash0", "path": "/machine/peripheral/flash0" }));
    }

    /// Sends an event to whoever is connected.
    pub fn emit(&self, name: &str, data: Value) {
        drop(self.events.send(Some(event(name, data))));
    }

    /// Ends every connection; the fake accepts new ones.
    pub fn hang_up(&self) {
        drop(self.events.send(None));
    }

    /// The path of the disc in `cd0`.
    #[must_use]
    pub fn disc(&self) -> Option<String> {
        self.lock().disc.clone()
    }

    /// The image of the plugged `flash0`, and whether it is writable.
    #[must_use]
    pub fn flash(&self) -> Option<(String, bool)> {
        let state = self.lock();
        state.image.clone().filter(|_| state.plugged)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn event(name: &str, data: Value) -> Value {
    let mut event = json!({ "event": name, "timestamp": { "seconds": 0, "microseconds": 0 } });
    if !data.is_null() {
        event["data"] = data;
    }
    event
}

/// What QEMU calls the drive behind `flash0`.
const FLASH_PATH: &str = "/machine/peripheral/flash0/flash0.0/legacy[0]";

fn tray_moved(open: bool) -> Value {
    event("DEVICE_TRAY_MOVED", json!({ "device": "", "id": "cd0", "tray-open": open }))
}

#[derive(Clone)]
struct Server {
    state: Arc<Mutex<State>>,
    counter: Arc<watch::Sender<usize>>,
    events: broadcast::Sender<Option<Value>>,
}

impl Server {
    async fn accept(self, listener: UnixListener, stop: CancellationToken) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(stop.clone().run_until_cancelled_owned(self.clone().serve(stream)));
        }
    }

    async fn serve(self, stream: UnixStream) -> io::Result<()> {
        let mut events = self.events.subscribe();
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        let greeting = json!({ "QMP": { "version": { "qemu": { "major": 10, "minor": 0, "micro": 2 } }, "capabilities": [] } });
        writer.write_all(format!("{greeting}\n").as_bytes()).await?;
        loop {
            tokio::select! {
                line = lines.next_line() => {
                    let Some(line) = line? else { return Ok(()) };
                    for message in self.command(&line) {
                        writer.write_all(format!("{message}\n").as_bytes()).await?;
                    }
                }
                event = events.recv() => match event {
                    Ok(Some(event)) => writer.write_all(format!("{event}\n").as_bytes()).await?,
                    _ => return Ok(()),
                }
            }
        }
    }

    /// The answer and what follows it.
    fn command(&self, line: &str) -> Vec<Value> {
        let request: Value = serde_json::from_str(line).unwrap_or_default();
        let name = request["execute"].as_str().unwrap_or_default().to_owned();
        let arguments = request.get("arguments").cloned().unwrap_or(Value::Null);
        let mut state = lock(&self.state);
        if name != "qmp_capabilities" && !name.starts_with("query-") && !name.starts_with("qom-") {
            state.commands.push((name.clone(), arguments.clone()));
            self.counter.send_replace(state.commands.len());
        }
        if state.silent {
            return Vec::new();
        }
        let refusal = state.refused.iter().find(|(command, _)| *command == name);
        let result = match refusal {
            Some((_, words)) => Err(("GenericError", words.clone())),
            None => state.execute(&name, &arguments),
        };
        let opened = state.opens_during.take_if(|command| *command == name).map(|_| state.open_tray());
        match result {
            Ok((value, events)) => {
                let answer = json!({ "return": value, "id": request["id"] });
                opened.into_iter().chain([answer]).chain(events).collect()
            }
            Err((class, words)) => {
                vec![json!({ "error": { "class": class, "desc": words }, "id": request["id"] })]
            }
        }
    }
}

type Answer = Result<(Value, Vec<Value>), (&'static str, String)>;

impl State {
    fn execute(&mut self, name: &str, arguments: &Value) -> Answer {
        let generic = |words: &str| Err(("GenericError", words.to_owned()));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut events = Vec::new();
        let mut value = json!({});
        match name {
            "query-status" => value = json!({ "status": self.status, "running": self.status == "running" }),
            "stop" if self.status == "running" => {
                self.status = "paused";
                events.push(event("STOP", Value::Null));
            }
            "cont" if self.status == "shutdown" => {
                return generic("Resetting the Virtual Machine is required");
            }
            "cont" => {
                self.status = "running";
                events.push(event("RESUME", Value::Null));
            }
            "system_reset" => {
                if self.status == "shutdown" {
                    self.status = "paused";
                }
                events.push(event("RESET", json!({ "guest": false, "reason": "host-qmp-system-reset" })));
            }
            "system_powerdown" => events.push(event("POWERDOWN", Value::Null)),
            "blockdev-change-medium" => {
                self.disc = Some(text(&arguments["filename"]));
                self.open = false;
                events.extend([true, false].map(tray_moved));
            }
            "eject" => {
                self.disc = None;
                events.push(tray_moved(true));
            }
            "object-add" => self.objects.push(text(&arguments["id"])),
            "qom-list" => {
                let object = |id: &String| json!({ "name": id, "type": "child<throttle-group>" });
                value = self.objects.iter().map(object).collect();
            }
            "blockdev-add" if self.image.is_some() => {
                return generic("Duplicate nodes with node-name='flash0-image'");
            }
            "blockdev-add" => {
                let writable = arguments["read-only"] == false;
                self.image = Some((text(&arguments["file"]["filename"]), writable));
            }
            "device_add" => {
                self.plugged = true;
                self.open = false;
            }
            "device_del" if !self.plugged => {
                return Err(("DeviceNotFound", "Device 'flash0' not found".to_owned()));
            }
            "device_del" => {
                self.plugged = false;
                events.push(event(
                    "DEVICE_DELETED",
                    json!({ "device": "flash0", "path": "/machine/peripheral/flash0" }),
                ));
            }
            "blockdev-del" if self.plugged => return generic("Node flash0-image is in use"),
            "blockdev-del" => self.image = None,
            "query-block" => value = self.query_block(),
            "query-named-block-nodes" => {
                let node = |(file, writable): &(String, bool)| json!({ "node-name": "flash0-image", "file": file, "ro": !writable });
                value = self.image.iter().map(node).collect();
            }
            _ => {}
        }
        Ok((value, events))
    }

    fn open_tray(&mut self) -> Value {
        self.open = true;
        let id = if self.disc.is_some() { "cd0" } else { FLASH_PATH };
        event("DEVICE_TRAY_MOVED", json!({ "device": "", "id": id, "tray-open": true }))
    }

    fn query_block(&self) -> Value {
        let mut cd = json!({ "device": "", "qdev": "cd0", "removable": true });
        if let Some(disc) = &self.disc {
            cd["inserted"] = json!({ "file": disc, "node-name": "#block1", "ro": true });
            cd["tray_open"] = json!(self.open);
        }
        let mut blocks = vec![cd];
        if let Some((file, writable)) = self.image.as_ref().filter(|_| self.plugged) {
            let inserted = json!({ "file": file, "node-name": "flash0-image", "ro": !writable });
            blocks.push(
                json!({ "device": "", "qdev": FLASH_PATH, "inserted": inserted, "tray_open": self.open }),
            );
        }
        Value::Array(blocks)
    }
}
