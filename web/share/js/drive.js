// @ts-check
// The drive menu: choose an image, show it to the target as a CD or a flash drive, upload, fetch and delete images.

import { address, call, words } from "./api.js";
import { copy } from "./copy.js";
import { act, choose, confirm, toast } from "./dialog.js";
import { fetchImage, probe } from "./fetching.js";
import { t } from "./i18n.js";
import { begunHere, Sending, there } from "./resume.js";
import { Cancelled, humanSize, humanTime } from "./upload.js";

export class DriveMenu {
  /** @param {HTMLElement} menu @param {import("./store.js").Store} store */
  constructor(menu, store) {
    const one = (/** @type {string} */ role) => /** @type {any} */ (menu.querySelector(`[data-role=${role}]`));
    /** @type {HTMLSelectElement} */ this.image = one("image");
    /** @type {HTMLSelectElement} */ this.mode = one("mode");
    /** @type {HTMLInputElement} */ this.rw = one("rw");
    /** @type {HTMLButtonElement} */ this.connect = one("connect");
    /** @type {HTMLButtonElement} */ this.remove = one("remove");
    /** @type {HTMLAnchorElement} */ this.download = one("download");
    /** @type {HTMLInputElement} */ this.file = one("file");
    /** @type {HTMLInputElement} */ this.sha256 = one("sha256");
    /** @type {HTMLFormElement} */ this.remote = one("remote");
    /** @type {HTMLInputElement} */ this.url = one("url");
    /** @type {HTMLInputElement} */ this.insecure = one("insecure");
    /** @type {HTMLButtonElement} */ this.look = one("look");
    /** @type {HTMLElement} */ this.found = one("found");
    /** @type {HTMLButtonElement} */ this.cancel = one("cancel");
    /** @type {HTMLProgressElement} */ this.bar = one("bar");
    /** @type {HTMLElement} */ this.progress = one("progress");
    /** @type {HTMLElement} */ this.arrived = one("arrived");
    /** @type {HTMLTextAreaElement} */ this.sum = one("sum");
    /** @type {HTMLElement} */ this.unfinished = one("unfinished");
    /** @type {HTMLElement} */ this.state = one("state");
    /** @type {HTMLElement} */ this.controls = one("controls");
    /** @type {HTMLElement} */ this.incoming = one("incoming");
    /** Ends the transfer of ours that is on its way. @type {(() => void) | null} */
    this.stop = null;
    this.store = store;
    this.bindDrive();
    this.bindTransfers(one("copy"));
    store.watch("msd", (msd) => this.show(msd));
  }

  bindDrive() {
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
    this.remove.addEventListener("click", () => this.forget(this.image.value, this.remove));
  }

  /** @param {HTMLButtonElement} copier */
  bindTransfers(copier) {
    this.cancel.addEventListener("click", () => this.stop?.());
    this.file.addEventListener("change", () => {
      const file = this.file.files?.[0];
      if (file) this.upload(file);
    });
    this.look.addEventListener("click", () => this.url.reportValidity() && act(this.look, () => this.probe()));
    this.url.addEventListener("input", () => (this.found.hidden = true));
    this.remote.addEventListener("submit", (event) => {
      event.preventDefault();
      this.fetch();
    });
    copier.addEventListener("click", () => copy(this.sum));
    window.addEventListener("beforeunload", (event) => this.stop && event.preventDefault());
  }

  /** @param {string} image @param {HTMLButtonElement} button */
  async forget(image, button) {
    if (!(await confirm(t("drive.confirm_remove", { name: image }), t("drive.remove")))) return;
    await act(button, () => call("POST", "msd/remove", { image }), { 409: "drive.busy" });
    this.store.notify("msd");
  }

  /** What the image should be, as typed; nothing where nothing was. */
  expected() {
    return this.sha256.value.trim().toLowerCase();
  }

  /** @param {File} file */
  async upload(file) {
    if (!this.sha256.reportValidity()) return void (this.file.value = "");
    const name = file.name;
    const known = there(this.store.get("msd"), file);
    let anew = false;
    if (known && !begunHere(file)) {
      const question = t("drive.go_on_question", { name, done: humanSize(known), size: humanSize(file.size) });
      const answer = await choose(question, t("drive.go_on"), t("drive.anew"));
      if (answer !== "ok" && answer !== "other") return void (this.file.value = "");
      anew = answer === "other";
    }
    const sending = new Sending(file, {
      progress: (progress) => this.tell(t("drive.uploading", { name, ...progress }), progress.percent),
      waits: () => this.tell(t("drive.waits", { name })),
    }, this.expected());
    await this.transfer(name, () => sending.cancel(), () => sending.run(anew), "drive.uploaded", "drive.upload_failed");
  }

