// @ts-check
// Calls of the HTTP API. Every address is relative to where this file lies, so that all pages can use it and the device works
// behind a path prefix.

const ROOT = new URL("../../", import.meta.url);

/** An answer that was not `ok`: `name` is the error class of the API. */
export class Refused extends Error {
  /** @param {number} status @param {string} name @param {string} message */
  constructor(status, name, message) {
    super(message || name || `HTTP ${status}`);
    this.status = status;
    this.name = name;
  }
}

/** Words in which an error may be shown. @param {any} error */
export const words = (error) => String(error?.message || error);

/** The address of a call. @param {string} path @param {Record<string, string | number | boolean>} [params] */
export function address(path, params = {}) {
  const query = new URLSearchParams(Object.entries(params).map(([key, value]) => [key, String(value)])).toString();
  return new URL(`api/${path}${query && `?${query}`}`, ROOT).href;
}

/** Where a session is missing, only signing in helps. Who may come in, but not do this, is refused with 403, too: then the
 * page stays, and looks again at what it may do.
 * @param {number} status */
export async function leaveIfSignedOut(status) {
  if (status !== 401 && status !== 403) return;
  const answer = status === 401 ? null : await fetch(address("auth/check")).catch(() => null);
  if (answer?.ok) document.dispatchEvent(new Event("refused"));
  else if (status === 401 || answer?.status === 401 || answer?.status === 403) location.assign(new URL("login/", ROOT));
}

/** @param {number} status @param {string} text @returns {any} */
export function unwrap(status, text) {
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new Refused(status, "", text.slice(0, 200));
  }
  if (answer?.ok !== true) throw new Refused(status, answer?.result?.error ?? "", answer?.result?.error_msg ?? "");
  return answer.result;
}

/** An answer whose status is good; else what was refused.
 * @param {string} method @param {string} path @param {Record<string, string | number | boolean>} params @param {RequestInit} [more] */
export async function ask(method, path, params, more = {}) {
  const answer = await fetch(address(path, params), { method, ...more });
  if (answer.ok) return answer;
  await leaveIfSignedOut(answer.status);
  const text = await answer.text();
  unwrap(answer.status, text);
  throw new Refused(answer.status, "", text.slice(0, 200));
}

/** @param {string} method @param {string} path @param {Record<string, string | number | boolean>} [params] @param {string} [body] @param {AbortSignal} [signal] */
export async function call(method, path, params = {}, body, signal) {
  const headers = body === undefined ? undefined : { "Content-Type": "text/plain; charset=utf-8" };
  const answer = await ask(method, path, params, { body, headers, signal });
  return unwrap(answer.status, await answer.text());
}

/** The lines of an answer that may take long, as they come (NDJSON). @param {Response} answer */
export async function* lines(answer) {
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true, value: "" };
    if (done) break;
    const whole = (rest + value).split("\n");
    rest = whole.pop() ?? "";
    yield* whole.map((line) => line.trim()).filter(Boolean);
  }
  if (rest.trim()) yield rest.trim();
}
