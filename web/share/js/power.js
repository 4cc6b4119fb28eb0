// @ts-check
// The power menu. Every action asks first: a click on the wrong server is expensive.

import { call } from "./api.js";
import { act, confirm } from "./dialog.js";
import { t } from "./i18n.js";

/** @param {HTMLElement} menu @param {import("./store.js").Store} store */
export function bindPower(menu, store) {
  const buttons = /** @type {NodeListOf<HTMLButtonElement>} */ (menu.querySelectorAll("[data-power]"));
  const missing = /** @type {HTMLElement} */ (menu.querySelector("[data-role=disabled]"));
  store.watch("atx", (atx) => {
    missing.hidden = atx.enabled;
    for (const button of buttons) {
      const wantsOff = button.dataset.power === "on";
      button.hidden = !atx.enabled;
      button.disabled = atx.busy || atx.leds?.power === wantsOff;
    }
  });
  for (const button of buttons) {
    const action = button.dataset.power ?? "";
    button.addEventListener("click", async () => {
      if (!(await confirm(t(`power.confirm_${action}`), t(`power.${action}`)))) return;
      await act(button, () => call("POST", "atx/power", { action }), { 409: "power.busy" });
      store.notify("atx");
    });
  }
}
