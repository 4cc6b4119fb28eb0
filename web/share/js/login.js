// @ts-check
// The login page. The one-time code is appended to the password, as the API wants it.

import { load, offerLanguages, t } from "./i18n.js";

await load("../share");

const form = /** @type {HTMLFormElement} */ (document.getElementById("login"));
const error = /** @type {HTMLElement} */ (document.getElementById("error"));
const submit = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
offerLanguages(/** @type {HTMLSelectElement} */ (document.getElementById("language")));

/** @param {Response} answer */
async function explain(answer) {
  if (answer.status === 403) return t("login.wrong");
  const body = await answer.json().catch(() => null);
  if (body?.result?.error === "ValidatorError") return t("login.bad_characters");
  return t("login.unreachable", { detail: `HTTP ${answer.status}` });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = (/** @type {string} */ name) => String(new FormData(form).get(name) ?? "");
  const body = new URLSearchParams({
    user: field("user"),
    passwd: field("passwd") + field("code").replace(/\s/g, ""),
    expire: field("expire"),
  });
  submit.disabled = true;
  error.textContent = "";
  try {
    const answer = await fetch("../api/auth/login", { method: "POST", body });
    if (answer.ok) location.assign("../");
    else error.textContent = await explain(answer);
  } catch (/** @type {any} */ failure) {
    error.textContent = t("login.unreachable", { detail: failure.message });
  } finally {
    submit.disabled = false;
  }
});
