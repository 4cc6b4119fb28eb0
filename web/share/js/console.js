// @ts-check
// The console page: wires the parts together.

import { call } from "./api.js";
import { act, confirm } from "./dialog.js";
import { DriveMenu } from "./drive.js";
import { HolderMenu } from "./holder.js";
import { load, offerLanguages, t } from "./i18n.js";
import { bindKeyboard, bindPointer } from "./input.js";
import { bindLights } from "./lights.js";
import { Reader } from "./ocr.js";
import { bindPower } from "./power.js";
import { lookWho, may } from "./right.js";
import { Screen } from "./screen.js";
import { savePicture } from "./snapshot.js";
import { Socket } from "./socket.js";
import { Store } from "./store.js";
import { TypingDialog } from "./typing.js";
import { UpdateMenu } from "./update.js";

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

/** Only one menu is open; Escape and a click elsewhere close it. */
function bindMenus() {
  const menus = /** @type {HTMLDetailsElement[]} */ ([...document.querySelectorAll("details.menu")]);
  for (const menu of menus) {
    menu.addEventListener("toggle", () => menu.open && menus.forEach((other) => other !== menu && (other.open = false)));
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      menu.open = false;
      menu.querySelector("summary")?.focus();
    });
  }
  document.addEventListener("pointerdown", (event) => {
    const inside = /** @type {Element} */ (event.target).closest("details.menu, dialog");
    if (!inside) menus.forEach((menu) => (menu.open = false));
  });
}

function bindKeyboardMenu() {
  const cad = /** @type {HTMLButtonElement} */ (byId("cad"));
  cad.addEventListener("click", async () => {
    if (!(await confirm(t("keyboard.cad_confirm"), t("keyboard.cad")))) return;
    await act(cad, () => call("POST", "hid/events/send_shortcut", { keys: "ControlLeft,AltLeft,Delete" }));
  });
  const release = /** @type {HTMLButtonElement} */ (byId("release"));
  release.addEventListener("click", () => act(release, () => call("POST", "hid/reset")));
}

/** @param {Store} store */
function bindScreenMenu(store) {
  byId("fullscreen").addEventListener("click", () => byId("stage").requestFullscreen());
  const save = /** @type {HTMLButtonElement} */ (byId("save-picture"));
  save.addEventListener("click", () => act(save, () => savePicture(store.get("info.node").value?.host ?? ""), { 503: "video.no_signal" }));
}

function bindSystemMenu() {
  const logout = /** @type {HTMLButtonElement} */ (byId("logout"));
  logout.addEventListener("click", () => act(logout, async () => {
    await call("POST", "auth/logout");
    location.assign("login/");
  }));
  offerLanguages(/** @type {HTMLSelectElement} */ (byId("language")));
}

/** What the page says of who looks at it, now and when that changes. @param {Store} store */
function bindRight(store) {
  const show = async () => {
    const who = await lookWho();
    byId("stage").setAttribute("aria-label", t(may("operator") ? "video.focus" : "video.look"));
    byId("me").textContent = t("role.me", { name: who.user ?? who.token ?? t("role.anybody"), role: t(`role.${who.role}`) });
    store.notify("hid_holder");
  };
  // A role may have changed while there was no connection, or when something is refused.
  store.watch("link", ({ state }) => void (state === "connected" && show()));
  store.watch("input_refused", show);
  document.addEventListener("refused", show);
  return show();
}

await load("share");
const store = new Store();
const socket = new Socket(store);
const stage = byId("stage");
const picture = /** @type {HTMLImageElement} */ (byId("picture"));
const holder = new HolderMenu(byId("holder"), store);
/** @param {Uint8Array<ArrayBuffer>} bytes */
const send = (bytes) => void (holder.admits(bytes) && socket.send(bytes));

bindMenus();
bindKeyboardMenu();
new TypingDialog(/** @type {HTMLDialogElement} */ (byId("type-text")), byId("open-type-text"), store);
bindScreenMenu(store);
bindSystemMenu();
bindLights(document, store);
bindPower(byId("power"), store);
new DriveMenu(byId("drive"), store);
new UpdateMenu(byId("update"), store);
new Screen(picture, byId("notice"), store);
new Reader(/** @type {HTMLDialogElement} */ (byId("ocr")), byId("area"), picture, byId("read-text"), store);
bindKeyboard(stage, send, {
  may: () => may("operator"),
  leave: () => /** @type {HTMLElement | null} */ (document.querySelector("nav summary"))?.focus(),
});
bindPointer(stage, picture, send);
await bindRight(store);
socket.open();
stage.focus();
