// @ts-check
// Uploads of images that go on where they broke off: after a lost connection by themselves, after the page was loaded again
// when the same file is chosen. How far it came is known to the device alone; here it is only remembered which file it was.
//
//   look ──▶ send from there ──▶ done
//    ▲           │ connection lost, or the device still waits for the one that was lost
//    └── pause ◀─┘

import { call } from "./api.js";
import { Cancelled, Lost, upload } from "./upload.js";

const STORED = "kvm.upload.";
/** Longer than the device waits for a client that vanished. */
const PATIENCE_MS = 10 * 60 * 1000;
const PAUSES_MS = [500, 1000, 2000, 5000];
/** What the device says while it has not noticed yet that the connection before is gone. */
const PASSES = ["MsdIsBusyError", "MsdOffsetError"];

/** The connection, or a proxy on the way. @param {any} error */
const isLost = (error) => error instanceof Lost || (error.status >= 502 && error.status <= 504);

/** What of this file is on the device: its first bytes, if it has a part of an image of this name and size.
 * @param {import("./store.js").State} msd @param {File} file */
export function there(msd, file) {
  const image = msd.storage?.images?.[file.name];
  return image && !image.complete && image.size === file.size && image.written < file.size ? image.written ?? 0 : 0;
}

/** Whether this browser has sent a part of this very file. @param {File} file */
export function begunHere(file) {
  try {
    return localStorage.getItem(STORED + file.name) === mark(file);
  } catch {
    return false; // nothing can be remembered: people are asked
  }
}

/** @param {File} file */
const mark = (file) => `${file.size} ${file.lastModified}`;

/** @param {File} file @param {boolean} begun */
function remember(file, begun) {
  try {
    if (begun) localStorage.setItem(STORED + file.name, mark(file));
    else localStorage.removeItem(STORED + file.name);
  } catch {
    // Then people are asked.
  }
}

/** One image on its way. */
export class Sending {
  /** @param {File} file @param {{progress: (progress: import("./upload.js").Progress) => void, waits: () => void}} show
   * @param {string} [sha256] what it should be, if that is known */
  constructor(file, show, sha256 = "") {
    this.file = file;
    this.show = show;
    this.sha256 = sha256;
    /** @type {XMLHttpRequest | null} */
    this.request = null;
    this.cancelled = new AbortController();
  }

  cancel() {
    this.cancelled.abort();
    this.request?.abort();
  }

  /** Send it, and what is there already not again unless that is wanted. @param {boolean} anew @returns {Promise<any>} */
  async run(anew) {
    const left = there(await call("GET", "msd"), this.file);
    // What lies there of another try, when this one is to begin anew: until something else was seen, nothing of ours has arrived.
    let stale = anew ? left : 0;
    let offset = anew ? 0 : left;
    let [reached, since, lost] = [offset, performance.now(), 0];
    remember(this.file, true);
    for (;;) {
      try {
        return await this.send(offset);
      } catch (/** @type {any} */ error) {
        if (!isLost(error) && !(lost && PASSES.includes(error.name))) throw error;
        if (performance.now() - since > PATIENCE_MS) throw error;
      }
      this.show.waits();
      await this.pause(PAUSES_MS[Math.min(lost, PAUSES_MS.length - 1)]);
      lost += 1;
      const msd = await call("GET", "msd", {}, undefined, this.cancelled.signal).catch(() => null);
      if (!msd) continue;
      const image = msd.storage?.images?.[this.file.name];
      // The last word alone was lost.
      if (image?.complete && image.size === this.file.size && !msd.busy) return { name: this.file.name, size: image.size };
      offset = there(msd, this.file);
      if (offset === stale) offset = 0;
      else stale = 0;
      if (offset > reached) [reached, since, lost] = [offset, performance.now(), 1];
    }
  }

  /** @param {number} offset */
  async send(offset) {
    if (this.cancelled.signal.aborted) throw new Cancelled();
    /** @type {Record<string, string>} */
    const params = { prefix: "", image: this.file.name };
    if (this.sha256) params.sha256 = this.sha256;
    const sent = await upload("msd/write", params, this.file, this.show.progress, (request) => (this.request = request), offset);
    remember(this.file, false);
    return sent.image;
  }

  /** @param {number} milliseconds */
  async pause(milliseconds) {
    const { signal } = this.cancelled;
    await new Promise((resolve) => {
      const timer = window.setTimeout(resolve, milliseconds);
      signal.addEventListener("abort", () => (window.clearTimeout(timer), resolve(null)), { once: true });
    });
    if (signal.aborted) throw new Cancelled();
  }
}
