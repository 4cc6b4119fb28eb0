// @ts-check
// Text on the target's screen: of the whole picture or of an area, which is drawn with the pointer or moved with the arrow keys.

import { ask } from "./api.js";
import { copy } from "./copy.js";
import { act, toast } from "./dialog.js";
import { language, t } from "./i18n.js";

const STORED = "kvm.ocr";
/** The smallest area that is read, and a step of the arrow keys, in parts of the picture. */
const LEAST = 0.01;
const STEP = 0.02;

/** Edges as parts of the picture. @typedef {{left: number, top: number, right: number, bottom: number}} Area */

/** An area between two corners, within the picture. @param {{x: number, y: number}} one @param {{x: number, y: number}} two @returns {Area} */
export function between(one, two) {
  const [left, right] = [one.x, two.x].map((value) => Math.min(1, Math.max(0, value))).sort((a, b) => a - b);
  const [top, bottom] = [one.y, two.y].map((value) => Math.min(1, Math.max(0, value))).sort((a, b) => a - b);
  return { left, top, right, bottom };
}

/** The area after an arrow key: moved, or with Shift its lower right corner. @param {Area} area @param {string} key @param {boolean} resize @returns {Area} */
export function moved(area, key, resize) {
  const dx = key === "ArrowLeft" ? -STEP : key === "ArrowRight" ? STEP : 0;
  const dy = key === "ArrowUp" ? -STEP : key === "ArrowDown" ? STEP : 0;
  const { left, top, right, bottom } = area;
  if (resize) {
    return { left, top, right: Math.min(1, Math.max(left + STEP, right + dx)), bottom: Math.min(1, Math.max(top + STEP, bottom + dy)) };
  }
  const x = Math.min(1 - right, Math.max(-left, dx));
  const y = Math.min(1 - bottom, Math.max(-top, dy));
  return { left: left + x, top: top + y, right: right + x, bottom: bottom + y };
}

/** What people call a language. @param {string} code `eng`, `chi_sim` */
function languageName(code) {
  const [base, ...rest] = code.split("_");
  try {
    const name = new Intl.DisplayNames([language()], { type: "language" }).of(base);
    return name && name !== base ? `${[name, ...rest].join(" ")} (${code})` : code;
  } catch {
    return code;
  }
}

export class Reader {
  /** @param {HTMLDialogElement} dialog @param {HTMLElement} layer over the picture @param {HTMLImageElement} picture
   * @param {HTMLElement} opener is there only where text can be read @param {import("./store.js").Store} store */
  constructor(dialog, layer, picture, opener, store) {
    const one = (/** @type {string} */ role) => /** @type {any} */ (dialog.querySelector(`[data-role=${role}]`));
    this.dialog = dialog;
    this.layer = layer;
    this.picture = picture;
    this.menu = /** @type {HTMLDetailsElement} */ (opener.closest("details"));
    /** @type {HTMLElement} */ this.langs = one("langs");
    /** @type {HTMLElement} */ this.result = one("result");
    /** @type {HTMLTextAreaElement} */ this.text = one("text");
    /** @type {HTMLButtonElement} */ this.all = one("all");
    /** @type {HTMLButtonElement} */ this.choose = one("area");
    /** @type {HTMLButtonElement} */ this.copier = one("copy");
    this.box = /** @type {HTMLElement} */ (layer.querySelector("[data-role=box]"));
    /** @type {Area} */ this.area = { left: 0.25, top: 0.25, right: 0.75, bottom: 0.75 };
    /** @type {{x: number, y: number} | null} */ this.corner = null;
    store.watch("ocr", (ocr) => {
      opener.hidden = !ocr.enabled;
      this.offer(ocr.langs ?? { default: [], available: [] });
    });
    opener.addEventListener("click", () => this.open());
    this.all.addEventListener("click", () => this.read(null));
    this.choose.addEventListener("click", () => this.select());
    this.copier.addEventListener("click", () => copy(this.text));
    this.bindLayer();
  }

  open() {
    this.result.hidden = this.copier.hidden = true;
    this.menu.open = false;
    this.dialog.showModal();
  }

