// @ts-check
// The dialog that types a text: in which layout, and what of it that layout cannot type, before anything is typed.

import { call } from "./api.js";
import { act, toast } from "./dialog.js";
import { t } from "./i18n.js";
import { Cancelled } from "./upload.js";

const PAUSE_MS = 500;
/** Characters that are shown with their marks, at most; and of each that is named. */
const SHOWN = 4000;
const NAMED = 12;

/** @typedef {{char: string, code: string, first: number, count: number}} Untypable */

/** What can be seen of a character. @param {Untypable} found */
const named = ({ char, code }) => (/[\p{L}\p{N}\p{P}\p{S}]/u.test(char) ? `${char} (${code})` : code);

/** The text with what cannot be typed in marks; a line break that cannot be seen is not made one.
 * @param {string} text @param {Untypable[]} untypable @returns {Node[]} */
export function marked(text, untypable) {
  const bad = new Set(untypable.map(({ char }) => char));
  /** @type {Node[]} */
  const nodes = [];
  let plain = "";
  for (const character of [...text].slice(0, SHOWN)) {
    if (!bad.has(character)) {
      plain += character;
      continue;
    }
    const mark = document.createElement("mark");
    mark.textContent = /\s|\p{C}/u.test(character) ? "␣" : character;
    nodes.push(document.createTextNode(plain), mark);
    plain = "";
  }
  nodes.push(document.createTextNode(plain));
  return nodes;
}

export class TypingDialog {
  /** @param {HTMLDialogElement} dialog @param {HTMLElement} opener @param {import("./store.js").Store} store */
  constructor(dialog, opener, store) {
    const one = (/** @type {string} */ role) => /** @type {any} */ (dialog.querySelector(`[data-role=${role}]`));
    this.dialog = dialog;
    this.menu = /** @type {HTMLDetailsElement} */ (opener.closest("details"));
    /** @type {HTMLTextAreaElement} */ this.text = one("text");
    /** @type {HTMLSelectElement} */ this.keymap = one("keymap");
    /** @type {HTMLInputElement} */ this.strict = one("strict");
    /** @type {HTMLInputElement} */ this.slow = one("slow");
    /** @type {HTMLElement} */ this.verdict = one("verdict");
    /** @type {HTMLElement} */ this.marks = one("marks");
    /** @type {HTMLButtonElement} */ this.type = one("type");
    /** @type {HTMLButtonElement} */ this.stop = one("stop");
    /** What was found for the text as it is; null: not looked yet. @type {{kinds: number, untypable: Untypable[]} | null} */
    this.found = null;
    this.asked = 0;
    this.timer = 0;
    /** @type {AbortController | null} */ this.typing = null;
    store.watch("hid_keymaps", ({ keymaps }) => this.offer(keymaps));
    for (const control of [this.text, this.keymap]) control.addEventListener("input", () => this.later());
    this.strict.addEventListener("change", () => this.show());
    this.type.addEventListener("click", () => this.send());
    this.stop.addEventListener("click", () => this.typing?.abort(new Cancelled(t("keyboard.stopped"))));
    opener.addEventListener("click", () => this.open());
    dialog.addEventListener("close", () => {
      this.typing?.abort(new Cancelled(t("keyboard.stopped")));
      this.menu.querySelector("summary")?.focus();
    });
  }

  open() {
    this.show();
    this.menu.open = false;
    this.dialog.showModal();
    this.text.focus();
  }

  /** @param {{default: string, available: string[]}} keymaps */
  offer(keymaps) {
    const chosen = this.keymap.value || keymaps.default;
    this.keymap.replaceChildren(...keymaps.available.map((name) => new Option(name, name, false, name === chosen)));
  }

  /** The text as the device reads it: letters with their accents. */
  get wanted() {
    return this.text.value.normalize("NFC");
  }

  later() {
    window.clearTimeout(this.timer);
    this.found = null;
    this.asked += 1;
    this.show();
    if (this.text.value) this.timer = window.setTimeout(() => this.check(), PAUSE_MS);
  }

  async check() {
    const asked = this.asked;
    try {
      const found = await call("POST", "hid/print/check", { limit: 0, keymap: this.keymap.value }, this.wanted);
      if (asked !== this.asked) return;
      this.found = found;
      this.show();
    } catch (/** @type {any} */ error) {
      if (asked !== this.asked) return;
      this.verdict.textContent = error.status === 413 ? t("keyboard.too_long") : t("error.refused", { detail: error.message });
      this.verdict.className = "bad";
    }
  }

  show() {
    const { found } = this;
    const bad = found !== null && found.kinds > 0;
    this.marks.hidden = !bad;
    this.marks.replaceChildren(...(bad ? marked(this.wanted, found.untypable) : []));
    this.verdict.className = bad ? "bad" : "hint";
    this.verdict.textContent = "";
    if (bad) {
      const names = found.untypable.slice(0, NAMED).map(named).join("  ");
      const more = found.kinds > NAMED ? " …" : "";
      this.verdict.textContent = t(this.strict.checked ? "keyboard.untypable" : "keyboard.left_out", { keymap: this.keymap.value, names: names + more });
    } else if (this.text.value) {
      this.verdict.textContent = found ? t("keyboard.typable") : t("keyboard.checking");
    }
    this.type.disabled = this.typing !== null || !this.text.value || (bad && this.strict.checked);
    this.stop.hidden = this.typing === null;
  }

  async send() {
    this.typing = new AbortController();
    const { signal } = this.typing;
    const params = { limit: 0, keymap: this.keymap.value, strict: this.strict.checked, slow: this.slow.checked };
    this.show();
    await act(this.text, async () => {
      try {
        await call("POST", "hid/print", params, this.wanted, signal);
        toast(t("keyboard.typed"));
        this.text.value = "";
        this.found = null;
      } catch (error) {
        if (!signal.aborted) throw error;
        toast(t("keyboard.stopped"));
      }
    }, { 413: "keyboard.too_long" });
    this.typing = null;
    this.show();
  }
}
