// @ts-check
// The update menu: install a release from a file or an address, start it, go back; and what became of the last one.
// It is there only on a system that can be updated: that one tells of updates.

import { call, Refused } from "./api.js";
import { act, confirm, toast } from "./dialog.js";
import { language, t } from "./i18n.js";
import { upload } from "./upload.js";

/** The text for an error class, where there is one. @param {string} name @param {string} detail */
function explain(name, detail) {
  const key = `update.error.${name}`;
  const text = t(key);
  return text === key ? detail : `${text} (${detail})`;
}

export class UpdateMenu {
  /** @param {HTMLElement} menu @param {import("./store.js").Store} store */
  constructor(menu, store) {
    const one = (/** @type {string} */ role) => /** @type {any} */ (menu.querySelector(`[data-role=${role}]`));
    this.menu = menu;
    this.store = store;
    /** @type {HTMLElement} */ this.badge = one("badge");
    /** @type {HTMLElement} */ this.release = one("release");
    /** @type {HTMLElement} */ this.state = one("state");
    /** @type {HTMLElement} */ this.why = one("why");
    /** @type {HTMLProgressElement} */ this.bar = one("bar");
    /** @type {HTMLButtonElement} */ this.restart = one("restart");
    /** @type {HTMLButtonElement} */ this.forget = one("forget");
    /** @type {HTMLButtonElement} */ this.cancel = one("cancel");
    /** @type {HTMLButtonElement} */ this.back = one("back");
    /** @type {HTMLElement} */ this.picker = one("picker");
    /** @type {HTMLInputElement} */ this.file = one("file");
    /** @type {HTMLFormElement} */ this.remote = one("remote");
    /** @type {HTMLInputElement} */ this.url = one("url");
    /** @type {HTMLElement} */ this.history = one("history");
    /** @type {HTMLElement} */ this.past = one("past");
    /** @type {XMLHttpRequest | null} */ this.request = null;
    /** Whether a file of ours is on its way, or what came of it. */ this.sending = false;
    this.bind();
    store.watch("update", (update) => this.show(update));
  }

  bind() {
    this.restart.addEventListener("click", async () => {
      if (!(await confirm(t("update.confirm_restart"), t("update.restart")))) return;
      await act(this.restart, () => call("POST", "system/update/reboot"));
    });
    this.forget.addEventListener("click", () => act(this.forget, () => call("POST", "system/update/rollback")));
    this.back.addEventListener("click", async () => {
      const version = this.store.get("update").other ?? "";
      if (!(await confirm(t("update.confirm_back", { version }), this.back.textContent ?? ""))) return;
      await act(this.back, () => call("POST", "system/update/rollback"));
    });
    this.cancel.addEventListener("click", () => this.request?.abort());
    this.file.addEventListener("change", () => {
      const file = this.file.files?.[0];
      if (file) this.install(file.name, () => this.send(file));
    });
    this.remote.addEventListener("submit", (event) => {
      event.preventDefault();
      const url = this.url.value.trim();
      if (url) this.install(url, async () => ({ url }));
    });
  }

  /** @param {string} name @param {() => Promise<Record<string, string>>} fetched what the installation is told */
  async install(name, fetched) {
    try {
      if (!(await confirm(t("update.confirm_install", { name }), t("update.install")))) return;
      await call("POST", "system/update/install", await fetched());
      this.url.value = "";
    } catch (/** @type {any} */ error) {
      const detail = error instanceof Refused ? explain(error.name, error.message) : error.message;
      toast(t("update.failed", { detail }));
    } finally {
      this.file.value = "";
      // Between upload and installation the device rests: that is not shown.
      this.sending = false;
      this.store.notify("update");
    }
  }

  /** @param {File} file @returns {Promise<Record<string, string>>} */
  async send(file) {
    this.sending = true;
    this.cancel.hidden = this.bar.hidden = false;
    this.picker.hidden = this.remote.hidden = true;
    try {
      await upload("system/update/upload", {}, file, (progress) => {
        this.bar.value = progress.percent;
        this.state.textContent = t("update.uploading", { name: file.name, ...progress });
      }, (request) => (this.request = request));
    } finally {
      this.request = null;
      this.cancel.hidden = true;
    }
    return {};
  }

  /** @param {import("./store.js").State} update */
  show(update) {
    const { release, state, slot, other, trial, rolled_back: back, error } = update;
    this.menu.hidden = !release;
    if (!release) return;
    this.release.textContent = t("update.release", { version: release.version, board: release.board, slot });
    const version = update.version ?? back?.version ?? "";
    const percent = update.percent ?? 0;
    if (!this.sending) {
      this.state.textContent = t(`update.state.${state}`, { version, percent, message: update.message ?? "" });
      this.bar.hidden = !["uploading", "installing"].includes(state);
      this.bar.value = percent;
    }
    const why = back ? t("update.rolled_back", { version: back.version, reason: back.reason })
      : error ? explain(error.error, error.error_msg) : "";
    this.why.textContent = why;
    this.why.hidden = !why;
    this.badge.textContent = "!";
    this.badge.hidden = !back && state !== "ready";
    this.restart.hidden = this.forget.hidden = state !== "ready";
    const rests = ["idle", "ready", "rolled_back"].includes(state);
    this.picker.hidden = this.remote.hidden = !rests || this.sending;
    this.back.hidden = !(trial || (other && (state === "idle" || state === "rolled_back")));
    this.back.textContent = t("update.back", { version: other ?? "" });
    this.list(update.history ?? []);
  }

  /** @param {any[]} history */
  list(history) {
    this.past.hidden = history.length === 0;
    this.history.replaceChildren(...[...history].reverse().slice(0, 20).map((entry) => {
      const line = document.createElement("li");
      const date = new Date(entry.at * 1000).toLocaleString(language());
      const outcome = t(`update.outcome.${entry.outcome}`);
      line.textContent = t("update.entry", { date, version: entry.version || "?", outcome });
      if (entry.reason) line.textContent += ` — ${entry.reason}`;
      return line;
    }));
  }
}
