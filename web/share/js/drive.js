// @ts-check
// The drive menu: choose an image, show it to the target as a CD or a flash drive, upload and delete images.

import { call, leaveIfSignedOut, unwrap } from "./api.js";
import { act, confirm, toast } from "./dialog.js";
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

/** Upload with progress; resolves when the device has the whole file.
 * @param {File} file @param {(sent: number, total: number) => void} progress @param {(request: XMLHttpRequest) => void} started */
function upload(file, progress, started) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const params = new URLSearchParams({ prefix: "", image: file.name, remove_incomplete: "1" });
    request.open("POST", `api/msd/write?${params}`);
    request.upload.onprogress = (event) => progress(event.loaded, event.total);
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

export class DriveMenu {
  /** @param {HTMLElement} menu @param {import("./store.js").Store} store */
  constructor(menu, store) {
    const one = (/** @type {string} */ role) => /** @type {any} */ (menu.querySelector(`[data-role=${role}]`));
    /** @type {HTMLSelectElement} */ this.image = one("image");
    /** @type {HTMLSelectElement} */ this.mode = one("mode");
    /** @type {HTMLInputElement} */ this.rw = one("rw");
    /** @type {HTMLButtonElement} */ this.connect = one("connect");
    /** @type {HTMLButtonElement} */ this.remove = one("remove");
    /** @type {HTMLInputElement} */ this.file = one("file");
    /** @type {HTMLButtonElement} */ this.cancel = one("cancel");
    /** @type {HTMLProgressElement} */ this.bar = one("bar");
    /** @type {HTMLElement} */ this.progress = one("progress");
    /** @type {HTMLElement} */ this.state = one("state");
    /** @type {HTMLElement} */ this.controls = one("controls");
    /** @type {XMLHttpRequest | null} */ this.request = null;
    this.store = store;
    this.bind();
    store.watch("msd", (msd) => this.show(msd));
  }

  bind() {
    const busy = { 409: "drive.busy" };
    const params = (/** @type {any} */ control, /** @type {() => any} */ values) =>
      control.addEventListener("change", async () => {
        await act(control, () => call("POST", "msd/set_params", values()), busy);
        this.store.notify("msd");
      });
    params(this.image, () => ({ image: this.image.value }));
    params(this.mode, () => ({ cdrom: this.mode.value === "cdrom" }));
    params(this.rw, () => ({ rw: this.rw.checked }));
    this.connect.addEventListener("click", async () => {
      const connected = !this.store.get("msd").drive?.connected;
      await act(this.connect, () => call("POST", "msd/set_connected", { connected }), busy);
      this.store.notify("msd");
    });
    this.remove.addEventListener("click", async () => {
      const image = this.image.value;
      if (!(await confirm(t("drive.confirm_remove", { name: image }), t("drive.remove")))) return;
      await act(this.remove, () => call("POST", "msd/remove", { image }), busy);
      this.store.notify("msd");
    });
    this.cancel.addEventListener("click", () => this.request?.abort());
    this.file.addEventListener("change", () => {
      const file = this.file.files?.[0];
      if (file) this.upload(file);
    });
  }

  /** @param {File} file */
  async upload(file) {
    const began = Date.now();
    const name = file.name;
    this.uploading(true);
    try {
      await upload(file, (sent, total) => {
        const speed = sent / Math.max(0.001, (Date.now() - began) / 1000);
        this.bar.value = sent / Math.max(1, total);
        this.progress.textContent = t("drive.uploading", {
          name,
          percent: Math.floor((100 * sent) / Math.max(1, total)),
          speed: humanSize(speed),
          eta: humanTime((total - sent) / Math.max(1, speed)),
        });
      }, (request) => (this.request = request));
      toast(t("drive.uploaded", { name }));
      await call("POST", "msd/set_params", { image: name }).catch(() => {}); // convenience: it may be connected by now
    } catch (/** @type {any} */ error) {
      toast(t("drive.upload_failed", { name, detail: error.message }));
    } finally {
      this.request = null;
      this.file.value = "";
      this.uploading(false);
    }
  }

  /** @param {boolean} running */
  uploading(running) {
    this.bar.value = 0;
    this.bar.hidden = this.cancel.hidden = this.progress.hidden = !running;
    this.file.disabled = running;
  }

  /** @param {import("./store.js").State} msd */
  show(msd) {
    const { drive, storage } = msd;
    this.controls.hidden = !msd.enabled || !msd.online;
    if (!msd.enabled) this.state.textContent = t("drive.disabled");
    else if (!msd.online || !drive || !storage) this.state.textContent = t("drive.offline");
    if (!msd.online || !drive || !storage) return;
    const part = storage.parts?.[""] ?? { size: 0, free: 0 };
    const free = t("drive.free", { free: humanSize(part.free), size: humanSize(part.size) });
    const name = drive.image?.name ?? t("drive.none");
    this.state.textContent = `${drive.connected ? t("drive.connected", { name }) : t("drive.disconnected")} · ${free}`;
    this.fill(storage.images ?? {}, drive.image);
    this.mode.value = drive.cdrom ? "cdrom" : "flash";
    this.rw.checked = drive.rw;
    const locked = drive.connected || msd.busy;
    this.image.disabled = this.mode.disabled = locked;
    this.rw.disabled = locked || drive.cdrom;
    this.connect.disabled = msd.busy || (!drive.connected && !drive.image);
    this.connect.textContent = t(drive.connected ? "drive.disconnect" : "drive.connect");
    this.remove.disabled = locked || !drive.image?.removable;
  }

  /** @param {Record<string, any>} images @param {any} selected */
  fill(images, selected) {
    const names = Object.keys(images).sort();
    if (selected && !images[selected.name]) names.push(selected.name);
    const option = (/** @type {string} */ value, /** @type {string} */ text) => new Option(text, value, false, value === (selected?.name ?? ""));
    const label = (/** @type {string} */ name) => {
      const image = images[name] ?? selected;
      return `${name} (${humanSize(image.size)}${image.complete ? "" : `, ${t("drive.incomplete")}`})`;
    };
    this.image.replaceChildren(option("", t("drive.none")), ...names.map((name) => option(name, label(name))));
  }
}
