/** The event stream as one connection that comes back by itself. */

import { Problem } from "./api.js";
import { Parser } from "./sse.js";

/** The API sends something at least every 15 s. */
const SILENT_MS = 40_000;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 15_000;
/** A line that lasted so long was a good one: the next try need not be patient. */
const LASTED_MS = 10_000;
/** Of what has happened before, as many as are shown at first. */
const NEWEST = 50;

/**
 * @typedef {{name: "connecting"|"live"|"lost"|"paused", since: number, retryAt: number|null,
 *   reason: string}} LinkState times are milliseconds
 */

export class Link {
  /**
   * @param {import("./api.js").Api} api
   * @param {{changed: (state: LinkState) => void, happened: (entry: object) => void,
   *   refused: (problem: Problem) => void}} listener
   */
  constructor(api, listener) {
    this.#api = api;
    this.#listener = listener;
    this.state = { name: "connecting", since: Date.now(), retryAt: null, reason: "" };
  }

  #api;
  #listener;
  #lastId = null;
  #delayMs = FIRST_RETRY_MS;
  #retry = null;
  #open = null;

  /** Connect now, whatever was waited for. */
  connect() {
    this.#stop();
    const open = new AbortController();
    this.#open = open;
    if (this.state.name === "paused") this.#become("connecting");
    this.#read(open).catch((error) => this.#lost(open, error));
  }

  /** Nobody looks. */
  pause() {
    this.#stop();
    this.#become("paused");
  }

  #stop() {
    clearTimeout(this.#retry);
    this.#open?.abort();
    this.#open = null;
  }

  async #read(open) {
    const headers = { Accept: "text/event-stream" };
    if (this.#lastId !== null) headers["Last-Event-ID"] = this.#lastId;
    const answer = await this.#api.stream(`v1/events?newest=${NEWEST}`, headers, open.signal);
    this.#become("live");
    const parser = new Parser();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    while (true) {
      const { value, done } = await spoken(reader, open);
      if (done) throw new Error("the sidecar has ended the connection");
      for (const message of parser.push(value)) {
        this.#lastId = message.id ?? this.#lastId;
        this.#listener.happened(JSON.parse(message.data));
      }
    }
  }

  #lost(open, error) {
    if (open !== this.#open) return;
    this.#stop();
    if (error instanceof Problem && [401, 403].includes(error.status)) {
      this.#listener.refused(error);
      return;
    }
    const lasted = this.state.name === "live" ? Date.now() - this.state.since : 0;
    if (lasted >= LASTED_MS) this.#delayMs = FIRST_RETRY_MS;
    this.#retry = setTimeout(() => this.connect(), this.#delayMs);
    this.#become("lost", Date.now() + this.#delayMs, error.message);
    this.#delayMs = Math.min(2 * this.#delayMs, LAST_RETRY_MS);
  }

  #become(name, retryAt = null, reason = "") {
    const since = name === this.state.name ? this.state.since : Date.now();
    this.state = { name, since, retryAt, reason };
    this.#listener.changed(this.state);
  }
}

/** The next piece; a line that has gone silent is as good as cut. */
async function spoken(reader, open) {
  const silence = setTimeout(() => open.abort(), SILENT_MS);
  try {
    return await reader.read();
  } catch (error) {
    throw new Error(open.signal.aborted ? "nothing was heard for long" : "the connection was cut", {
      cause: error,
    });
  } finally {
    clearTimeout(silence);
  }
}
