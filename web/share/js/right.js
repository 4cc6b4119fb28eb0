// @ts-check
// What whoever looks at the page may do. Elements that need more say so by `data-needs` (`operator`, `admin`) and are not
// shown (main.css); the device refuses in any case. A page that is not told shows everything.

import { call } from "./api.js";

/** @typedef {{user: string | null, token: string | null, by: string, role: string, login: boolean}} Who */

const ROLES = ["viewer", "operator", "admin"];

/** @type {Who} */
let who = { user: null, token: null, by: "open", role: "admin", login: false };

/** Ask the device who we are; the page shows what that one may do. @returns {Promise<Who>} */
export async function lookWho() {
  try {
    who = await call("GET", "auth/who");
  } catch {
    // Nothing is known: the device decides.
  }
  document.body.dataset.right = who.role;
  return who;
}

/** Who we are, as last heard. */
export const me = () => who;

/** @param {string} role whether we may do what needs it */
export const may = (role) => ROLES.indexOf(who.role) >= ROLES.indexOf(role);