  /** @param {{default: string[], available: string[]}} langs */
  offer(langs) {
    let chosen = langs.default;
    try {
      chosen = JSON.parse(localStorage.getItem(STORED) ?? "null") ?? chosen;
    } catch {
      // The device's own are good.
    }
    // That one finds how a page lies, and reads nothing.
    const languages = langs.available.filter((code) => code !== "osd");
    this.langs.replaceChildren(...languages.map((code) => {
      const label = document.createElement("label");
      label.className = "check";
      const box = Object.assign(document.createElement("input"), { type: "checkbox", value: code, checked: chosen.includes(code) });
      const name = Object.assign(document.createElement("span"), { textContent: languageName(code) });
      label.append(box, name);
      return label;
    }));
  }

  /** The languages that are ticked. */
  get chosen() {
    const boxes = /** @type {NodeListOf<HTMLInputElement>} */ (this.langs.querySelectorAll("input:checked"));
    return [...boxes].map((box) => box.value);
  }

  select() {
    this.dialog.close();
    this.layer.hidden = false;
    this.draw();
    this.layer.focus();
  }

  leave() {
    this.layer.hidden = true;
    this.corner = null;
    this.menu.querySelector("summary")?.focus();
  }

  bindLayer() {
    const { layer } = this;
    layer.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      layer.setPointerCapture(event.pointerId);
      layer.focus();
      this.corner = this.locate(event);
    });
    layer.addEventListener("pointermove", (event) => {
      if (!this.corner) return;
      this.area = between(this.corner, this.locate(event));
      this.draw();
    });
    layer.addEventListener("pointerup", () => {
      const drawn = this.corner !== null && this.area.right - this.area.left > LEAST && this.area.bottom - this.area.top > LEAST;
      this.corner = null;
      if (drawn) this.finish();
    });
    layer.addEventListener("pointercancel", () => (this.corner = null));
    layer.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") this.leave();
      else if (event.key === "Enter") this.finish();
      else if (event.key.startsWith("Arrow")) {
        this.area = moved(this.area, event.key, event.shiftKey);
        this.draw();
      } else return;
      event.preventDefault();
    });
    window.addEventListener("resize", () => layer.hidden || this.draw());
  }

  /** @param {PointerEvent} event */
  locate(event) {
    const box = this.picture.getBoundingClientRect();
    return { x: (event.clientX - box.left) / Math.max(1, box.width), y: (event.clientY - box.top) / Math.max(1, box.height) };
  }

  draw() {
    const picture = this.picture.getBoundingClientRect();
    const layer = this.layer.getBoundingClientRect();
    const { left, top, right, bottom } = this.area;
    const style = this.box.style;
    style.left = `${picture.left - layer.left + left * picture.width}px`;
    style.top = `${picture.top - layer.top + top * picture.height}px`;
    style.width = `${(right - left) * picture.width}px`;
    style.height = `${(bottom - top) * picture.height}px`;
  }

  finish() {
    this.leave();
    this.dialog.showModal();
    this.read(this.area);
  }

  /** @param {Area | null} area nothing: all of it */
  async read(area) {
    const { naturalWidth: width, naturalHeight: height } = this.picture;
    const langs = this.chosen;
    /** @type {Record<string, string | number>} */
    const params = { ocr: 1 };
    if (langs.length) params.ocr_langs = langs.join(",");
    if (area) {
      params.ocr_left = Math.floor(area.left * width);
      params.ocr_top = Math.floor(area.top * height);
      params.ocr_right = Math.ceil(area.right * width);
      params.ocr_bottom = Math.ceil(area.bottom * height);
    }
    try {
      localStorage.setItem(STORED, JSON.stringify(langs));
    } catch {
      // Then it is the device's own next time.
    }
    this.choose.disabled = true;
    await act(this.all, async () => {
      const text = (await (await ask("GET", "streamer/snapshot", params)).text()).trim();
      if (!text) return toast(t("ocr.nothing"));
      this.text.value = text;
      this.result.hidden = this.copier.hidden = false;
      await copy(this.text);
    }, { 503: "video.no_signal" });
    this.choose.disabled = false;
  }
}
