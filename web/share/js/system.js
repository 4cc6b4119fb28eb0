// @ts-check
// The page of the machine itself: names, network, SSH, restart, factory reset.

import { unwrap } from "./api.js";
import { act, confirm, toast } from "./dialog.js";
import { language, LANGUAGES, load, t, translate } from "./i18n.js";
import { lookWho, may } from "./right.js";
import { fillZones } from "./zones.js";

/** @typedef {{name: string, fixed?: {address: string, prefix: number, gateway?: string | null, dns: string[]} | null,
 *   wifi?: {ssid: string, psk: string, country?: string | null, secured: boolean} | null}} Interface */

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

/** @param {string} method @param {string} path @param {string} [body] @returns {Promise<any>} */
async function call(method, path, body) {
  const answer = await fetch(`../api/system${path}`, { method, body });
  const text = await answer.text();
  if (answer.status === 401) location.assign("../login/");
  return unwrap(answer.status, text);
}

/** What was last told. @type {any} */
let state = {};

async function look() {
  state = await call("GET", "");
  byId("image").hidden = !state.image;
  facts();
  trial();
}

function facts() {
  const { release } = state;
  /** @type {[string, string][]} */
  const rows = [
    ["settings.release", release ? `${release.version} (${release.board}, ${release.build})` : t("settings.no_image")],
    ["settings.slot", state.slot ?? ""],
    ["claim.hostname", state.hostname],
    ["claim.timezone", state.timezone],
  ];
  const node = (/** @type {string} */ tag, /** @type {string} */ text) => Object.assign(document.createElement(tag), { textContent: text });
  byId("facts").replaceChildren(...rows.filter(([, value]) => value).flatMap(([key, value]) => [node("dt", t(key)), node("dd", value)]));
  byId("banner").hidden = !state.data_lost && may("admin");
  byId("banner").textContent = t(state.data_lost ? "settings.data_lost" : "settings.admins");
}

function trial() {
  const left = state.network_trial_ms;
  byId("trial").hidden = left === null || left === undefined;
  if (left) byId("trial-left").textContent = t("settings.trial", { seconds: Math.ceil(left / 1000) });
}

/** Fill the forms, which a look does not touch: somebody may be typing. */
function fill() {
  const names = /** @type {any} */ (byId("names"));
  names.hostname.value = state.hostname;
  fillZones(names.timezone, state.timezone);
  const ssh = /** @type {any} */ (byId("ssh"));
  ssh.keys.value = state.ssh.keys.join("\n");
  ssh.password.checked = state.ssh.password_login;
  for (const control of [ssh.keys, ssh.password, ssh.querySelector("button")]) control.disabled = state.ssh.shell_only;
  const said = state.ssh.shell_only ? t("settings.shell_only") : state.ssh.others ? t("settings.other_keys", { count: state.ssh.others }) : "";
  byId("ssh-hint").textContent = said;
  byId("ssh-hint").hidden = !said;
  const known = new Map(state.network.interfaces.map((/** @type {Interface} */ one) => [one.name, one]));
  const links = [...state.interfaces];
  for (const name of known.keys()) if (!links.some((link) => link.name === name)) links.push({ name, addresses: [], wireless: false, up: false });
  byId("interfaces").replaceChildren(...links.map((link) => row(link, known.get(link.name))));
}

/** @param {any} link @param {any} settings */
function row(link, settings) {
  const fragment = /** @type {DocumentFragment} */ (/** @type {HTMLTemplateElement} */ (byId("interface")).content.cloneNode(true));
  translate(fragment);
  const set = /** @type {HTMLFieldSetElement} */ (fragment.querySelector("fieldset"));
  const role = (/** @type {string} */ name) => /** @type {any} */ (set.querySelector(`[data-role=${name}]`));
  const wireless = link.wireless || Boolean(settings?.wifi);
  set.dataset.name = link.name;
  /** @type {HTMLElement} */ (set.querySelector("legend")).textContent = link.name;
  role("now").textContent = link.up ? link.addresses.join(", ") || t("settings.no_address") : t("settings.down");
  role("mode").value = settings?.fixed ? "fixed" : "dhcp";
  role("wifi").hidden = !wireless;
  const { fixed, wifi } = settings ?? {};
  role("address").value = fixed ? `${fixed.address}/${fixed.prefix}` : "";
  role("gateway").value = fixed?.gateway ?? "";
  role("dns").value = (fixed?.dns ?? []).join(", ");
  role("ssid").value = wifi?.ssid ?? "";
  role("psk").placeholder = wifi?.secured ? t("settings.psk_kept") : "";
  role("country").value = wifi?.country ?? "";
  const show = () => (role("fixed").hidden = role("mode").value !== "fixed");
  role("mode").addEventListener("change", show);
  show();
  return set;
}