  async probe() {
    const remote = await probe(this.url.value.trim(), this.insecure.checked);
    const { status, name, size } = remote;
    const good = status === 200 && size !== null;
    this.found.textContent = good ? t("drive.found", { name: name ?? "?", size: humanSize(size) })
      : status === 200 ? t("drive.found_no_size") : t("drive.found_status", { status });
    this.found.classList.toggle("bad", !good);
    this.found.hidden = false;
  }

  async fetch() {
    const url = this.url.value.trim();
    const short = url.replace(/[?#].*/, "").replace(/.*\//, "") || url;
    const ended = new AbortController();
    const expected = this.expected();
    const run = async () => {
      this.tell(t("drive.asking", { name: short }));
      const image = await fetchImage({ url, insecure: this.insecure.checked, sha256: expected }, (name, progress) =>
        this.tell(t("drive.fetching", { name, ...progress }), progress.percent), ended.signal);
      this.url.value = "";
      this.found.hidden = true;
      return image;
    };
    await this.transfer(short, () => ended.abort(new Cancelled(t("dialog.cancelled"))), run, "drive.fetched", "drive.fetch_failed");
  }

  /** @param {string} name @param {() => void} stop @param {() => Promise<any>} run @param {string} done @param {string} failed keys of texts */
  async transfer(name, stop, run, done, failed) {
    this.stop = stop;
    this.arrived.hidden = true;
    this.show(this.store.get("msd"));
    try {
      const image = await run();
      toast(t(done, { name: image.name }));
      this.sum.value = image.sha256 ?? "";
      this.arrived.hidden = !image.sha256;
      this.sha256.value = "";
      await call("POST", "msd/set_params", { image: image.name }).catch(() => {}); // convenience: it may be connected by now
    } catch (error) {
      toast(t(failed, { name, detail: words(error) }));
    } finally {
      this.stop = null;
      this.file.value = "";
      this.show(this.store.get("msd"));
    }
  }

  /** @param {string} text @param {number} [percent] nothing: nobody knows */
  tell(text, percent) {
    this.progress.textContent = text;
    if (percent === undefined) this.bar.removeAttribute("value");
    else this.bar.value = percent / 100;
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
    this.download.hidden = !drive.image?.in_storage || msd.busy;
    this.download.href = drive.image ? address("msd/read", { image: drive.image.name }) : "";
    this.showTransfers(storage, msd.busy);
  }

  /** Ours, or somebody else's. @param {import("./store.js").State} storage @param {boolean} busy */
  showTransfers(storage, busy) {
    const theirs = this.stop ? null : storage.uploading;
    const moving = Boolean(this.stop || theirs);
    this.bar.hidden = this.progress.hidden = !moving;
    this.cancel.hidden = !this.stop;
    this.incoming.hidden = moving;
    this.file.disabled = busy && !moving;
    if (theirs) {
      const percent = Math.floor((100 * theirs.written) / Math.max(1, theirs.size));
      const eta = theirs.eta === null || theirs.eta === undefined ? "…" : humanTime(theirs.eta);
      this.tell(t("drive.others_upload", { name: theirs.name, percent, speed: humanSize(theirs.speed ?? 0), eta }), percent);
    }
    this.listUnfinished(moving ? {} : storage.images ?? {});
  }

  /** @param {Record<string, any>} images */
  listUnfinished(images) {
    const open = Object.entries(images).filter(([, image]) => !image.complete);
    const told = JSON.stringify(open);
    // Made anew only when it changed: whoever is on a button stays there.
    if (this.unfinished.dataset.told === told) return;
    this.unfinished.dataset.told = told;
    this.unfinished.hidden = open.length === 0;
    this.unfinished.replaceChildren(...open.map(([name, image]) => {
      const line = document.createElement("li");
      const done = image.written ?? 0;
      const percent = Math.floor((100 * done) / Math.max(1, image.size));
      line.append(t(done ? "drive.unfinished" : "drive.unfinished_anew", { name, percent }));
      const button = document.createElement("button");
      button.textContent = t("drive.forget");
      button.ariaLabel = `${t("drive.forget")}: ${name}`;
      button.addEventListener("click", () => this.forget(name, button));
      line.append(button);
      return line;
    }));
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
