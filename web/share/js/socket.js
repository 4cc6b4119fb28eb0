// @ts-check
// The main WebSocket: state comes in, input goes out. It comes back by itself; a session that ended leads to the login page.

import { address, leaveIfSignedOut } from "./api.js";

const PING_MS = 1000;
const MISSED_PINGS = 15;
const RETRY_MS = 1000;

const PING = new Uint8Array([0]);

export class Socket {
  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    /** @type {WebSocket | null} */
    this.ws = null;
    this.missed = 0;
    this.timer = 0;
  }

  /** Connect and stay connected. */
  async open() {
    this.store.set("link", { state: "connecting" });
    try {
      const check = await fetch(address("auth/check"));
      await leaveIfSignedOut(check.status);
      if (!check.ok) throw new Error(`HTTP ${check.status}`);
    } catch {
      return this.retry();
    }
    const url = new URL(address("ws"));
    url.protocol = url.protocol.replace("http", "ws");
    const ws = new WebSocket(url);
    ws.binaryType = "arraybuffer";
    ws.onopen = () => {
      this.ws = ws;
      this.missed = 0;
      this.timer = window.setInterval(() => this.ping(), PING_MS);
      this.store.set("link", { state: "connected" });
    };
    ws.onmessage = (message) => this.receive(message.data);
    ws.onclose = () => {
      window.clearInterval(this.timer);
      this.ws = null;
      this.retry();
    };
  }

  retry() {
    this.store.set("link", { state: "lost" });
    window.setTimeout(() => this.open(), RETRY_MS);
  }

  ping() {
    this.missed += 1;
    if (this.missed > MISSED_PINGS) this.ws?.close();
    this.send(PING);
  }

  /** @param {string | ArrayBuffer} data */
  receive(data) {
    if (typeof data !== "string") {
      this.missed = 0;
      return;
    }
    const { event_type: name, event } = JSON.parse(data);
    if (name === "info") {
      for (const [field, value] of Object.entries(event ?? {})) this.store.set(`info.${field}`, { value });
    } else {
      this.store.apply(name, event);
    }
  }

  /** Send bytes if there is a connection; input is never queued for later. @param {Uint8Array<ArrayBuffer>} bytes */
  send(bytes) {
    if (this.ws?.readyState === WebSocket.OPEN) this.ws.send(bytes);
  }
}
