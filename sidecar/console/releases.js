/** Releases: where each is, on what evidence, and what can be asked of it. Active ones first. */

import * as asks from "./asks.js";
import { attribute, byId, h, keyed, rebuilding, text } from "./dom.js";
import * as format from "./format.js";

const SIGNS = { pass: "✓", fail: "✗", inconclusive: "?" };
/** The way to traffic, as far as every release goes it. */
const WAY = ["proven", "compared", "promoted", "soaked", "done"];
const REACHED = {
  admitted: 0,
  canary_loading: 0,
  verifying: 0,
  canary_warming: 0,
  measuring: 0,
  comparing: 1,
  awaiting: 2,
  pinning: 2,
  promoting: 2,
  shifting: 3,
  soaking: 3,
  finishing: 4,
  done: 5,
};

/**
 * @param {object[]} found @param {object[]} models
 * @param {import("./actions.js").Actions} actions @param {(model: string) => void} open
 */
export function showReleases(found, models, actions, open) {
  const newest = new Set(models.map((model) => model.release));
  const active = found.filter((release) => release.active);
  const ended = found.filter((release) => !release.active);
  const shown = [...active, ...ended].map((release) => ({ release, isNewest: newest.has(release.location) }));
  text(byId("releases-note"), found.length === 0 ? "none yet: a model's versions have a button for it" : `${active.length} going on`);
  keyed(byId("releases"), shown, ({ release }) => release.id, () => made(actions, open));
}

function made(actions, open) {
  const model = h("button", { type: "button", class: "link", onclick: (event) => open(event.target.textContent) });
  const versions = h("span", { class: "versions-moved" });
  const state = h("span", { class: "state chip" }, h("span"));
  const when = h("span", { class: "note when" });
  const way = h("ol", { class: "way" }, ...WAY.map((name) => h("li", { text: name })));
  const reason = h("p", { class: "why" });
  const waits = h("p", { class: "waits" });
  const soak = h("progress", { max: "1" });
  const soakSaid = h("span", { class: "note" });
  const soaking = h("p", { class: "soak" }, soak, soakSaid);
  const kinds = ["main", "quiet", "quiet", "grave", "grave"];
  const buttons = kinds.map((kind) => actions.button(kind));
  const steps = h("div");
  const details = h("details", {}, h("summary"), steps);
  const node = h(
    "li",
    { class: "card release" },
    h("div", { class: "line" }, h("h3", {}, model, versions), state, when),
    way,
    waits,
    soaking,
    h("div", { class: "buttons" }, ...buttons.map((button) => button.node)),
    h("div", { class: "foot" }, reason, details),
  );
  const rebuild = rebuilding(steps);
  let newest = null;
  const update = (shown) => {
    newest = shown;
    const { release, isNewest } = shown;
    text(model, release.model);
    text(versions, release.base === null ? ` ${release.version}` : ` ${release.base} → ${release.version}`);
    attribute(node, "data-active", release.active);
    showState(state, release);
    text(when, `${format.ago(release.steps.at(-1).at, Date.now())}, took ${format.seconds(release.seconds)}, asked for by ${release.actor}`);
    showWay(way, release);
    text(reason, release.reason);
    waits.hidden = release.waits_for === null;
    text(waits, `waits for ${release.waits_for}`);
    soaking.hidden = release.soak === null;
    if (release.soak !== null) showSoak(release.soak, soak, soakSaid);
    const offered = [asks.promote(release), asks.pause(release), asks.resume(release), asks.rollBack(release, isNewest), asks.abort(release)];
    offered.forEach((action, at) => buttons[at].update(action));
    text(details.firstChild, evidenceSaid(release));
    if (details.open) rebuild(release.steps, () => [stepList(release.steps)]);
  };
  details.addEventListener("toggle", () => newest !== null && update(newest));
  return { node, update };
}

function showState(node, release) {
  const kind = release.active ? "unknown" : release.state === "done" ? "good" : "bad";
  attribute(node, "data-kind", release.state === "awaiting" || release.paused_by !== null ? "waits" : kind);
  const share = release.share === null ? "" : ` ${release.share} %`;
  text(node.firstChild, `${format.words(release.state)}${share}${release.paused_by === null ? "" : ", paused"}`);
}

/** A release that turned round has come as far as its steps say. */
function showWay(way, release) {
  const reached = Math.max(0, ...release.steps.map((step) => REACHED[step.state] ?? 0));
  const isBack = !(release.state in REACHED);
  [...way.children].forEach((item, at) => {
    const isNow = at === reached && release.active && !isBack;
    attribute(item, "data-step", at < reached ? "past" : isNow ? "now" : isBack && at === reached ? "back" : "next");
    attribute(item, "aria-current", isNow ? "step" : null);
  });
}

function showSoak({ watched_s: watched, soak_s: wanted, progress }, bar, said) {
  attribute(bar, "value", progress);
  attribute(bar, "aria-label", "watched");
  text(said, `watched ${format.seconds(watched)} of ${format.seconds(wanted)}`);
}

function evidenceSaid(release) {
  const evidence = release.steps.flatMap((step) => step.evidence);
  const count = (ruling) => evidence.filter((each) => each.ruling === ruling).length;
  const parts = [format.counted(release.steps.length, "step")];
  if (count("pass") > 0) parts.push(`${count("pass")} passed`);
  if (count("fail") > 0) parts.push(`${count("fail")} failed`);
  if (count("inconclusive") > 0) parts.push(`${count("inconclusive")} open`);
  return parts.join(", ");
}

function stepList(steps) {
  return h("ol", { class: "plain steps" }, ...steps.map(step));
}

function step(step) {
  const head = h("div", { class: "line" }, h("strong", { text: format.words(step.state) }), h("span", { class: "note", text: stepTime(step) }));
  const evidence = step.evidence.length === 0 ? null : evidenceTable(step.evidence);
  return h("li", {}, head, h("p", { text: step.note }), evidence);
}

function stepTime(step) {
  const took = step.seconds === null ? "" : `, ${format.seconds(step.seconds)}`;
  return `${format.clock(step.at)}${took}${step.actor === null ? "" : `, by ${step.actor}`}`;
}

function evidenceTable(evidence) {
  const rows = evidence.map(({ check, ruling, note, numbers }) =>
    h(
      "tr",
      { "data-ruling": ruling },
      h("th", { scope: "row", text: check }),
      h("td", { class: "ruling", text: `${SIGNS[ruling]} ${ruling}` }),
      h("td", {}, h("p", { text: note }), figures(numbers)),
    ),
  );
  const heads = ["check", "ruling", "evidence"].map((title) => h("th", { scope: "col", text: title }));
  return h("table", { class: "small" }, h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows));
}

function figures(numbers) {
  const found = Object.entries(numbers);
  if (found.length === 0) return null;
  const said = found.map(([name, value]) => `${format.label(name)} ${format.figure(name, value)}`);
  return h("p", { class: "note", text: said.join(" · ") });
}
