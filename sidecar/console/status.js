/** How it stands, at the top: readiness, mode, connection, who looks, and all that is wrong. */

import { attribute, byId, h, keyed, text } from "./dom.js";
import * as format from "./format.js";

const MOST_TROUBLES = 8;

/** @typedef {{key: string, title: string, detail: string}} Trouble `detail` says what to do, too */

/** @param {object|null} readiness null: nobody says */
export function showReadiness(readiness) {
  if (readiness === null) sign(byId("ready"), "unknown", "readiness unknown");
  else if (readiness.ready) sign(byId("ready"), "good", "ready");
  else sign(byId("ready"), "bad", "not ready");
}

/** @param {object|null} control */
export function showMode(control) {
  const node = byId("mode");
  node.hidden = control === null || (control.mode === "running" && control.profile === "production");
  if (node.hidden) return;
  const by = control.actor === null || control.mode === "running" ? "" : ` by ${control.actor}`;
  const mode = control.mode === "running" ? "" : `${control.mode}${by}`;
  const profile = control.profile === "production" ? "" : `${control.profile} profile`;
  sign(node, control.mode === "running" ? "unknown" : "bad", [mode, profile].filter(Boolean).join(", "));
}

/** @param {import("./link.js").LinkState} link @param {() => void} retry */
export function showLink(link, retry) {
  const node = byId("link");
  const said = {
    connecting: ["unknown", "connecting"],
    live: ["good", "live"],
    paused: ["unknown", "not connected"],
    lost: ["bad", `connection lost at ${format.clock(link.since)}`],
  }[link.name];
  sign(node, ...said);
  attribute(node, "title", link.reason === "" ? null : link.reason);
  const known = node.querySelector("button");
  if (link.name !== "lost") known?.remove();
  else if (known === null) {
    node.append(h("button", { type: "button", class: "quiet", text: "Retry now", onclick: retry }));
  }
}

/** @param {import("./session.js").Session} session @param {{ask: () => void, forget: () => void}} does */
export function showCaller(session, does) {
  const { caller, token } = session;
  const said = caller === null ? "" : token === null ? "no token needed" : `${caller.name}, ${caller.role}`;
  const label = token !== null ? "Forget token" : caller === null ? "Give a token" : "";
  const node = byId("caller");
  const shown = `${said} ${label}`;
  if (node.dataset.shown === shown) return;
  node.dataset.shown = shown;
  node.replaceChildren(h("span", { text: said }));
  if (label !== "") {
    const press = token === null ? does.ask : does.forget;
    node.append(h("button", { type: "button", class: "quiet", text: label, onclick: press }));
  }
}

/** A mark, and the words; the words alone say it too. */
function sign(node, kind, said) {
  attribute(node, "data-kind", kind);
  let words = node.querySelector("span");
  if (words === null) {
    words = h("span");
    node.prepend(words);
  }
  text(words, said);
}

/**
 * Everything that somebody should do something about.
 * @param {{readiness: object|null, devices: object|null, models: object[], failed: Map<string, Error>}} seen
 * @returns {Trouble[]}
 */
export function troubles({ readiness, devices, models, failed }) {
  const checks = readiness?.checks ?? [];
  const found = checks.filter((check) => !check.ok).map(fromCheck);
  const told = found.map(({ detail }) => detail).join("\n");
  const missing = (readiness?.missing ?? []).filter((said) => !told.includes(said.replace(/^[^:]*: /, "")));
  found.push(...missing.map((said) => trouble(said, "not ready", said)));
  const meter = devices?.meter_problem ?? null;
  if (meter !== null) found.push(trouble("meter", "memory meter", meter));
  for (const model of models) {
    const isTold = checks.some((check) => check.name === `model ${model.name}` && !check.ok);
    if (model.quarantined && !isTold) found.push(trouble(`q ${model.name}`, model.name, model.reason));
  }
  for (const [topic, error] of failed) {
    found.push(trouble(`f ${topic}`, error.title ?? topic, error.detail ?? error.message));
  }
  return shortened(found.filter((each, at) => found.findIndex(({ detail }) => detail === each.detail) === at));
}

function shortened(found) {
  if (found.length <= MOST_TROUBLES) return found;
  const left = found.length - MOST_TROUBLES + 1;
  const more = trouble("more", `and ${left} more`, "the list of models and /readyz?verbose have all of them");
  return [...found.slice(0, MOST_TROUBLES - 1), more];
}

function fromCheck(check) {
  return trouble(`c ${check.name}`, check.name, check.detail);
}

function trouble(key, title, detail) {
  return { key, title, detail };
}

/** @param {Trouble[]} found */
export function showTroubles(found) {
  const host = byId("trouble");
  host.hidden = found.length === 0;
  keyed(host, found, (each) => each.key, made);
}

function made() {
  const title = h("strong");
  const detail = h("span");
  const node = h("div", { class: "trouble-item", role: "status" }, title, detail);
  const update = (each) => {
    text(title, each.title);
    text(detail, each.detail);
  };
  return { node, update };
}
