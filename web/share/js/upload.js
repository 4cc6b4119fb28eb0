// @ts-check
// Sending a file to the device, from any byte on, with what a person wants to know meanwhile.

import { address, leaveIfSignedOut, unwrap } from "./api.js";
import { t } from "./i18n.js";

/** @param {number} bytes */
export function humanSize(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  for (; bytes >= 1024 && power < units.length - 1; power += 1) bytes /= 1024;
  return `${bytes.toFixed(power && bytes < 100 ? 1 : 0)} ${units[power]}`;
}

/** @param {number} seconds */
export function humanTime(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const part = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes}:${part(whole % 60)}` : `${Math.floor(minutes / 60)}:${part(minutes % 60)}:${part(whole % 60)}`;
}

/** @typedef {{percent: number, speed: string, eta: string}} Progress */

/** How fast something goes of late, and when it is done. */
export class Pace {
  /** @param {number} total */
  constructor(total) {
    this.total = total;
    /** @type {{at: number, done: number}[]} */
    this.seen = [];
  }

  /** @param {number} done @param {number} [now] milliseconds @returns {Progress} */
  at(done, now = performance.now()) {
    const WINDOW_MS = 5000;
    this.seen.push({ at: now, done });
    while (this.seen.length > 2 && now - this.seen[0].at > WINDOW_MS) this.seen.shift();
    const { at, done: before } = this.seen[0];
    const speed = Math.max(0, done - before) / Math.max(0.001, (now - at) / 1000);
    return {
      percent: Math.floor((100 * done) / Math.max(1, this.total)),
      speed: this.seen.length < 2 ? "…" : humanSize(speed),
      eta: speed > 0 && this.seen.length > 1 ? humanTime((this.total - done) / speed) : "…",
    };
  }
}

/** The connection went away; the device may have what was sent before. */
export class Lost extends Error {}

/** Somebody wanted it to end. */
export class Cancelled extends Error {}

/** Resolves when the device has the whole file; rejects with {@link Lost}, {@link Cancelled} or what was refused.
 * @param {string} path of the API @param {Record<string, string>} params
 * @param {File} file @param {(progress: Progress) => void} progress @param {(request: XMLHttpRequest) => void} started
 * @param {number} [offset] bytes that are there already: only the rest is sent */
export function upload(path, params, file, progress, started, offset = 0) {
  return new Promise((resolve, reject) => {
    const pace = new Pace(file.size);
    const request = new XMLHttpRequest();
    request.open("POST", address(path, params));
    if (offset > 0) request.setRequestHeader("Content-Range", `bytes ${offset}-${file.size - 1}/${file.size}`);
    progress(pace.at(offset));
    request.upload.onprogress = ({ loaded }) => progress(pace.at(offset + loaded));
    request.onerror = () => reject(new Lost(t("status.lost")));
    request.onabort = () => reject(new Cancelled(t("dialog.cancelled")));
    request.onload = () => {
      leaveIfSignedOut(request.status);
      try {
        resolve(unwrap(request.status, request.responseText));
      } catch (error) {
        reject(error);
      }
    };
    started(request);
    request.send(offset > 0 ? file.slice(offset) : file);
  });
}
