//! `/hid`: the keyboard and mouse (section 8.4).
//!
//! Ours beyond the contract, for text that a layout cannot type: `print/check` tells its characters beforehand, `print` with
//! `strict=1` refuses it before anything is typed. Without `strict`, they are left out, as clients are used to.

use crate::{
    answer::{self, Answer},
    body,
    failure::Failure,
    holder::Holder,
    query::Query,
    routes::Entry,
};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    http::header,
    web::{self, Data},
};
use auth::Access;
use hid::{Event, Hid, Untypable};
use hid_wire::{Button, Key, Keymap};
use icu_normalizer::ComposingNormalizer;
use model::{
    check::{self, Checked, Invalid},
    hid as wire,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[
    Entry::get("/hid", || web::to(state)),
    Entry::post("/hid/set_params", || web::to(set_params)),
    Entry::post("/hid/set_connected", || web::to(set_connected)),
    Entry::post("/hid/reset", || web::to(reset)),
    Entry::get("/hid/inactivity", || web::to(inactivity)),
    Entry::get("/hid/keymaps", || web::to(keymaps)),
    Entry::post("/hid/print", || web::to(print)),
    Entry::post("/hid/print/check", || web::to(check_print)),
    Entry::post("/hid/events/send_shortcut", || web::to(send_shortcut)),
    Entry::post("/hid/events/send_key", || web::to(send_key)),
    Entry::post("/hid/events/send_mouse_button", || web::to(send_mouse_button)),
    Entry::post("/hid/events/send_mouse_move", || web::to(send_mouse_move)),
    Entry::post("/hid/events/send_mouse_relative", || web::to(send_mouse_relative)),
    Entry::post("/hid/events/send_mouse_wheel", || web::to(send_mouse_wheel)),
];

/// The keymaps of this appliance.
#[derive(Clone, Debug)]
pub struct Keymaps(pub Arc<hid::Keymaps>);

impl Keymaps {
    /// Their names as clients see them.
    pub fn show(&self) -> wire::Keymaps {
        wire::Keymaps { default: self.0.default_name().to_owned(), available: self.0.available() }
    }

    fn load(&self, name: &str) -> Result<Arc<Keymap>, Failure> {
        self.0.load(name).map_err(|why| Failure::invalid(format!("keymap: {why}")))
    }
}

async fn state(hid: Data<Hid>) -> Answer {
    let mut shown = model::event::to_value(&show(&hid.subscribe().borrow()));
    // What aiopikvm reads.
    for part in ["keyboard", "mouse"] {
        shown[part]["connected"] = shown[part]["online"].clone();
    }
    Ok(answer::ok(&shown))
}

async fn set_params(hid: Data<Hid>, query: Query) -> Answer {
    let keyboard = query.optional("keyboard_output", check::keyboard_output)?;
    let mouse = query.optional("mouse_output", check::mouse_output)?;
    let jiggler = query.optional("jiggler", check::boolean)?;
    if let Some(output) = keyboard {
        hid.set_keyboard_output(output);
    }
    if let Some(output) = mouse {
        hid.set_mouse_output(output);
    }
    if let Some(active) = jiggler {
        hid.set_jiggler(active);
    }
    // Whoever asks next shall see it.
    hid.flush().await;
    Ok(answer::nothing())
}

async fn set_connected(hid: Data<Hid>, query: Query) -> Answer {
    hid.set_connected(query.required("connected", check::boolean)?);
    Ok(answer::nothing())
}

async fn reset(hid: Data<Hid>) -> Answer {
    hid.reset();
    Ok(answer::nothing())
}

async fn inactivity(hid: Data<Hid>) -> Answer {
    Ok(answer::ok(&json!({"inactivity": hid.inactivity().as_secs()})))
}

async fn keymaps(keymaps: Data<Keymaps>) -> Answer {
    Ok(answer::ok(&keymaps.show().wrapped()))
}

/// A text to type, not longer than asked for, and what it is typed with.
struct Paste {
    text: String,
    keymap: Arc<Keymap>,
    name: String,
}

impl Paste {
    async fn read(
        request: &HttpRequest,
        keymaps: &Keymaps,
        query: &Query,
        payload: web::Payload,
    ) -> Result<Self, body::Error> {
        let limit = query.optional("limit", |raw| check::int_at_least(raw, 0))?.unwrap_or(1024);
        let name = query.optional("keymap", check::keymap_name)?;
        let name = name.unwrap_or_else(|| keymaps.0.default_name().to_owned());
        let keymap = keymaps.load(&name)?;
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let text = body::text(&body::read(payload).await?, kind)?;
        // macOS writes é as e and a combining accent: layouts know whole letters.
        let mut text = ComposingNormalizer::new_nfc().normalize(&text).into_owned();
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
        if let Some((end, _)) = limit.and_then(|limit| text.char_indices().nth(limit)) {
            text.truncate(end);
        }
        Ok(Self { text, keymap, name })
    }

    /// Looked for beside the server's threads: a text may be a megabyte.
    async fn untypable(&self) -> Result<Vec<Untypable>, body::Error> {
        let (text, keymap) = (self.text.clone(), Arc::clone(&self.keymap));
        web::block(move || keymap.untypable(&text)).await.map_err(|_| body::Error::Broken)
    }

    /// Refuses a text of which something would be left out.
    async fn refuse_untypable(&self) -> Result<(), body::Error> {
        let untypable = self.untypable().await?;
        if untypable.is_empty() {
            return Ok(());
        }
        let shown = untypable.iter().take(TOLD).map(|found| found.character.escape_debug().to_string());
        let shown = shown.collect::<Vec<_>>().join(" ");
        let rest = if untypable.len() > TOLD { ", and more" } else { "" };
        Err(Failure::invalid(format!("the keymap {} cannot type {shown}{rest}", self.name)).into())
    }
}

/// Characters named to clients, at most: a text can have very many that cannot be typed.
const TOLD: usize = 100;

async fn print(
    request: HttpRequest,
    hid: Data<Hid>,
    holder: Data<Holder>,
    keymaps: Data<Keymaps>,
    query: Query,
    payload: web::Payload,
) -> Result<HttpResponse, body::Error> {
    let slow = query.flag("slow")?;
    let delay = query.optional("delay", check::print_delay)?.unwrap_or(if slow { 0.02 } else { 0.0 });
    let strict = query.flag("strict")?;
    let paste = Paste::read(&request, &keymaps, &query, payload).await?;
    if strict {
        paste.refuse_untypable().await?;
    }
    let access = request.extensions().get::<Access>().cloned();
    tokio::select! {
        // First: who takes over clears the keyboard, and after that not a stroke of this text may come.
        biased;
        // Keyboard and mouse are somebody else's now.
        why = holder.lost(access.as_ref()) => Err(why.into()),
        _ = hid.print(&paste.text, &paste.keymap, Duration::from_secs_f64(delay)) => Ok(answer::nothing()),
    }
}

async fn check_print(
    request: HttpRequest,
    keymaps: Data<Keymaps>,
    query: Query,
    payload: web::Payload,
) -> Result<HttpResponse, body::Error> {
    let paste = Paste::read(&request, &keymaps, &query, payload).await?;
    let untypable = paste.untypable().await?;
    let shown = untypable.iter().take(TOLD).map(|found| {
        let code = format!("U+{:04X}", u32::from(found.character));
        json!({"char": found.character, "code": code, "first": found.first, "count": found.count})
    });
    let shown: Vec<_> = shown.collect();
    let length = paste.text.chars().count();
    let result =
        json!({"keymap": paste.name, "length": length, "kinds": untypable.len(), "untypable": shown});
    Ok(answer::ok(&result))
}

async fn send_shortcut(hid: Data<Hid>, query: Query) -> Answer {
    let keys = query.required("keys", |raw| check::list(raw, key))?;
    hid.shortcut(&keys).await;
    Ok(answer::nothing())
}

async fn send_key(hid: Data<Hid>, query: Query) -> Answer {
    let key = query.required("key", key)?;
    match query.optional("state", check::boolean)? {
        Some(pressed) => hid.inject(Event::Key { key, pressed, finish: query.flag("finish")? }),
        None => hid.click_key(key).await,
    }
    Ok(answer::nothing())
}

async fn send_mouse_button(hid: Data<Hid>, query: Query) -> Answer {
    let button = query.required("button", button)?;
    match query.optional("state", check::boolean)? {
        Some(pressed) => hid.inject(Event::Button { button, pressed }),
        None => hid.click_button(button).await,
    }
    Ok(answer::nothing())
}

async fn send_mouse_move(hid: Data<Hid>, query: Query) -> Answer {
    let x = query.required("to_x", check::mouse_coordinate)?;
    let y = query.required("to_y", check::mouse_coordinate)?;
    hid.inject(Event::Move { x, y });
    Ok(answer::nothing())
}

async fn send_mouse_relative(hid: Data<Hid>, query: Query) -> Answer {
    let deltas = vec![delta(&query)?];
    hid.inject(Event::Relative { deltas, squash: false });
    Ok(answer::nothing())
}

async fn send_mouse_wheel(hid: Data<Hid>, query: Query) -> Answer {
    let deltas = vec![delta(&query)?];
    hid.inject(Event::Wheel { deltas, squash: false });
    Ok(answer::nothing())
}

fn delta(query: &Query) -> Result<(i8, i8), Failure> {
    Ok((query.required("delta_x", check::mouse_delta)?, query.required("delta_y", check::mouse_delta)?))
}

/// A key by its name on the web; case counts.
fn key(raw: &str) -> Checked<Key> {
    let text = raw.trim();
    Key::from_name(text).ok_or_else(|| Invalid::new("a key name", raw))
}

/// A mouse button by its name in any case.
fn button(raw: &str) -> Checked<Button> {
    Button::from_name(&raw.trim().to_ascii_lowercase()).ok_or_else(|| Invalid::new("a mouse button", raw))
}

/// The keyboard and mouse as clients see them.
pub fn show(state: &hid::State) -> wire::State {
    let outputs = |outputs: &hid::Outputs| wire::Outputs {
        available: outputs.available.iter().map(ToString::to_string).collect(),
        active: outputs.active.to_owned(),
    };
    let leds = state.keyboard.leds;
    wire::State {
        enabled: true,
        online: state.online,
        busy: state.busy,
        connected: state.connected,
        keyboard: wire::Keyboard {
            online: state.keyboard.online,
            leds: wire::Leds { caps: leds.caps, scroll: leds.scroll, num: leds.num },
            outputs: outputs(&state.keyboard.outputs),
        },
        mouse: wire::Mouse {
            online: state.mouse.online,
            absolute: state.mouse.absolute,
            outputs: outputs(&state.mouse.outputs),
        },
        jiggler: wire::Jiggler {
            enabled: state.jiggler.enabled,
            active: state.jiggler.active,
            interval: state.jiggler.interval.as_secs(),
        },
    }
}
