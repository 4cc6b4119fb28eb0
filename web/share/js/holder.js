// @ts-check
// Who has keyboard and mouse, where one at a time has them: who it is, asking for them, handing them over. Elsewhere the device
// tells nothing of it, and there is no menu.

import { call } from "./api.js";
import { act, toast } from "./dialog.js";
import { t } from "./i18n.js";
import { may, me } from "./right.js";

/** @typedef {{client: number, user: string | null, token: string | null}} Seat */

const HINT_MS = 4000;
const [KEY, BUTTON] = [1, 2];

export class HolderMenu {
  /** @param {HTMLElement} menu @param {import("./store.js").Store} store */
  constructor(menu, store) {
    const one = (/** @type {string} */ role) => /** @type {any} */ (menu.querySelector(`[data-role=${role}]`));
    this.menu = menu;
    this.store = store;
    /** @type {HTMLElement} */ this.title = one("title");
    /** @type {HTMLElement} */ this.badge = one("badge");
    /** @type {HTMLElement} */ this.state = one("state");
    /** @type {HTMLElement} */ this.waiting = one("waiting");
    /** @type {HTMLButtonElement} */ this.request = one("request");
    /** @type {HTMLButtonElement} */ this.take = one("take");
    /** @type {HTMLButtonElement} */ this.release = one("release");
    this.hinted = -HINT_MS;
    /** Whether we had it before the last word. @type {boolean | null} */ this.had = null;
    const on = (/** @type {HTMLButtonElement} */ button, /** @type {string} */ path, /** @type {() => any} */ params) =>
      button.addEventListener("click", () => act(button, () => call("POST", `hid/holder/${path}`, params())));
    on(this.request, "request", () => ({ client: this.own }));
    on(this.take, "take", () => ({ client: this.own }));
    on(this.release, "release", () => ({}));
    store.watch("hid_holder", () => this.show());
    store.watch("hid_client", () => this.show());
    store.watch("input_refused", ({ why }) => this.hint(t("holder.refused", { why })));
  }

  /** Our number among the clients. */
  get own() {
    return this.store.get("hid_client").client;
  }

  /** @returns {Seat | null} who has them, if that is somebody else */
  get other() {
    const { enabled, holder } = this.store.get("hid_holder");
    return enabled && holder && holder.client !== this.own ? holder : null;
  }

  /** Whether what is typed here reaches the target; says why not. @param {Uint8Array} bytes a message */
  admits(bytes) {
    if (bytes[0] === 0) return true;
    if (!may("operator")) return false;
    const other = this.other;
    if (other && (bytes[0] === KEY || bytes[0] === BUTTON) && bytes[1]) this.hint(t("holder.hint", { name: this.name(other) }));
    return !other;
  }

  /** @param {string} text */
  hint(text) {
    if (performance.now() - this.hinted < HINT_MS) return;
    this.hinted = performance.now();
    toast(text);
  }

  /** @param {Seat} seat */
  name(seat) {
    if (seat.client === this.own) return t("holder.you");
    const name = seat.user ?? seat.token ?? t("holder.somebody");
    return this.isMine(seat) ? t("holder.elsewhere", { name }) : name;
  }

  /** @param {Seat} seat */
  isMine(seat) {
    return seat.user === me().user && seat.token === me().token;
  }

  show() {
    const { enabled, holder, requests = [] } = this.store.get("hid_holder");
    this.menu.hidden = !enabled;
    if (!enabled) return;
    const mine = holder?.client === this.own;
    this.title.textContent = t("menu.holder", { name: holder ? this.name(holder) : t("holder.nobody") });
    this.state.textContent = mine ? t("holder.state_you") : holder ? t("holder.state_other", { name: this.name(holder) }) : t("holder.state_nobody");
    const place = requests.findIndex((/** @type {Seat} */ seat) => seat.client === this.own);
    if (place >= 0) this.state.textContent += ` ${t("holder.state_waiting", { place: place + 1 })}`;
    this.badge.textContent = String(requests.length);
    this.badge.hidden = !mine || requests.length === 0;
    this.request.hidden = mine || place >= 0;
    this.take.hidden = mine || !(may("admin") || (holder && this.isMine(holder)));
    this.release.hidden = !mine;
    this.list(requests, mine || may("admin"));
    if (this.had === false && mine) toast(t("holder.now_you"));
    if (this.had && holder && !mine) toast(t("holder.now_other", { name: this.name(holder) }));
    this.had = mine;
  }

  /** @param {Seat[]} requests @param {boolean} mayGive */
  list(requests, mayGive) {
    this.waiting.hidden = requests.length === 0;
    this.waiting.replaceChildren(...requests.map((seat) => {
      const line = document.createElement("li");
      const name = this.name(seat);
      line.append(t("holder.waits", { name }));
      if (mayGive && seat.client !== this.own) {
        const button = document.createElement("button");
        button.textContent = t("holder.give");
        button.ariaLabel = t("holder.give_to", { name });
        button.addEventListener("click", () => act(button, () => call("POST", "hid/holder/give", { to: seat.client })));
        line.append(button);
      }
      return line;
    }));
  }
}