/** One fieldset as the API takes it; none when there is nothing to say. @param {HTMLFieldSetElement} set @returns {Interface | null} */
function read(set) {
  const value = (/** @type {string} */ name) => /** @type {any} */ (set.querySelector(`[data-role=${name}]`)).value.trim();
  const name = set.dataset.name ?? "";
  const before = state.network.interfaces.find((/** @type {Interface} */ one) => one.name === name);
  /** @type {Interface} */
  const wanted = { name, fixed: null, wifi: null };
  if (value("mode") === "fixed") {
    const [address, prefix] = value("address").split("/");
    if (!/^\d+$/.test(prefix ?? "")) throw new Error(t("settings.bad_address"));
    const dns = value("dns").split(/[\s,]+/).filter(Boolean);
    wanted.fixed = { address, prefix: Number(prefix), gateway: value("gateway") || null, dns };
  }
  if (value("ssid")) {
    const psk = value("psk");
    const kept = !psk && before?.wifi?.ssid === value("ssid") && before.wifi.secured;
    wanted.wifi = { ssid: value("ssid"), psk, country: value("country").toUpperCase() || null, secured: Boolean(psk) || kept };
  }
  return wanted.fixed || wanted.wifi ? wanted : null;
}

/** @param {string} id @param {(form: any) => Promise<void>} action */
function onSubmit(id, action) {
  const form = /** @type {HTMLFormElement} */ (byId(id));
  const button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void act(button, async () => {
      await action(form);
      await look();
    });
  });
}

/** @param {string} id @param {() => Promise<void>} action */
function onClick(id, action) {
  const button = /** @type {HTMLButtonElement} */ (byId(id));
  button.addEventListener("click", () => act(button, action));
}

await load("../share");
await lookWho();

onSubmit("names", async (form) => {
  const name = form.hostname.value.trim().toLowerCase();
  if (name !== state.hostname) await call("POST", `/hostname?${new URLSearchParams({ name })}`);
  if (form.timezone.value !== state.timezone) await call("POST", `/timezone?${new URLSearchParams({ name: form.timezone.value })}`);
  toast(t("settings.saved"));
});
onSubmit("speech", async (form) => {
  await call("POST", `/language?${new URLSearchParams({ name: form.code.value })}`);
  toast(t("settings.saved"));
});
onSubmit("ssh", async (form) => {
  await call("POST", "/ssh_keys", form.keys.value);
  if (form.password.checked !== state.ssh.password_login) await call("POST", `/ssh_password_login?enabled=${Number(form.password.checked)}`);
  toast(t("settings.saved"));
});
onSubmit("network", async () => {
  const sets = /** @type {HTMLFieldSetElement[]} */ ([...byId("interfaces").querySelectorAll("fieldset")]);
  const interfaces = sets.map(read).filter((one) => one !== null);
  await call("POST", "/network", JSON.stringify({ interfaces }));
});
onClick("keep", async () => {
  await call("POST", "/network/confirm");
  await look();
  toast(t("settings.saved"));
});
onClick("undo", async () => {
  await call("POST", "/network/undo");
  await look();
  fill();
});
onClick("reboot", async () => {
  if (!(await confirm(t("settings.confirm_reboot"), t("settings.reboot")))) return;
  await call("POST", "/reboot");
  toast(t("settings.rebooting"));
});
onClick("reset", async () => {
  const drive = /** @type {HTMLInputElement} */ (byId("drive")).checked;
  if (!(await confirm(t(drive ? "settings.confirm_reset_drive" : "settings.confirm_reset"), t("settings.reset")))) return;
  await call("POST", `/factory_reset?confirm=1&drive=${Number(drive)}`);
  toast(t("settings.rebooting"));
});

try {
  const offered = (await call("GET", "/claim")).language ?? language();
  const speech = /** @type {any} */ (byId("speech"));
  speech.code.append(...LANGUAGES.map(({ code, name }) => new Option(name, code, false, code === offered)));
  await look();
  fill();
} catch (/** @type {any} */ error) {
  toast(t("login.unreachable", { detail: error.message }));
}
// The time of a trial goes by, and addresses come.
setInterval(() => look().catch(() => {}), 5000);
