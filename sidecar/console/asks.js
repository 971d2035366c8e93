/** What can be asked for, in the words of the question. Pure. */

import * as format from "./format.js";

const GOING_BACK = ["restoring", "rolling_back"];
const BEFORE_PROMOTION = [
  "admitted",
  "canary_loading",
  "verifying",
  "canary_warming",
  "measuring",
  "comparing",
  "awaiting",
  "pinning",
];
const CAN_PROMOTE = ["awaiting", "shifting", "soaking"];

const modelPath = (name, verb) => `v1/models/${encodeURIComponent(name)}${verb}`;
const isIn = (states, release) => states.includes(release.state);

/** @param {object} model @param {object|null} explanation @returns {import("./actions.js").Action} */
export function load(model, explanation) {
  return {
    label: "Load",
    what: `Load ${model.name}`,
    lines: ["It is loaded and warmed, and stays until somebody unloads it.", ...consequences(explanation)],
    path: modelPath(model.name, ":load"),
  };
}

/** @returns {import("./actions.js").Action} */
export function ensure(model, explanation) {
  return {
    label: "Warm up",
    what: `Warm ${model.name} up`,
    lines: [
      "As a first request would: it is loaded and warmed, and may leave again when it is idle.",
      ...consequences(explanation),
    ],
    path: modelPath(model.name, ":ensure?timeout=60s"),
  };
}

/** @returns {import("./actions.js").Action} */
export function unload(model) {
  return {
    label: "Unload",
    what: `Unload ${model.name}`,
    lines: ["Its memory is free then. The next request waits for a load."],
    path: modelPath(model.name, ":unload"),
    isGrave: true,
  };
}

/** @returns {import("./actions.js").Action|null} */
export function unquarantine(model) {
  if (!model.quarantined) return null;
  return {
    label: "End the rest",
    what: `Let ${model.name} be loaded again`,
    lines: ["It rests after failures:", model.reason],
    path: modelPath(model.name, ":unquarantine"),
  };
}

/** @returns {import("./actions.js").Action|null} */
export function release(model, version) {
  if (version === model.serving_version || version in model.rejected_versions) return null;
  return {
    label: "Release",
    what: `Release ${model.name} ${version}`,
    lines: [
      model.serving_version === null
        ? "It is proven on canary; then it serves."
        : `It is proven on canary beside version ${model.serving_version}; then it gets the requests.`,
    ],
    option: "ask a person before it gets requests",
    path: modelPath(model.name, "/releases"),
    body: (isManual) => ({ version, strategy: { approval: isManual ? "manual" : "automatic" } }),
  };
}

/** @returns {import("./actions.js").Action|null} */
export function clearRejection(model, version) {
  if (!(version in model.rejected_versions)) return null;
  return {
    label: "Clear",
    what: `Clear the rejection of ${model.name} ${version}`,
    lines: ["It can be released again as it is. It was refused because:", model.rejected_versions[version]],
    method: "DELETE",
    path: modelPath(model.name, `/versions/${version}/rejection`),
  };
}

/** @returns {import("./actions.js").Action|null} */
export function promote(found) {
  if (!isIn(CAN_PROMOTE, found)) return null;
  const lines = {
    awaiting: `Version ${found.version} gets the requests; version ${found.base} stays loaded while it soaks.`,
    shifting: `Version ${found.version} gets all requests now, not ${found.share} % of them.`,
    soaking: `The rest of the soak is skipped, and version ${found.base} is unloaded: going back takes a load then.`,
  };
  return asking(found, "promote", "Promote", `Promote ${found.model} ${found.version}`, lines[found.state]);
}

/** @returns {import("./actions.js").Action|null} */
export function pause(found) {
  if (!found.active || found.paused_by !== null || isIn(GOING_BACK, found)) return null;
  const lines = "It stays where it is, and still goes back when the version fails.";
  return asking(found, "pause", "Pause", `Pause the release of ${found.model} ${found.version}`, lines);
}

/** @returns {import("./actions.js").Action|null} */
export function resume(found) {
  if (found.paused_by === null) return null;
  const lines = `${found.paused_by} has paused it; it goes on.`;
  return asking(found, "resume", "Resume", `Resume the release of ${found.model} ${found.version}`, lines);
}

/** @returns {import("./actions.js").Action|null} */
export function abort(found) {
  const isGoingBack = isIn(GOING_BACK, found);
  if (!isIn(BEFORE_PROMOTION, found) && !isGoingBack) return null;
  const stays = isGoingBack ? found.version : found.base;
  const lines = stays === null ? "No version serves then." : `Version ${stays} serves on.`;
  const what = `Abort the release of ${found.model} ${found.version}`;
  return { ...asking(found, "abort", "Abort", what, lines), isGrave: true };
}

/** @param {object} found @param {boolean} isNewest of its model @returns {import("./actions.js").Action|null} */
export function rollBack(found, isNewest) {
  const isPromoted = isIn(["promoting", "shifting", "soaking", "finishing", "done"], found);
  if (!isPromoted || !isNewest || found.base === null) return null;
  const pace = found.active ? "in place, within milliseconds" : `when version ${found.base} is loaded again`;
  const what = `Roll ${found.model} back to ${found.base}`;
  const lines = `Every request meets version ${found.base} again, ${pace}.`;
  return { ...asking(found, "rollback", "Roll back", what, lines), isGrave: true };
}

function asking(found, kind, label, what, line) {
  return { label, what, lines: [line], path: `v1/releases/${found.id}:${kind}` };
}

/** What a load would set off now. */
function consequences(explanation) {
  const load = explanation?.load ?? null;
  if (load === null) return [];
  if (load.blocked !== null) return [load.blocked.reason];
  const { reload } = explanation.cost;
  const took = `It takes about ${format.seconds(reload.seconds)}.`;
  if (load.victims.length === 0) return [took];
  const names = load.victims.map((victim) => `${victim.model} (${format.bytes(victim.freed_bytes)})`);
  return [took, `For its memory these are let go: ${names.join(", ")}.`];
}
