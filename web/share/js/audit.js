// @ts-check
// The audit log: its last lines, older ones on demand, and new ones as they come. Lines are shown the newest first; only so many
// are kept in the page.

import { ask, call, lines as linesOf, words } from "./api.js";
import { language, load, t } from "./i18n.js";
import { lookWho, may } from "./right.js";
import { node, row } from "./table.js";

/** @typedef {{seq: number, time: number, user: string | null, token: string | null, by: string, address: string | null, kind: string,
 *   method?: string, path?: string, params?: Record<string, string>, status?: number, error?: string, repeated?: number,
 *   keys?: number, buttons?: number, moves?: number, wheels?: number, refused?: number, seconds?: number, count?: number}} Line */

const PAGE = 200;
const KEPT = 3000;
const RETRY_MS = 3000;

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

const filter = /** @type {HTMLFormElement} */ (byId("filter"));
const field = (/** @type {string} */ name) => /** @type {any} */ (filter.elements.namedItem(name));
const body = /** @type {HTMLTableSectionElement} */ (byId("lines"));
const older = /** @type {HTMLButtonElement} */ (byId("older"));

/** The lines that are here, the newest first. @type {Line[]} */
let known = [];
/** Ends the follower. */
let following = new AbortController();

/** @param {Line} line */
function who(line) {
  if (line.user) return line.user;
  return line.token ? t("audit.token", { name: line.token }) : t(`audit.by_${line.by}`);
}

/** @param {Line} line @returns {Node} what was done, as a line of its own */
function what(line) {
  const parts = document.createElement("span");
  if (line.kind !== "call") {
    const { keys = 0, buttons = 0, moves = 0, wheels = 0, refused = 0, seconds = 0, count = 0 } = line;
    parts.append(t(`audit.kind_${line.kind}`, { keys, buttons, moves, wheels, seconds, count }));
    if (refused) parts.append(` ${t("audit.of_them_refused", { count: refused })}`);
    return parts;
  }
  parts.append(node("code", `${line.method} ${line.path}`));
  const params = Object.entries(line.params ?? {}).map(([name, value]) => `${name}=${value}`).join("  ");
  if (params) parts.append(" ", node("code", params, "soft"));
  return parts;
}

/** @param {Line} line */
function outcome(line) {
  if (line.kind !== "call") return "";
  const { status = 0, error = "", repeated = 0 } = line;
  const good = status < 400;
  const text = good ? t("audit.good") : status === 499 ? t("audit.gone") : `${status} ${error}`;
  const shown = node("span", text, good ? "good" : "bad");
  if (repeated) shown.append(` ${t("audit.repeated", { count: repeated })}`);
  return shown;
}

/** @param {Line} line */
function wanted(line) {
  const bad = line.kind === "call" ? (line.status ?? 0) >= 400 : Boolean(line.refused) || line.kind === "lost";
  const text = field("text").value.trim().toLowerCase();
  return (!field("refused").checked || bad) && (!text || JSON.stringify(line).toLowerCase().includes(text));
}

/** @param {Line} line */
function show(line) {
  const time = new Date(line.time * 1000).toLocaleString(language(), { dateStyle: "short", timeStyle: "medium" });
  return row(body, [time, who(line), line.address ?? "", what(line), outcome(line)]);
}

function showAll() {
  const shown = known.filter(wanted);
  body.replaceChildren(...shown.map(show));
  tell(shown.length);
}

/** @param {number} shown */
function tell(shown) {
  byId("state").textContent = t(known.length ? "audit.shown" : "audit.nothing", { shown, all: known.length });
  older.hidden = known.length === 0 || known[known.length - 1].seq <= 1 || known.length >= KEPT;
}

/** @param {Record<string, number>} params @returns {Promise<Line[]>} */
async function page(params) {
  const seek = Number(field("seek").value);
  return (await call("GET", "audit", seek ? { seek, ...params } : params)).records;
}

async function look() {
  following.abort();
  known = (await page({ limit: PAGE })).reverse();
  showAll();
  if (field("follow").checked) void follow();
}

async function lookOlder() {
  const first = known[known.length - 1].seq;
  const after = Math.max(0, first - 1 - PAGE);
  const before = (await page({ after, limit: PAGE })).filter((line) => line.seq < first);
  known.push(...before.reverse());
  showAll();
  // The rest is older than the chosen time, or gone.
  if (before.length === 0) older.hidden = true;
}

/** New lines as they come, until somebody has enough of it. */
async function follow() {
  following.abort();
  following = new AbortController();
  const { signal } = following;
  while (!signal.aborted) {
    try {
      const seek = Number(field("seek").value);
      const params = { follow: 1, limit: 1000, after: known[0]?.seq ?? 0, ...(seek ? { seek } : {}) };
      const answer = await ask("GET", "audit", params, { signal });
      for await (const text of linesOf(answer)) {
        if (signal.aborted) return;
        add(JSON.parse(text));
      }
    } catch (error) {
      if (signal.aborted) return;
      byId("state").textContent = t("login.unreachable", { detail: words(error) });
    }
    await new Promise((resolve) => window.setTimeout(resolve, RETRY_MS));
  }
}

/** @param {Line} line */
function add(line) {
  if (known[0] && line.seq <= known[0].seq) return;
  known.unshift(line);
  known.length = Math.min(known.length, KEPT);
  if (wanted(line)) body.prepend(show(line));
  while (body.rows.length > KEPT) body.deleteRow(-1);
  tell(body.rows.length);
}

/** @param {() => Promise<void>} work */
async function tried(work) {
  try {
    await work();
  } catch (error) {
    byId("state").textContent = t("error.refused", { detail: words(error) });
  }
}

await load("../share");
filter.addEventListener("submit", (event) => event.preventDefault());
field("seek").addEventListener("change", () => tried(look));
field("text").addEventListener("input", showAll);
field("refused").addEventListener("change", showAll);
field("follow").addEventListener("change", () => (field("follow").checked ? void follow() : following.abort()));
older.addEventListener("click", () => tried(lookOlder));
await lookWho();
if (may("admin")) await tried(look);
else byId("state").textContent = t("audit.admins");
