// @ts-check
// The target's screen: an MJPEG stream in an `<img>`. The device tells in `streamer` events whether it still sends to us;
// a stream that is gone is asked for again.

import { t } from "./i18n.js";

const WAIT_MS = 5000;
const STALE_MS = 1000;
const BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=";

/** @returns {string} 16 random alphanumerics by which the device calls this viewer */
function newKey() {
  const letters = "abcdefghijklmnopqrstuvwxyz0123456789";
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => letters[byte % letters.length]).join("");
}

export class Screen {
  /** @param {HTMLImageElement} picture @param {HTMLElement} notice @param {import("./store.js").Store} store */
  constructor(picture, notice, store) {
    this.picture = picture;
    this.notice = notice;
    this.store = store;
    this.key = "";
    this.asked = 0;
    this.seen = 0;
    picture.addEventListener("error", () => this.stop());
    picture.addEventListener("load", () => this.showNotice());
    store.watch("streamer", () => this.update());
    store.watch("link", ({ state }) => state !== "connected" && this.stop());
    window.setInterval(() => this.update(), STALE_MS);
  }

  start() {
    this.key = newKey();
    this.asked = Date.now();
    this.seen = 0;
    this.picture.src = `streamer/stream?key=${this.key}`;
  }

  stop() {
    if (this.key) this.picture.src = BLANK;
    this.key = "";
    this.showNotice();
  }

  /** Are we among the viewers the device knows? @param {any} streamer */
  listed(streamer) {
    const clients = Object.values(streamer.stream?.clients_stat ?? {});
    return clients.some((/** @type {any} */ client) => client.key === this.key);
  }

  update() {
    const linked = this.store.get("link").state === "connected";
    const { streamer } = this.store.get("streamer");
    if (!linked || !streamer) return this.stop();
    if (!this.key) this.start();
    if (this.listed(streamer)) this.seen = Date.now();
    const waited = Date.now() - Math.max(this.asked, this.seen);
    if (waited > WAIT_MS) this.start();
    this.showNotice();
  }

  showNotice() {
    const { streamer } = this.store.get("streamer");
    const source = streamer?.source;
    const shown = this.picture.naturalWidth > 1;
    let text = "";
    if (!streamer || !shown) text = t("video.starting");
    else if (!source?.online) text = source?.state ? t(`video.state.${source.state}`) : t("video.no_signal");
    this.notice.textContent = text;
    this.notice.hidden = text === "";
    this.picture.classList.toggle("offline", shown && !source?.online);
  }
}
