// @ts-check
// The status bar: each light has a text for those who do not see its colour.

import { t } from "./i18n.js";

/** @param {Document} document @param {import("./store.js").Store} store */
export function bindLights(document, store) {
  const light = (/** @type {string} */ name, /** @type {string} */ look, /** @type {string} */ state) => {
    const element = /** @type {HTMLElement} */ (document.getElementById(`light-${name}`));
    element.dataset.look = look;
    const text = `${t(`status.${name}`)}: ${state}`;
    element.title = text;
    element.setAttribute("aria-label", text);
  };
  const onOff = (/** @type {boolean} */ on) => t(on ? "status.on" : "status.off");
  store.watch("link", ({ state }) => {
    light("link", state === "connected" ? "good" : "bad", t(`status.${state}`));
    const banner = /** @type {HTMLElement} */ (document.getElementById("banner"));
    banner.hidden = state === "connected";
    banner.textContent = t(`status.${state}`);
  });
  store.watch("streamer", ({ streamer }) => {
    const { online, state, captured_fps: fps, resolution } = streamer?.source ?? {};
    const size = resolution ? ` ${resolution.width}x${resolution.height}` : "";
    const text = online ? `${t("video.live")}${size}, ${fps} fps` : t(state ? `video.state.${state}` : "video.no_signal");
    light("video", online ? "good" : streamer ? "bad" : "idle", text);
  });
  store.watch("atx", ({ leds }) => {
    light("power", leds?.power ? "good" : "idle", onOff(leds?.power));
    light("hdd", leds?.hdd ? "busy" : "idle", onOff(leds?.hdd));
  });
  store.watch("hid", ({ keyboard }) => {
    for (const name of ["caps", "num", "scroll"]) light(name, keyboard?.leds?.[name] ? "good" : "idle", onOff(keyboard?.leds?.[name]));
  });
  store.watch("info.node", ({ value }) => (document.title = value?.host ? `${value.host} – ${t("app.title")}` : t("app.title")));
}
