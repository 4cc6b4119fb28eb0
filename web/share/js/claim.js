// @ts-check
// The claim page: an appliance without an owner gets one. The code is on its console; whoever can read that may own it.

import { language, load, offerLanguages, t } from "./i18n.js";
import { fillZones } from "./zones.js";
import { strength } from "./strength.js";

await load("../share");

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

const form = /** @type {HTMLFormElement} */ (byId("claim"));
const error = byId("error");
const submit = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
const field = (/** @type {string} */ name) => /** @type {HTMLInputElement} */ (form.elements.namedItem(name));

offerLanguages(/** @type {HTMLSelectElement} */ (byId("language")));

/** What the device says of itself. @type {{claimed: boolean, hostname?: string, timezone?: string, image?: boolean}} */
let device = { claimed: false };

async function look() {
  const answer = await fetch("../api/system/claim");
  const body = await answer.json();
  if (!body.ok) throw new Error(body.result?.error_msg ?? `HTTP ${answer.status}`);
  device = body.result;
  if (device.claimed) location.assign("../");
  byId("image").hidden = !device.image;
  if (!device.image) return;
  field("hostname").value = device.hostname ?? "";
  fillZones(/** @type {any} */ (field("timezone")), Intl.DateTimeFormat().resolvedOptions().timeZone || device.timezone || "UTC");
  hint();
}

function hint() {
  const name = field("hostname").value.trim().toLowerCase() || "kvm";
  byId("hostname-hint").textContent = t("claim.hostname_hint", { name });
}

function judge() {
  const score = strength(field("passwd").value, field("user").value);
  /** @type {HTMLProgressElement} */ (byId("meter")).value = score;
  byId("meter").dataset.score = String(score);
  byId("strength").textContent = field("passwd").value ? t(`claim.strength_${score}`) : t("claim.passwd_hint");
  return score;
}

/** @param {Response} answer */
async function explain(answer) {
  const body = await answer.json().catch(() => null);
  const { error: name, error_msg: detail } = body?.result ?? {};
  if (name === "ForbiddenError") return t(/another/.test(detail) ? "claim.renewed" : "claim.wrong");
  if (name === "ClaimThrottledError") return t("claim.throttled");
  if (name === "AlreadyClaimedError") return t("claim.already");
  if (name === "ValidatorError") return t("error.refused", { detail });
  return t("login.unreachable", { detail: detail ?? `HTTP ${answer.status}` });
}

/** @param {string} name @param {string} key */
function complain(name, key) {
  error.textContent = t(key);
  field(name).focus();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  error.textContent = "";
  if (!field("code").value.trim()) return complain("code", "claim.code_missing");
  if (judge() === 0) return complain("passwd", "claim.weak");
  const body = new URLSearchParams({ code: field("code").value, user: field("user").value, passwd: field("passwd").value, language: language() });
  if (device.image) {
    const wanted = { hostname: field("hostname").value.trim().toLowerCase(), timezone: field("timezone").value };
    if (wanted.hostname && wanted.hostname !== device.hostname) body.set("hostname", wanted.hostname);
    if (wanted.timezone && wanted.timezone !== device.timezone) body.set("timezone", wanted.timezone);
  }
  submit.disabled = true;
  try {
    const answer = await fetch("../api/system/claim", { method: "POST", body });
    if (answer.ok) location.assign("../");
    else error.textContent = await explain(answer);
  } catch (/** @type {any} */ failure) {
    error.textContent = t("login.unreachable", { detail: failure.message });
  } finally {
    submit.disabled = false;
  }
});

field("passwd").addEventListener("input", judge);
field("user").addEventListener("input", judge);
field("hostname").addEventListener("input", hint);
byId("reveal").addEventListener("change", (event) => {
  field("passwd").type = /** @type {HTMLInputElement} */ (event.target).checked ? "text" : "password";
});

judge();
look().catch((failure) => {
  error.textContent = t("login.unreachable", { detail: failure.message });
});
