// @ts-check
// Questions and messages.

import { t } from "./i18n.js";

/** Ask; the promise says whether the user agreed. @param {string} question @param {string} [action] @returns {Promise<boolean>} */
export function confirm(question, action = t("dialog.ok")) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("confirm"));
  const set = (/** @type {string} */ name, /** @type {string} */ text) => {
    const element = dialog.querySelector(`[data-role=${name}]`);
    if (element) element.textContent = text;
  };
  set("question", question);
  set("ok", action);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok"), { once: true });
  });
}

let hiding = 0;

/** Show a message for some seconds; screen readers hear it. @param {string} text */
export function toast(text) {
  const element = /** @type {HTMLElement} */ (document.getElementById("toast"));
  element.textContent = text;
  element.hidden = false;
  window.clearTimeout(hiding);
  hiding = window.setTimeout(() => (element.hidden = true), 6000);
}

/** Run an action of a control: the control is off meanwhile, a failure is shown.
 * @param {HTMLButtonElement | HTMLInputElement | HTMLSelectElement} control @param {() => Promise<void>} action
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
