// @ts-check
// The console page: wires the parts together.

import { call } from "./api.js";
import { act, confirm } from "./dialog.js";
import { DriveMenu } from "./drive.js";
import { load, offerLanguages, t } from "./i18n.js";
import { bindKeyboard, bindPointer } from "./input.js";
import { bindLights } from "./lights.js";
import { bindPower } from "./power.js";
import { Screen } from "./screen.js";
import { Socket } from "./socket.js";
import { Store } from "./store.js";
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

  const dialog = /** @type {HTMLDialogElement} */ (byId("type-text"));
  const text = /** @type {HTMLTextAreaElement} */ (byId("text"));
  const type = /** @type {HTMLButtonElement} */ (byId("type"));
  byId("open-type-text").addEventListener("click", () => dialog.showModal());
  type.addEventListener("click", async () => {
    await act(type, async () => {
      await call("POST", "hid/print", { limit: 0 }, text.value);
      text.value = "";
      dialog.close();
    }, { 413: "keyboard.too_long" });
  });
}

function bindSystemMenu() {
  const logout = /** @type {HTMLButtonElement} */ (byId("logout"));
  logout.addEventListener("click", () => act(logout, async () => {
    await call("POST", "auth/logout");
    location.assign("login/");
  }));
  offerLanguages(/** @type {HTMLSelectElement} */ (byId("language")));
  byId("fullscreen").addEventListener("click", () => byId("stage").requestFullscreen());
}

await load("share");
const store = new Store();
const socket = new Socket(store);
const stage = byId("stage");
const picture = /** @type {HTMLImageElement} */ (byId("picture"));
const send = socket.send.bind(socket);

bindMenus();
bindKeyboardMenu();
bindSystemMenu();
bindLights(document, store);
bindPower(byId("power"), store);
new DriveMenu(byId("drive"), store);
new UpdateMenu(byId("update"), store);
new Screen(picture, byId("notice"), store);
bindKeyboard(stage, send);
bindPointer(stage, picture, send);
socket.open();
stage.focus();
