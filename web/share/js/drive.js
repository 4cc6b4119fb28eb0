// @ts-check
// The drive menu: choose an image, show it to the target as a CD or a flash drive, upload and delete images.

import { call } from "./api.js";
import { act, confirm, toast } from "./dialog.js";
import { t } from "./i18n.js";
import { humanSize, upload } from "./upload.js";

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
    const name = file.name;
    const params = new URLSearchParams({ prefix: "", image: name, remove_incomplete: "1" });
    this.uploading(true);
    try {
      await upload(`msd/write?${params}`, file, (progress) => {
        this.bar.value = progress.percent / 100;
        this.progress.textContent = t("drive.uploading", { name, ...progress });
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
