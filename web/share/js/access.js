// @ts-check
// Who may come in: oneself, the users, and tokens for programs, whose secrets are shown once.

import { call } from "./api.js";
import { copy } from "./copy.js";
import { act, confirm, toast } from "./dialog.js";
import { language, load, t } from "./i18n.js";
import { lookWho, may } from "./right.js";
import { node, row } from "./table.js";

/** @typedef {{id: string, name: string, role: string, scopes: string[], created: number, expires: number | null,
 *   last_used: number | null, by: string, expired: boolean}} Token */

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

const form = /** @type {HTMLFormElement} */ (byId("make"));
const field = (/** @type {string} */ name) => /** @type {HTMLInputElement | HTMLSelectElement} */ (form.elements.namedItem(name));

/** @param {number | null} seconds since 1970 @param {string} otherwise */
const when = (seconds, otherwise) => (seconds === null ? otherwise : new Date(seconds * 1000).toLocaleString(language(), { dateStyle: "medium", timeStyle: "short" }));

function showMe(/** @type {import("./right.js").Who} */ who) {
  const name = who.user ?? who.token ?? t("role.anybody");
  byId("me").replaceChildren(node("dt", t("login.user")), node("dd", name), node("dt", t("access.role")), node("dd", t(`role.${who.role}`)));
  byId("may").textContent = t(`role.${who.role}_may`) + (who.login ? "" : ` ${t("access.no_login")}`);
}

async function listUsers() {
  /** @type {{users: {user: string, role: string, given: boolean, code: string}[]}} */
  const { users } = await call("GET", "users");
  const body = /** @type {HTMLTableSectionElement} */ (byId("users"));
  body.replaceChildren(...users.map(({ user, role, given, code }) =>
    row(body, [user, t(`role.${role}`) + (given ? "" : ` ${t("access.by_setting")}`), t(`access.code_${code}`)])));
}

async function listTokens() {
  /** @type {{tokens: Token[], scopes?: string[]}} */
  const { tokens, scopes = [] } = await call("GET", "tokens");
  const body = /** @type {HTMLTableSectionElement} */ (byId("tokens"));
  body.replaceChildren(...tokens.map((token) => {
    const ends = when(token.expires, t("access.never"));
    const revoke = /** @type {HTMLButtonElement} */ (node("button", t("access.revoke"), "danger"));
    revoke.ariaLabel = `${t("access.revoke")}: ${token.name}`;
    revoke.addEventListener("click", () => end(token, revoke));
    const cells = [token.name, t(`role.${token.role}`), token.scopes.join(", ") || t("access.everything"), t("access.made_by", { date: when(token.created, ""), name: token.by }), when(token.last_used, t("access.not_used"))];
    const line = row(body, [...cells, token.expired ? node("span", t("access.over", { date: ends }), "bad") : ends, revoke]);
    line.dataset.id = token.id;
    return line;
  }));
  byId("token-table").hidden = tokens.length === 0;
  byId("no-tokens").hidden = tokens.length > 0;
  offerScopes(scopes);
}

/** @param {string[]} scopes */
function offerScopes(scopes) {
  const box = byId("scopes");
  if (box.childElementCount === scopes.length) return;
  box.replaceChildren(...scopes.map((scope) => {
    const label = node("label", Object.assign(document.createElement("input"), { type: "checkbox", name: "scope", value: scope }), "check");
    label.append(node("span", scope));
    return label;
  }));
}

/** @param {Token} token @param {HTMLButtonElement} button */
async function end(token, button) {
  if (!(await confirm(t("access.confirm_revoke", { name: token.name }), t("access.revoke")))) return;
  await act(button, async () => {
    await call("DELETE", "tokens", { id: token.id });
    toast(t("access.revoked", { name: token.name }));
    await listTokens();
  });
}

async function make() {
  const scopes = /** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll("[name=scope]:checked"));
  const params = { name: field("name").value.trim(), role: field("role").value, expire: field("expire").value, scopes: [...scopes].map((box) => box.value).join(",") };
  const made = await call("POST", "tokens", params);
  const text = /** @type {HTMLTextAreaElement} */ (byId("secret-text"));
  text.value = made.secret;
  byId("secret-name").textContent = made.token.name;
  /** @type {HTMLDialogElement} */ (byId("secret")).showModal();
  form.reset();
  hint();
  await listTokens();
}

const hint = () => (byId("role-hint").textContent = t(`role.${field("role").value}_may`));

await load("../share");
form.addEventListener("submit", (event) => {
  event.preventDefault();
  void act(/** @type {HTMLButtonElement} */ (form.querySelector("button.main")), make);
});
field("role").addEventListener("change", hint);
byId("secret-copy").addEventListener("click", () => copy(byId("secret-text")));
// It is nowhere but in what was copied.
byId("secret").addEventListener("close", () => (/** @type {HTMLTextAreaElement} */ (byId("secret-text")).value = ""));
hint();

try {
  showMe(await lookWho());
  if (may("admin")) await Promise.all([listUsers(), listTokens()]);
} catch (/** @type {any} */ error) {
  toast(t("login.unreachable", { detail: error.message }));
}
