/** What happens, the newest on top. */

import { attribute, byId, h, keyed, text } from "./dom.js";
import * as format from "./format.js";

const KEPT = 200;
export class Events {
  #entries = [];
  #isDue = false;

  /** @param {(model: string) => void} open */
  constructor(open) {
    this.#open = open;
    byId("events-trouble").addEventListener("change", () => this.#show());
  }

  #open;

  /** @param {object} entry as the API sends it */
  add(entry) {
    this.#entries.unshift(entry);
    this.#entries.length = Math.min(this.#entries.length, KEPT);
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#show();
    });
  }

  #show() {
    const isOnly = byId("events-trouble").checked;
    const shown = isOnly ? this.#entries.filter((entry) => entry.trouble) : this.#entries;
    keyed(byId("events"), shown, (entry) => String(entry.id), (entry) => made(entry, this.#open));
  }
}

function made(entry, open) {
  const model =
    entry.model === null
      ? null
      : h("button", { type: "button", class: "link", text: entry.model, onclick: () => open(entry.model) });
  const said = h("span", { class: "said" });
  const node = h(
    "li",
    {},
    h("time", { datetime: entry.at, text: format.clock(entry.at) }),
    h("strong", { text: format.words(entry.event) }),
    model,
    said,
  );
  attribute(node, "data-trouble", entry.trouble);
  text(said, details(entry));
  return { node, update: () => {} };
}

/** Names of other things, which say nothing to people. */
const HIDDEN = ["reason", "note", "state", "release", "operation", "step", "trace_id"];

function details({ event, server, seconds, actor, detail }) {
  const { reason, note, state } = detail;
  const parts = [];
  if (event === "release_moved") parts.push(`version ${detail.version} ${format.words(state)}: ${note}`);
  else parts.push(...[note, reason].filter(Boolean));
  const rest = Object.entries(detail).filter(([name, value]) => !HIDDEN.includes(name) && value !== "");
  if (event !== "release_moved") parts.push(...rest.map(([name, value]) => `${format.label(name)} ${said(name, value)}`));
  if (server !== null) parts.push(`on ${server}`);
  if (seconds !== null) parts.push(`took ${format.seconds(seconds)}`);
  if (actor !== null) parts.push(`by ${actor}`);
  return parts.join(" · ");
}

function said(name, value) {
  return typeof value === "number" ? format.figure(name, value) : value;
}
