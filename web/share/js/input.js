// @ts-check
// Keys and pointer of the browser as the binary messages of `/api/ws` (opcodes 1, 2, 3 and 5; integers are big-endian).

/** @param {number} value @param {number} low @param {number} high */
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** @param {string} key name of the key: `KeyboardEvent.code` @param {boolean} pressed */
export function keyMessage(key, pressed) {
  return new Uint8Array([1, Number(pressed), ...new TextEncoder().encode(key)]);
}

/** @param {string} button @param {boolean} pressed */
export function buttonMessage(button, pressed) {
  return new Uint8Array([2, Number(pressed), ...new TextEncoder().encode(button)]);
}

/** @param {number} x 0 (left) to 1 (right) @param {number} y 0 (top) to 1 (bottom) */
export function moveMessage(x, y) {
  const bytes = new Uint8Array(5);
  const view = new DataView(bytes.buffer);
  bytes[0] = 3;
  view.setInt16(1, clamp(Math.round(x * 65535) - 32768, -32768, 32767));
  view.setInt16(3, clamp(Math.round(y * 65535) - 32768, -32768, 32767));
  return bytes;
}

/** @param {number} dx @param {number} dy steps, positive is up */
export function wheelMessage(dx, dy) {
  return new Uint8Array([5, 0, clamp(dx, -127, 127) & 255, clamp(dy, -127, 127) & 255]);
}

const BUTTONS = ["left", "middle", "right", "up", "down"];
const WHEEL_STEP = 5;
const WHEEL_PIXELS = 40;

/** The keys that lead out of the picture for whoever has no pointer: pressed together and let go. */
const WAY_OUT = ["ControlLeft", "AltLeft", "ShiftLeft"];

/** Send the keys pressed while `element` has the focus. Everything held is released when it loses it.
 * @param {HTMLElement} element @param {(bytes: Uint8Array<ArrayBuffer>) => void} send
 * @param {{may: () => boolean, leave: () => void}} page whether keys are the target's at all, and where the focus goes */
export function bindKeyboard(element, send, page) {
  /** @type {Set<string>} */
  const held = new Set();
  let leaves = false;
  const release = () => {
    for (const key of held) send(keyMessage(key, false));
    held.clear();
  };
  element.addEventListener("keydown", (event) => {
    if (!event.code || !page.may()) return; // a soft keyboard without key codes: the "type text" dialog is for it
    event.preventDefault();
    if (event.repeat) return; // the target repeats by itself
    held.add(event.code);
    leaves = held.size === WAY_OUT.length && WAY_OUT.every((key) => held.has(key));
    send(keyMessage(event.code, true));
    // macOS reports no release of a key that is let go while the command key is down.
    if (event.metaKey && !event.code.startsWith("Meta")) {
      held.delete(event.code);
      send(keyMessage(event.code, false));
    }
  });
  element.addEventListener("keyup", (event) => {
    if (!event.code || !page.may()) return;
    event.preventDefault();
    held.delete(event.code);
    send(keyMessage(event.code, false));
    if (leaves) page.leave();
    leaves = false;
  });
  element.addEventListener("blur", release);
  document.addEventListener("visibilitychange", () => document.hidden && release());
}

/** Send the pointer over the picture as absolute positions, one message a frame at most.
 * @param {HTMLElement} element takes the events @param {HTMLImageElement} picture gives the coordinates
 * @param {(bytes: Uint8Array<ArrayBuffer>) => void} send */
export function bindPointer(element, picture, send) {
  /** @type {{x: number, y: number} | null} */
  let pending = null;
  let scheduled = false;
  let sent = "";
  const flush = () => {
    scheduled = false;
    if (!pending) return;
    const bytes = moveMessage(pending.x, pending.y);
    pending = null;
    if (bytes.join() !== sent) send(bytes);
    sent = bytes.join();
  };
  const locate = (/** @type {MouseEvent} */ event) => {
    const box = picture.getBoundingClientRect();
    if (!box.width || !box.height) return;
    pending = { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  };
  const button = (/** @type {PointerEvent} */ event, /** @type {boolean} */ pressed) => {
    const name = BUTTONS[event.button];
    if (!name) return;
    event.preventDefault();
    element.focus({ preventScroll: true });
    locate(event);
    flush(); // the button acts where the pointer is now
    send(buttonMessage(name, pressed));
  };
  element.addEventListener("pointermove", (event) => {
    locate(event);
    if (!scheduled) requestAnimationFrame(flush);
    scheduled = true;
  });
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    button(event, true);
  });
  element.addEventListener("pointerup", (event) => button(event, false));
  element.addEventListener("pointercancel", (event) => button(event, false));
  element.addEventListener("contextmenu", (event) => event.preventDefault());

  let rest = { x: 0, y: 0 };
  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    const scale = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 / WHEEL_PIXELS : 1;
    rest = { x: rest.x + event.deltaX * scale, y: rest.y + event.deltaY * scale };
    const steps = { x: Math.trunc(rest.x), y: Math.trunc(rest.y) };
    if (!steps.x && !steps.y) return;
    rest = { x: rest.x - steps.x, y: rest.y - steps.y };
    send(wheelMessage(-steps.x * WHEEL_STEP, -steps.y * WHEEL_STEP));
  }, { passive: false });
}
