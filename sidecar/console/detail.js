/** One model: what it is, why, what it costs, its versions, and what can be done with it. */

import * as asks from "./asks.js";
import { attribute, byId, h, keyed, text } from "./dom.js";
import { rhythm } from "./fleet.js";
import * as format from "./format.js";
import { basis, coldStarts, latency } from "./models.js";

export class Detail {
  /** @param {import("./actions.js").Actions} actions @param {() => void} close */
  constructor(actions, close) {
    this.#actions = actions;
    this.#panel = byId("detail");
    this.#title = h("h2", { tabindex: "-1" });
    this.#state = h("p", { class: "figures" });
    this.#reason = h("p", { class: "why" });
    this.#facts = h("dl", { class: "facts" });
    this.#versions = h("ul", { class: "plain versions" });
    this.#buttons = ["main", "quiet", "grave", "quiet"].map((kind) => actions.button(kind));
    const away = h("button", { type: "button", class: "quiet close", "aria-label": "Close", text: "✕", onclick: close });
    this.#panel.append(
      h("div", { class: "section-head" }, this.#title, away),
      this.#state,
      this.#reason,
      h("div", { class: "buttons" }, ...this.#buttons.map(({ node }) => node)),
      this.#facts,
      h("h3", { text: "Versions" }),
      this.#versions,
    );
    this.#panel.addEventListener("keydown", (event) => event.key === "Escape" && close());
  }

  #actions;
  #panel;
  #title;
  #state;
  #reason;
  #facts;
  #versions;
  #buttons;

  /** @param {string|null} name of the model; null closes */
  open(name) {
    this.#panel.hidden = name === null;
    attribute(document.body, "data-detail", name === null ? null : "open");
    if (name === null) return;
    text(this.#title, name);
    attribute(this.#panel, "aria-label", `Model ${name}`);
    this.#title.focus();
  }

  /** @param {object|null} model as listed @param {object|null} explanation of the same model */
  show(model, explanation) {
    if (model === null) {
      text(this.#state, "It is not in the store.");
      for (const button of this.#buttons) button.update(null);
      return;
    }
    const known = explanation?.model.name === model.name ? explanation : null;
    text(this.#state, [model.tier, format.words(model.warmth), serves(model)].join(" · "));
    text(this.#reason, model.reason);
    keyed(this.#facts, facts(model, known), ([term]) => term, fact);
    keyed(this.#versions, [...model.versions].reverse(), String, (version) => this.#version(version));
    for (const [version, piece] of this.#versions.pieces) piece.tell(model, Number(version));
    this.#offer(model, known);
  }

  #offer(model, known) {
    const isThere = model.ready_versions.length > 0;
    const offered = [
      isThere ? null : asks.ensure(model, known),
      asks.load(model, known),
      isThere ? asks.unload(model) : null,
      asks.unquarantine(model),
    ];
    offered.forEach((action, at) => this.#buttons[at].update(action));
  }

  #version(version) {
    const said = h("span");
    const why = h("p", { class: "note" });
    const release = this.#actions.button("quiet");
    const clear = this.#actions.button("quiet");
    const node = h("li", {}, h("div", { class: "line" }, h("strong", { text: String(version) }), said, release.node, clear.node), why);
    const tell = (model, number) => {
      text(said, standing(model, number));
      text(why, model.rejected_versions[number] ?? "");
      release.update(asks.release(model, number));
      clear.update(asks.clearRejection(model, number));
    };
    return { node, update: () => {}, tell };
  }
}

function serves(model) {
  return model.serving_version === null ? "no version serves" : `version ${model.serving_version} serves`;
}

function standing(model, version) {
  if (version in model.rejected_versions) return "refused";
  const parts = [];
  if (version === model.serving_version) parts.push("serves");
  if (model.ready_versions.includes(version)) parts.push("loaded");
  if (version === model.pending_version) parts.push("not released yet");
  return parts.join(", ") || "in the store";
}

/** @returns {[string, string][]} what is known, in words */
function facts(model, explanation) {
  const now = Date.now();
  const last = model.last_cold_start_at === null ? "" : `, ${format.ago(model.last_cold_start_at, now)}`;
  const found = [
    ["Requests", `${format.perHour(model.requests_per_hour)} per hour, the last ${format.ago(model.last_request_at, now)}`],
    ["By hour", rhythm(model)],
    ["p50", `${latency(model)} (${basis(model)})`],
    ["Cold starts, 24 h", `${coldStarts(model)}${last}`],
    ["Memory", format.bytes(model.held_bytes)],
    ["Score", `${model.score.toPrecision(3)}`],
  ];
  return explanation === null ? found : [...found, ...explained(explanation)];
}

function explained({ cost, idle, stays_because: stays, load, quarantine, price }) {
  const { reload } = cost;
  const needed = cost.needed.map((each) => `${format.bytes(each.bytes)} on ${each.device} (${each.basis})`);
  const found = [
    ["A load takes", `${format.seconds(reload.seconds)}: read ${format.seconds(reload.read_s)}, load ${format.seconds(reload.load_s)}, warm-up ${format.seconds(reload.warm_up_s)}; known from ${format.counted(cost.loads, "load")}`],
    ["Needs", needed.join(", ")],
    ["Stays because", stays ?? `nothing holds it; a GiB-hour is worth ${price} s of cold starts`],
    ["When idle", idle.timeout_s === null ? "never let go" : `let go after ${format.seconds(idle.timeout_s)}`],
    ["Advice", idle.advice],
  ];
  if (load !== null) found.push(["A request now", asked(load)]);
  if (quarantine !== null) {
    const until = quarantine.until === null ? "a person ends it" : format.clock(quarantine.until);
    found.push(["Rests", `until ${until}, after ${format.counted(quarantine.times, "failure")}`]);
  }
  return found;
}

function asked(load) {
  if (load.blocked !== null) return load.blocked.reason;
  const names = load.victims.map((victim) => victim.model).join(", ");
  const place = load.on_cpu ? "would load it on the CPU" : "would load it";
  return names === "" ? place : `${place}, and let go of ${names}`;
}

function fact([term]) {
  const said = h("dd");
  const node = h("div", {}, h("dt", { text: term }), said);
  return { node, update: ([, value]) => text(said, value) };
}
