// @ts-check
// The picture of now as a file, named after the device and the time.

import { ask } from "./api.js";

/** @param {string} host @param {Date} now */
export function fileName(host, now) {
  const time = new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replaceAll(":", "-");
  return `${host.replace(/[^\w.-]+/g, "-") || "kvm"}-${time}.jpg`;
}

/** @param {string} host */
export async function savePicture(host) {
  const picture = await (await ask("GET", "streamer/snapshot", {})).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(picture);
  link.download = fileName(host, new Date());
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
