// @ts-check
// The page of the API: every operation of `api/openapi.json`, by what it belongs to, with what it takes and answers and a line to
// try it with. The words of the document are English; those around them are the user's.

import { toast } from "./dialog.js";
import { load, t } from "./i18n.js";

/** @typedef {{name: string, in: string, required: boolean, description: string, schema: any, example?: string}} Param */
/** @typedef {{path: string, method: string, summary: string, description?: string, tags: string[], operationId: string, parameters?: Param[],
 *   requestBody?: any, responses: Record<string, any>, "x-role": string, "x-changes": boolean, "x-changes-with"?: string}} Operation */

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

/** @param {string} tag @param {string} [text] @param {string} [look] @returns {HTMLElement} */
function node(tag, text = "", look = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (look) made.className = look;
  return made;
}

/** Words of the document, in which `code` stands between such marks. @param {HTMLElement} place @param {string} text */
function say(place, text) {
  place.replaceChildren(...text.split("`").map((part, at) => node(at % 2 ? "code" : "span", part)));
  return place;
}

/** The whole document. @type {any} */
let api = {};

/** What a reference leads to. @param {any} value @returns {any} */
function follow(value) {
  const at = value?.$ref;
  if (!at) return value;
  const found = at.slice(2).split("/").reduce((/** @type {any} */ place, /** @type {string} */ key) => place?.[key.replaceAll("~1", "/")], api);
  return { ...found, ...value };
}

/** A schema in a few words. @param {any} schema @param {number} [depth] @returns {string} */
function words(schema, depth = 0) {
  const known = follow(schema);
  if (!known) return "";
  const parts = known.oneOf ?? known.anyOf;
  if (parts) return parts.map((/** @type {any} */ part) => words(part, depth)).join(" | ");
  if (known.allOf) return known.allOf.map((/** @type {any} */ part) => words(part, depth)).join(" & ");
  if (known.enum) return known.enum.length > 12 ? `${known.enum.slice(0, 6).join(" | ")} | …` : known.enum.map((/** @type {any} */ one) => JSON.stringify(one)).join(" | ");
  if ("const" in known) return JSON.stringify(known.const);
  const kind = [known.type ?? "any"].flat().join(" | ");
  if (known.type === "array") return `[${words(known.items, depth)}, …]`;
  if (known.properties) {
    const inner = Object.entries(known.properties).map(([name, one]) => `${"  ".repeat(depth + 1)}${name}: ${words(one, depth + 1)}`);
    return depth > 4 ? "{…}" : `{\n${inner.join("\n")}\n${"  ".repeat(depth)}}`;
  }
  if (known.additionalProperties) return `{ NAME: ${words(known.additionalProperties, depth)} }`;
  const [from, to] = [known.minimum ?? known.exclusiveMinimum, known.maximum];
  return from === undefined && to === undefined ? kind : `${kind} ${from ?? "…"} – ${to ?? "…"}`;
}

/** @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** What a shell is told. @param {Operation} operation */
function curl(operation) {
  const params = operation.parameters ?? [];
  const sample = (/** @type {Param} */ param) =>
    param.example ?? [param.schema.examples?.[0] ?? param.schema.default ?? param.schema.enum?.[0] ?? (param.schema.type === "boolean" ? 1 : param.schema.minimum ?? param.name.toUpperCase())].flat().join(",");
  let path = operation.path;
  for (const param of params.filter((one) => one.in === "path")) path = path.replace(`{${param.name}}`, sample(param));
  const query = params.filter((one) => one.in === "query" && one.required).map((one) => `${one.name}=${encodeURIComponent(sample(one))}`);
  const line = ["curl", "-k"];
  if (operation["x-role"] !== "nobody") line.push("-u", "admin");
  if (operation.method === "HEAD") line.push("-I");
  else if (operation.method !== "GET") line.push("-X", operation.method);
  const media = Object.keys(operation.requestBody?.content ?? {});
  if (media.includes("application/octet-stream")) line.push("-T", "FILE");
  else if (media.includes("application/json")) line.push("-H", quoted("Content-Type: application/json"), "-d", quoted("{…}"));
  else if (media.length > 0) line.push("-H", quoted(`Content-Type: ${media[0]}`), "--data-binary", "@FILE");
  const base = new URL("..", location.href).href.replace(/\/$/, "");
  line.push(quoted(base + path + (query.length > 0 ? `?${query.join("&")}` : "")));
  return line.join(" ");
}

/** @param {string} title @param {[string, string][]} rows @param {string} tag @returns {HTMLElement[]} */
function list(title, rows, tag = "dd") {
  if (rows.length === 0) return [];
  const all = node("dl");
  for (const [name, text] of rows) {
    const dd = node("dd");
    if (tag === "pre" && text.includes("\n")) dd.append(node("pre", text));
    else say(dd, text);
    all.append(node("dt", name), dd);
  }
  const heading = node("h4", title);
  heading.lang = document.documentElement.lang;
  return [heading, all];
}

