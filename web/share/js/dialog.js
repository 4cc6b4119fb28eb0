// @ts-check
// Questions and messages.

import { t } from "./i18n.js";

/** Ask; the promise says whether the user agreed. @param {string} question @param {string} [action] @returns {Promise<boolean>} */
export async function confirm(question, action = t("dialog.ok")) {
  return (await choose(question, action)) === "ok";
}

/** Ask what to do: `ok` is the action, `other` the other one, where there is one; anything else is neither.
 * @param {string} question @param {string} action @param {string} [other] @returns {Promise<string>} */
export function choose(question, action, other = "") {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("confirm"));
  const set = (/** @type {string} */ name, /** @type {string} */ text) => {
    const element = dialog.querySelector(`[data-role=${name}]`);
    if (element) element.textContent = text;
  };
  set("question", question);
  set("ok", action);
  set("other", other);
  const button = /** @type {HTMLElement | null} */ (dialog.querySelector("[data-role=other]"));
  if (button) button.hidden = !other;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}

let hiding = 0;

/** Show a message for some seconds; screen readers hear it. @param {string} text */
export function toast(text) {
  const element = /** @type {HTMLElement} */ (document.getElementById("toast"));
  element.textContent = text;
  element.hidden = false;
  // Above dialogs, where the browser can.
  if (element.showPopover) {
    element.popover = "manual";
    element.hidePopover();
    element.showPopover();
  }
  window.clearTimeout(hiding);
  hiding = window.setTimeout(() => (element.hidden = true), 6000);
}

/** Run an action of a control: the control is off meanwhile, a failure is shown.
 * @param {HTMLButtonElement | HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} control @param {() => Promise<void>} action
 * @param {Record<number, string>} [texts] message keys by HTTP status */
export async function act(control, action, texts = {}) {
  control.disabled = true;
  try {
    await action();
  } catch (/** @type {any} */ error) {
    const key = texts[error.status];
    toast(key ? t(key) : t("error.refused", { detail: error.message }));
  } finally {
    control.disabled = false;
  }
}
