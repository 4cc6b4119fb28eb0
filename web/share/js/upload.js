// @ts-check
// Sending a file to the device, with what a person wants to know meanwhile.

import { leaveIfSignedOut, unwrap } from "./api.js";
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
  return `${Math.floor(whole / 60)}:${part(whole % 60)}`;
}

/** @typedef {{percent: number, speed: string, eta: string}} Progress */

/** Resolves when the device has the whole file.
 * @param {string} path of the API, with its parameters
 * @param {File} file @param {(progress: Progress) => void} progress @param {(request: XMLHttpRequest) => void} started */
export function upload(path, file, progress, started) {
  return new Promise((resolve, reject) => {
    const began = Date.now();
    const request = new XMLHttpRequest();
    request.open("POST", `api/${path}`);
    request.upload.onprogress = ({ loaded, total }) => {
      const speed = loaded / Math.max(0.001, (Date.now() - began) / 1000);
      progress({
        percent: Math.floor((100 * loaded) / Math.max(1, total)),
        speed: humanSize(speed),
        eta: humanTime((total - loaded) / Math.max(1, speed)),
      });
    };
    request.onerror = () => reject(new Error(t("status.lost")));
    request.onabort = () => reject(new Error(t("dialog.cancel")));
    request.onload = () => {
      leaveIfSignedOut(request.status);
      try {
        resolve(unwrap(request.status, request.responseText));
      } catch (error) {
        reject(error);
      }
    };
    started(request);
    request.send(file);
  });
}
