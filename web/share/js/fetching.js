// @ts-check
// An image that the device fetches from an address: first a look at what is there, then the transfer, line by line.

import { ask, call, lines, Refused, unwrap } from "./api.js";
import { t } from "./i18n.js";
import { Lost, Pace } from "./upload.js";

/** @typedef {{url: string, status: number, size: number | null, ranges: boolean, name: string | null}} Remote */

/** @param {string} url @param {boolean} insecure @returns {Promise<Remote>} */
export async function probe(url, insecure) {
  return (await call("POST", "msd/probe_remote", { url, insecure })).remote;
}

/** Resolves with the image when the device has all of it; hanging up ends the transfer.
 * @param {{url: string, insecure: boolean, name?: string, sha256?: string | null}} wanted what it should be: another image is refused
 * @param {(name: string, progress: import("./upload.js").Progress) => void} progress @param {AbortSignal} signal @returns {Promise<any>} */
export async function fetchImage({ url, insecure, name, sha256 }, progress, signal) {
  const params = { url, insecure, prefix: "", remove_incomplete: 1, ...(name ? { image: name } : {}), ...(sha256 ? { sha256 } : {}) };
  const answer = await ask("POST", "msd/write_remote", params, { signal });
  /** @type {Pace | null} */
  let pace = null;
  let image = null;
  try {
    for await (const line of lines(answer)) {
      // What fails on the way is said by a line; the status was good before.
      image = unwrap(answer.status, line).image;
      pace ??= new Pace(image.size);
      progress(image.name, pace.at(image.written));
    }
  } catch (error) {
    if (signal.aborted || error instanceof Refused) throw error;
    throw new Lost(t("status.lost"));
  }
  if (!image || image.written < image.size) throw new Lost(t("status.lost"));
  return image;
}
