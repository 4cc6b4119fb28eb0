// @ts-check
// The page's copy of the device's state, fed by the events of `/api/ws`. An event may be partial; a full one carries its
// marker (API: `enabled`, `model` or `features`) and replaces what was known. Views subscribe by subsystem name.

/** @typedef {Record<string, any>} State */

/** The key whose presence says that an event is complete. @type {Record<string, string>} */
const FULL_MARKER = { gpio: "model", hid: "enabled", atx: "enabled", msd: "enabled", streamer: "features", ocr: "enabled", update: "release" };

/** Subsystems whose event is one level deeper than the others: merged by path. */
const DEEP = new Set(["msd", "gpio", "hid"]);

/** Values that are replaced whole, never merged (an image list shrinks, too). */
const WHOLE = new Set(["drive", "images", "parts", "downloading", "uploading", "leds", "outputs"]);

/** @param {any} value */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** What is known after a partial event.
 * @param {State} known @param {State} event @param {boolean} deep @returns {State} */
export function merge(known, event, deep) {
  const merged = { ...known };
  for (const [key, value] of Object.entries(event)) {
    const both = isObject(value) && isObject(merged[key]);
    merged[key] = deep && both && !WHOLE.has(key) ? merge(merged[key], value, true) : value;
  }
  return merged;
}

export class Store {
  constructor() {
    /** @type {Record<string, State>} */
    this.states = {};
    /** @type {Map<string, Set<(state: State) => void>>} */
    this.views = new Map();
  }

  /** Take in one event of the WebSocket. @param {string} name @param {State | null} event */
  apply(name, event) {
    const marker = FULL_MARKER[name];
    const known = this.states[name];
    if (marker && event && marker in event) {
      this.states[name] = event;
    } else if (marker && !known) {
      return; // a part of something not seen yet: the full event follows
    } else {
      this.states[name] = merge(known ?? {}, event ?? {}, DEEP.has(name));
    }
    this.notify(name);
  }

  /** Set a state that the page itself knows. @param {string} name @param {State} state */
  set(name, state) {
    this.states[name] = merge(this.states[name] ?? {}, state, false);
    this.notify(name);
  }

  /** @param {string} name @returns {State} */
  get(name) {
    return this.states[name] ?? {};
  }

  /** Call `view` now, if there is a state, and at every change.
   * @param {string} name @param {(state: State) => void} view */
  watch(name, view) {
    const views = this.views.get(name) ?? new Set();
    this.views.set(name, views.add(view));
    if (this.states[name]) view(this.states[name]);
  }

  /** @param {string} name */
  notify(name) {
    for (const view of this.views.get(name) ?? []) view(this.states[name]);
  }
}
