// @ts-check
// Calls of the HTTP API. Every path is relative to the page, so that the device works behind a path prefix.

/** An answer that was not `ok`: `name` is the error class of the API. */
export class Refused extends Error {
  /** @param {number} status @param {string} name @param {string} message */
  constructor(status, name, message) {
    super(message || name || `HTTP ${status}`);
    this.status = status;
    this.name = name;
  }
}

/** Where a session is missing, only signing in helps. @param {number} status */
export function leaveIfSignedOut(status) {
  if (status === 401 || status === 403) location.assign("login/");
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

/** @param {string} method @param {string} path @param {Record<string, string | number | boolean>} [params] @param {string} [body] */
export async function call(method, path, params = {}, body) {
  const query = new URLSearchParams(Object.entries(params).map(([key, value]) => [key, String(value)])).toString();
  const answer = await fetch(`api/${path}${query && `?${query}`}`, {
    method,
    body,
    headers: body === undefined ? {} : { "Content-Type": "text/plain; charset=utf-8" },
  });
  leaveIfSignedOut(answer.status);
  return unwrap(answer.status, await answer.text());
}
