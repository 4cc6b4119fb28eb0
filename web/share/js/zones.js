// @ts-check
// The time zones to choose from: those the browser knows, and the one in force.

/** @param {HTMLSelectElement} select @param {string} current */
export function fillZones(select, current) {
  /** @type {string[]} */
  const known = /** @type {any} */ (Intl).supportedValuesOf?.("timeZone") ?? [];
  const zones = [...new Set(["UTC", current, ...known])].sort();
  select.replaceChildren(...zones.map((zone) => new Option(zone.replaceAll("_", " "), zone, false, zone === current)));
}
