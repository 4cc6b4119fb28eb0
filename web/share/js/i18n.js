// @ts-check
// Texts in the user's language. A text is looked up by key; what is missing in a language falls back to English, so that a
// half-translated page still works. Elements carry their key in `data-i18n` (text) or `data-i18n-LABEL` (attribute LABEL).

/** @type {{code: string, name: string}[]} */
export const LANGUAGES = [
  { code: "en", name: "English" },
  { code: "zh-CN", name: "简体中文" },
];

const STORED = "kvm.language";
const ATTRIBUTES = ["title", "aria-label", "placeholder"];

/** @type {Record<string, string>} */
let texts = {};
/** @type {Record<string, string>} */
let fallback = {};

/** The language that the device's owner chose for everybody. @type {string | null} */
let offered = null;

/** The language in force: the one chosen in this browser, else the device's, else the browser's, else English. */
export function language() {
  const wanted = [read(), offered, ...navigator.languages].filter((code) => code !== null);
  for (const code of wanted) {
    const exact = LANGUAGES.find((known) => known.code.toLowerCase() === code.toLowerCase());
    const close = LANGUAGES.find((known) => known.code.split("-")[0] === code.toLowerCase().split("-")[0]);
    if (exact || close) return /** @type {{code: string}} */ (exact ?? close).code;
  }
  return "en";
}

function read() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null; // storage may be forbidden: the browser's language is good enough
  }
}

/** Remember another language for when the page is loaded again.
 * @param {string} code */
function choose(code) {
  try {
    localStorage.setItem(STORED, code);
  } catch {
    // Nothing to remember it in.
  }
}

/** Load the texts and translate the document. @param {string} base path of the `share` folder */
export async function load(base) {
  const get = async (/** @type {string} */ code) => {
    const answer = await fetch(`${base}/i18n/${code}.json`);
    return answer.ok ? await answer.json() : {};
  };
  [offered, fallback] = await Promise.all([read() === null ? offer(base) : null, get("en")]);
  texts = language() === "en" ? fallback : await get(language());
  document.documentElement.lang = language();
  translate(document);
}

/** What the device offers whoever has chosen nothing; a device that hangs is not waited for. @param {string} base @returns {Promise<string | null>} */
async function offer(base) {
  try {
    const answer = await fetch(`${base}/../api/system/claim`, { signal: AbortSignal.timeout(2000) });
    return (await answer.json()).result?.language ?? null;
  } catch {
    return null; // the browser's language is good enough
  }
}

/** Let a language be chosen for this browser. @param {HTMLSelectElement} picker */
export function offerLanguages(picker) {
  picker.append(...LANGUAGES.map(({ code, name }) => new Option(name, code, false, code === language())));
  picker.addEventListener("change", () => {
    choose(picker.value);
    location.reload();
  });
}

/** The text for a key, with `{name}` replaced.
 * @param {string} key
 * @param {Record<string, string | number>} [values] */
export function t(key, values = {}) {
  const text = texts[key] ?? fallback[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** Translate everything below a node. @param {ParentNode} root */
export function translate(root) {
  for (const element of root.querySelectorAll("[data-i18n]")) {
    element.textContent = t(element.getAttribute("data-i18n") ?? "");
  }
  for (const attribute of ATTRIBUTES) {
    for (const element of root.querySelectorAll(`[data-i18n-${attribute}]`)) {
      element.setAttribute(attribute, t(element.getAttribute(`data-i18n-${attribute}`) ?? ""));
    }
  }
}
