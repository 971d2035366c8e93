/** The console: what is known, how it is kept up to date, and who shows it. */

import { Actions } from "./actions.js";
import { Api, Unreachable } from "./api.js";
import { showDevices } from "./devices.js";
import { Detail } from "./detail.js";
import { byId } from "./dom.js";
import { Events } from "./events.js";
import { Link } from "./link.js";
import { ModelTable } from "./models.js";
import { Refresher, changedBy } from "./refresh.js";
import { showReleases } from "./releases.js";
import { Session } from "./session.js";
import * as status from "./status.js";
import { startTheme } from "./theme.js";

const ENDED_PAGE = 10;
const MOST_ACTIVE = 200;

const session = new Session();
const api = new Api(() => session.token);

/** What was answered last, by topic; `opened` is the model that is looked at. */
const seen = { readiness: null, control: null, devices: null, models: null, releases: null, explanation: null };
const failed = new Map();
let opened = null;
let endedShown = ENDED_PAGE;

const refresher = new Refresher(
  {
    readiness: () => api.readiness(),
    control: () => api.get("v1/control"),
    devices: () => api.get("v1/devices"),
    models: askModels,
    releases: askReleases,
    explanation: () => (opened === null ? null : api.get(`v1/models/${encodeURIComponent(opened)}:explain`)),
    caller: askCaller,
  },
  came,
  () => {
    show();
    actions.follow();
  },
);
const link = new Link(api, {
  changed: linkChanged,
  happened: (entry) => {
    events.add(entry);
    refresher.want(changedBy(entry.event), entry.model);
  },
  refused,
});
const actions = new Actions(api, session, () => refresher.want(["models", "releases", "control", "readiness"]));
const events = new Events(open);
const table = new ModelTable(open);
const detail = new Detail(actions, close);

/** Of the others, what was known stays until all are asked for. */
async function askModels(changed) {
  if (changed === null || seen.models === null) return api.all("v1/models?page_size=1000", "models");
  const query = changed.map((name) => `name=${encodeURIComponent(name)}`).join("&");
  const found = await api.all(`v1/models?page_size=1000&${query}`, "models");
  return [...seen.models.filter((model) => !changed.includes(model.name)), ...found];
}

async function askReleases() {
  const [active, ended] = await Promise.all([
    api.get(`v1/releases?active=true&page_size=${MOST_ACTIVE}`),
    api.get(`v1/releases?active=false&page_size=${endedShown}`),
  ]);
  byId("releases-more").hidden = ended.next_page_token === null;
  return [...active.releases, ...ended.releases];
}

async function askCaller() {
  session.caller = await api.get("v1/caller");
}

function came(topic, found, error) {
  failed.delete(topic);
  if (error === null) seen[topic] = found;
  else if (error.status === 401) refused(error);
  else if (topic === "explanation" && error.status === 404) seen.explanation = null;
  else if (!(error instanceof Unreachable)) failed.set(topic, error);
  else if (topic === "readiness") seen.readiness = null;
}

/** Answers to a token that has been replaced meanwhile do not matter. */
function refused(problem) {
  if (problem.token === session.token) askToken();
}

async function askToken() {
  refresher.stop();
  link.pause();
  askReadiness();
  if (await session.ask()) begin();
  else show();
}

/** Open to everybody, and all that there is to show without a token. */
async function askReadiness() {
  try {
    seen.readiness = await api.readiness();
    show();
  } catch {
    // Who has no token yet is told enough by the question for it.
  }
}

function forgetToken() {
  session.forget();
  askToken();
}

function begin() {
  link.connect();
}

/** Also without events everything is asked for, now and then. */
function linkChanged(state) {
  if (state.name === "paused") refresher.stop();
  else if (state.name !== "connecting") refresher.start();
  show();
}

function show() {
  document.body.toggleAttribute("data-stale", link.state.name === "lost" && seen.readiness === null);
  status.showReadiness(seen.readiness);
  status.showMode(seen.control);
  status.showLink(link.state, () => link.connect());
  status.showCaller(session, { ask: askToken, forget: forgetToken });
  const models = seen.models ?? [];
  status.showTroubles(status.troubles({ ...seen, models, failed }));
  showDevices(seen.devices, open);
  if (seen.models !== null) table.show(models);
  if (seen.releases !== null) showReleases(seen.releases, models, actions, open);
  if (opened !== null && seen.models !== null) {
    detail.show(models.find((model) => model.name === opened) ?? null, seen.explanation);
  }
}

function open(model) {
  location.hash = `model=${encodeURIComponent(model)}`;
}

function close() {
  const before = opened;
  history.replaceState(null, "", location.pathname + location.search);
  follow();
  if (before !== null) table.focus(before);
}

/** The address says which model is looked at: it can be sent to somebody. */
function follow() {
  const named = new URLSearchParams(location.hash.slice(1)).get("model");
  if (named === opened) return;
  opened = named;
  seen.explanation = null;
  detail.open(opened);
  refresher.want(["explanation"]);
  show();
}

startTheme();
byId("releases-more").addEventListener("click", () => {
  endedShown += 2 * ENDED_PAGE;
  refresher.want(["releases"]);
});
addEventListener("hashchange", follow);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) link.pause();
  else link.connect();
});
// Ages and the like go on while nothing happens.
setInterval(() => document.hidden || show(), 5_000);
begin();
follow();
