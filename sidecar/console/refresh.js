/** What is shown, asked for again when something happened; never more often than it is worth. */

const LEAST_MS = 1_000;
const ALL_EVERY_MS = 5_000;
/** Rest for each moment that the answers took: a large fleet costs the sidecar little. */
const REST_SHARE = 10;
/** Answers that a busy machine held up are no reason to look away for minutes. */
const MOST_MS = 15_000;

/** Of more models than this, all are asked for. */
const MOST_NAMED = 40;

/** @type {Record<string, string[]>} what an event changes beside models, memory and readiness */
const ALSO = {
  release_moved: ["releases"],
  check_passed: ["releases"],
  check_failed: ["releases"],
  operation_accepted: ["releases"],
  operation_ended: ["releases"],
  mode_changed: ["control"],
  profile_changed: ["control"],
};
const ALWAYS = ["readiness", "models", "devices"];

/** @param {string} event @returns {string[]} topics */
export function changedBy(event) {
  return [...ALWAYS, ...(ALSO[event] ?? [])];
}

export class Refresher {
  /**
   * @param {Record<string, (models: string[]|null) => Promise<unknown>>} topics how each is asked
   *   for; `models` are the only ones of which something happened, null is any
   * @param {(topic: string, found: unknown, error: Error|null) => void} came
   * @param {() => void} ended after each round
   */
  constructor(topics, came, ended) {
    this.#topics = topics;
    this.#came = came;
    this.#ended = ended;
  }

  #topics;
  #came;
  #ended;
  #wanted = new Set();
  /** @type {Set<string>|null} */
  #models = new Set();
  #isOn = false;
  #isAsking = false;
  #timer = null;
  #restsUntil = 0;
  #allAt = 0;

  start() {
    this.#isOn = true;
    this.want(Object.keys(this.#topics));
  }

  stop() {
    this.#isOn = false;
    clearTimeout(this.#timer);
  }

  /** @param {string[]} topics @param {string|null} [model] the only one of which something happened */
  want(topics, model = null) {
    for (const topic of topics) this.#wanted.add(topic);
    if (model === null || this.#models?.size >= MOST_NAMED) this.#models = null;
    else this.#models?.add(model);
    this.#schedule();
  }

  #schedule() {
    if (!this.#isOn || this.#isAsking) return;
    clearTimeout(this.#timer);
    const at = this.#wanted.size > 0 ? this.#restsUntil : Math.max(this.#restsUntil, this.#allAt);
    this.#timer = setTimeout(() => this.#ask(), Math.max(0, at - Date.now()));
  }

  async #ask() {
    const began = Date.now();
    const isAll = began >= this.#allAt;
    const wanted = isAll ? Object.keys(this.#topics) : [...this.#wanted];
    const models = isAll || this.#models === null ? null : [...this.#models];
    this.#wanted.clear();
    this.#models = new Set();
    this.#isAsking = true;
    await Promise.all(wanted.map((topic) => this.#askFor(topic, models)));
    this.#isAsking = false;
    const took = Date.now() - began;
    const rest = Math.min(MOST_MS, REST_SHARE * took);
    this.#restsUntil = Date.now() + Math.max(LEAST_MS, rest);
    if (isAll) this.#allAt = Date.now() + Math.max(ALL_EVERY_MS, 2 * rest);
    this.#ended();
    this.#schedule();
  }

  async #askFor(topic, models) {
    try {
      this.#came(topic, await this.#topics[topic](models), null);
    } catch (error) {
      this.#came(topic, null, error);
    }
  }
}