/** All that is known of an operation. @param {Operation} operation */
function detail(operation) {
  const all = node("div");
  if (operation.description) all.append(say(node("p"), operation.description));
  const how = operation["x-changes-with"] ? t("docs.changes_with", { name: operation["x-changes-with"] }) : t(operation["x-changes"] ? "docs.changes" : "docs.tells");
  const who = t("docs.who", { role: t(`docs.role.${operation["x-role"]}`) });
  const said = node("p", `${who} ${how}`, "lead");
  said.lang = document.documentElement.lang;
  all.append(said);
  const param = (/** @type {Param} */ one) => {
    const more = one.schema.default === undefined ? "" : ` (${t("docs.default", { value: JSON.stringify(one.schema.default) })})`;
    const place = one.in === "query" ? "" : ` [${one.in}]`;
    return /** @type {[string, string]} */ ([`${one.name}${one.required ? " *" : ""}${place}`, `${words(one.schema)} – ${one.description}${more}`]);
  };
  all.append(...list(t("docs.takes"), (operation.parameters ?? []).map(param)));
  const body = operation.requestBody;
  const bodies = /** @type {[string, any][]} */ (Object.entries(body?.content ?? {}));
  all.append(...list(t("docs.body"), bodies.map(([media, { schema }]) => [media, words(schema)]), "pre"));
  if (body?.description) all.append(node("p", body.description));
  /** @type {[string, string][]} */
  const answers = [];
  /** @type {[string, string][]} */
  const failures = [];
  for (const [status, shown] of Object.entries(operation.responses)) {
    const answer = follow(shown);
    const content = /** @type {[string, any][]} */ (Object.entries(answer.content ?? {}));
    if (Number(status) >= 400) failures.push([status, answer.description]);
    else if (content.length === 0) answers.push([status, answer.description]);
    else answers.push(...content.map(([media, { schema }]) => /** @type {[string, string]} */ ([`${status} ${media}`, `${answer.description} ${words(schema.properties?.result ?? schema)}`])));
  }
  all.append(...list(t("docs.answers"), answers, "pre"), ...list(t("docs.failures"), failures));
  const heading = node("h4", t("docs.try"));
  heading.lang = document.documentElement.lang;
  const line = node("pre", curl(operation));
  line.tabIndex = 0;
  all.append(heading, line);
  return all;
}

/** @param {Operation} operation */
function entry(operation) {
  const details = /** @type {HTMLDetailsElement} */ (node("details"));
  details.id = operation.operationId;
  const summary = node("summary");
  const path = node("code", operation.path);
  summary.append(node("span", operation.method, `method ${operation["x-changes"] ? "changes" : "tells"}`), path, node("span", operation.summary));
  const role = node("span", t(`docs.role.${operation["x-role"]}`), "role");
  role.lang = document.documentElement.lang;
  summary.append(role);
  details.append(summary);
  // Two hundred of them: each is made when somebody wants to see it.
  details.addEventListener("toggle", () => details.open && details.childElementCount === 1 && details.append(detail(operation)));
  return details;
}

/** @returns {Operation[]} */
function operations() {
  const items = /** @type {[string, Record<string, any>][]} */ (Object.entries(api.paths));
  const all = items.flatMap(([path, item]) => Object.entries(item).map(([method, operation]) => ({ path, method: method.toUpperCase(), ...operation })));
  // Redfish is there twice, the same both times.
  return all.filter(({ path }) => !path.startsWith("/api/redfish"));
}

/** Show what is looked for. @param {Operation[]} all */
function show(all) {
  const wanted = /** @type {HTMLInputElement} */ (byId("wanted")).value.trim().toLowerCase().split(/\s+/);
  const changing = /** @type {HTMLInputElement} */ (byId("changing")).checked;
  const fits = (/** @type {Operation} */ { path, method, summary, ...one }) => {
    const text = [path, method, summary, one["x-role"], ...(one.parameters ?? []).map((param) => param.name)].join(" ").toLowerCase();
    return wanted.every((word) => text.includes(word)) && (!changing || one["x-changes"] || "x-changes-with" in one);
  };
  let found = 0;
  for (const { name } of api.tags) {
    const section = byId(`part-${name}`);
    const here = all.filter((operation) => operation.tags[0] === name && fits(operation));
    found += here.length;
    for (const details of section.querySelectorAll("details")) details.hidden = !here.some(({ operationId }) => operationId === details.id);
    section.hidden = here.length === 0;
    byId(`to-${name}`).hidden = here.length === 0;
  }
  byId("found").textContent = t("docs.found", { count: found });
}

async function begin() {
  await load("../share");
  document.title = `${t("docs.title")} – KVM`;
  const answer = await fetch("../api/openapi.json");
  if (answer.status === 401) return location.assign("../login/");
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  api = await answer.json();
  say(byId("about"), api.info.description);
  const all = operations();
  for (const { name, description } of api.tags) {
    const section = node("section");
    section.id = `part-${name}`;
    section.append(node("h2", name), node("p", description, "lead"), ...all.filter(({ tags }) => tags[0] === name).map(entry));
    byId("operations").append(section);
    const link = /** @type {HTMLAnchorElement} */ (node("a", name));
    link.href = `#part-${name}`;
    link.id = `to-${name}`;
    byId("tags").append(link);
  }
  byId("search").addEventListener("submit", (event) => event.preventDefault());
  byId("search").addEventListener("input", () => show(all));
  show(all);
  const asked = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (asked instanceof HTMLDetailsElement) asked.open = true;
  asked?.scrollIntoView();
}

begin().catch((problem) => toast(t("error.refused", { detail: String(problem.message ?? problem) })));
