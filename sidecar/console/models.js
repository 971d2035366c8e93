/** The table of models. Only the rows in view are in the page, however many models there are. */

import { attribute, byId, h, keyed, svg, text } from "./dom.js";
import { TIERS, WARMTH, filtered, reordered, rhythm, sorted } from "./fleet.js";
import * as format from "./format.js";
import { bars, visible } from "./geometry.js";

const ROW_HEIGHT = 34;
const SPARK = { width: 4, height: 18 };

const COLUMNS = [
  { key: "name", title: "Model" },
  { key: "tier", title: "Tier" },
  { key: "warmth", title: "Warmth" },
  { key: "serving_version", title: "Version", kind: "number" },
  { key: "demand", title: "By hour", kind: "wide" },
  { key: "requests_per_hour", title: "Req/h", kind: "number" },
  { key: "p50_ms", title: "p50", kind: "number wide" },
  { key: "cold_starts", title: "Cold starts", kind: "number wide" },
  { key: "held_bytes", title: "Memory", kind: "number wide" },
  { key: "reason", title: "Why", kind: "wide reason" },
];

export class ModelTable {
  /** @param {(model: string) => void} open */
  constructor(open) {
    this.#open = open;
    this.#view = byId("models-view");
    this.#table = byId("models-table");
    [this.#above, this.#body, this.#below] = [gap(), h("tbody"), gap()];
    this.#table.querySelector("tbody").replaceWith(this.#above, this.#body, this.#below);
    this.#makeHead();
    this.#listen();
  }

  #open;
  #view;
  #table;
  #above;
  #body;
  #below;
  #heads = new Map();
  #models = [];
  #shown = [];
  #order = { key: "requests_per_hour", isDescending: true };
  #wanted = { text: "", tier: "", warmth: "" };
  #active = "";

  /** @param {object[]} models */
  show(models) {
    this.#models = models;
    this.#choose();
  }

  /** Give the focus back to a model's row, or to the table when the row has gone. */
  focus(model) {
    const at = this.#shown.findIndex((each) => each.name === model);
    if (at >= 0) this.#go(at);
    else byId("models").focus();
  }

  #makeHead() {
    const heads = COLUMNS.map(({ key, title, kind = "" }) => {
      const press = () => {
        this.#order = reordered(key, this.#order);
        this.#choose();
      };
      const head = h("th", { scope: "col", class: `${kind} c-${key}` }, h("button", { type: "button", onclick: press }, title));
      this.#heads.set(key, head);
      return head;
    });
    this.#table.querySelector("thead tr").replaceChildren(...heads);
  }

  #listen() {
    fill(byId("filter-tier"), TIERS);
    fill(byId("filter-warmth"), [...WARMTH].reverse());
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("filters").addEventListener("input", () => {
      this.#wanted = {
        text: byId("filter-text").value,
        tier: byId("filter-tier").value,
        warmth: byId("filter-warmth").value,
      };
      this.#view.scrollTop = 0;
      this.#choose();
    });
    this.#view.addEventListener("scroll", () => this.#draw(), { passive: true });
    this.#view.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#draw()).observe(this.#view);
  }

  #choose() {
    this.#shown = sorted(filtered(this.#models, this.#wanted), this.#order);
    for (const [key, head] of this.#heads) {
      const isSorted = key === this.#order.key;
      const direction = this.#order.isDescending ? "descending" : "ascending";
      attribute(head, "aria-sort", isSorted ? direction : "none");
    }
    text(byId("models-count"), summary(this.#shown, this.#models));
    this.#draw();
  }

  #draw() {
    const count = this.#shown.length;
    const view = { top: this.#view.scrollTop, height: this.#view.clientHeight };
    const { from, to } = visible(view, ROW_HEIGHT, count);
    const rows = this.#shown.slice(from, to).map((model, at) => ({ model, at: from + at }));
    if (!this.#shown.some((model) => model.name === this.#active)) {
      this.#active = this.#shown[0]?.name ?? "";
    }
    attribute(this.#table, "aria-rowcount", count + 1);
    const hadFocus = this.#body.contains(document.activeElement);
    this.#above.firstChild.firstChild.style.height = `${from * ROW_HEIGHT}px`;
    this.#below.firstChild.firstChild.style.height = `${(count - to) * ROW_HEIGHT}px`;
    keyed(this.#body, rows, ({ model }) => model.name, () => row(this.#open));
    for (const button of this.#body.querySelectorAll("th button")) {
      attribute(button, "tabindex", button.textContent === this.#active ? "0" : "-1");
    }
    // Scrolled out of the page, a row takes the focus along; the keys go on from here.
    if (hadFocus && document.activeElement === document.body) this.#view.focus({ preventScroll: true });
    const isOut = !rows.some(({ model }) => model.name === this.#active);
    attribute(this.#view, "tabindex", isOut ? "0" : "-1");
  }

  #key(event) {
    if (event.target.closest("thead") !== null) return;
    const page = Math.max(1, Math.floor(this.#view.clientHeight / ROW_HEIGHT) - 2);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined || this.#shown.length === 0) return;
    event.preventDefault();
    const now = this.#shown.findIndex((model) => model.name === this.#active);
    this.#go(Math.max(0, Math.min(this.#shown.length - 1, now + step)));
  }

  /** Bring a row into view, and give it the focus. */
  #go(at) {
    this.#active = this.#shown[at].name;
    const head = this.#table.tHead.offsetHeight;
    const top = at * ROW_HEIGHT;
    const most = top;
    const least = top + ROW_HEIGHT + head - this.#view.clientHeight;
    this.#view.scrollTop = Math.min(most, Math.max(least, this.#view.scrollTop));
    this.#draw();
    this.#body.querySelector('th button[tabindex="0"]')?.focus({ preventScroll: true });
  }
}

function summary(shown, all) {
  if (all.length === 0) return "no models in the store yet: `pilotlight build` makes some";
  const warmed = shown.filter((model) => model.warmth === "warmed" || model.warmth === "cpu").length;
  const of = shown.length === all.length ? format.counted(all.length, "model") : `${shown.length} of ${format.counted(all.length, "model")}`;
  const pending = shown.filter((model) => model.pending_version !== null).length;
  return `${of}, ${warmed} warm${pending === 0 ? "" : `, ${pending} with a newer version to release`}`;
}

function fill(select, values) {
  select.append(...values.map((value) => h("option", { value, text: format.words(value) })));
}

function gap() {
  return h("tbody", { "aria-hidden": "true", class: "gap" }, h("tr", {}, h("td")));
}

function row(open) {
  const name = h("button", { type: "button", class: "link", onclick: (event) => open(event.target.textContent) });
  const cells = new Map(COLUMNS.slice(1).map(({ key, kind = "" }) => [key, h("td", { class: `${kind} c-${key}` })]));
  const spark = svg("path");
  const now = svg("path", { class: "now" });
  const drawing = svg("svg", { class: "spark", role: "img", width: 24 * SPARK.width, height: SPARK.height }, spark, now);
  cells.get("demand").append(drawing);
  const tierName = h("span");
  const pin = h("span", { class: "pin" });
  const tier = h("span", { class: "tier" }, tierName, pin);
  cells.get("tier").append(tier);
  const serving = h("span");
  const pending = h("span", { class: "pending" });
  cells.get("serving_version").append(serving, pending);
  const warmth = h("span", { class: "warmth" });
  cells.get("warmth").append(warmth);
  const node = h("tr", {}, h("th", { scope: "row", class: "c-name" }, name), ...cells.values());
  const update = ({ model, at }) => {
    attribute(node, "aria-rowindex", at + 2);
    text(name, model.name);
    text(tierName, model.tier);
    text(pin, model.pin ? " · pin" : "");
    attribute(tier, "data-tier", model.tier);
    text(warmth, format.words(model.warmth));
    attribute(warmth, "data-warmth", model.warmth);
    text(serving, model.serving_version === null ? "–" : String(model.serving_version));
    const newer = model.pending_version;
    text(pending, newer === null ? "" : ` → ${newer}`);
    attribute(pending, "title", newer === null ? null : `nobody has released version ${newer}`);
    draw(drawing, spark, now, model);
    text(cells.get("requests_per_hour"), format.perHour(model.requests_per_hour));
    text(cells.get("p50_ms"), latency(model));
    attribute(cells.get("p50_ms"), "title", basis(model));
    text(cells.get("cold_starts"), coldStarts(model));
    attribute(cells.get("cold_starts"), "title", "loads of the last 24 h that a request waited for, and the newest wait");
    text(cells.get("held_bytes"), model.held_bytes === 0 ? "–" : format.bytes(model.held_bytes));
    text(cells.get("reason"), model.reason);
    attribute(cells.get("reason"), "title", model.reason);
  };
  return { node, update };
}

function draw(drawing, spark, now, model) {
  const hour = new Date().getUTCHours();
  attribute(drawing, "aria-label", rhythm(model));
  attribute(spark, "d", bars(model.requests_by_hour, SPARK, (at) => at !== hour));
  attribute(now, "d", bars(model.requests_by_hour, SPARK, (at) => at === hour));
}

/** @param {object} model @returns {string} ~ for what is not of clients' requests */
export function latency(model) {
  return `${model.p50_basis === "warm_up" ? "~" : ""}${format.milliseconds(model.p50_ms)}`;
}

/** @param {object} model @returns {string} */
export function basis(model) {
  if (model.p50_basis === null) return "nothing is known of it yet";
  return model.p50_basis === "gateway" ? "of clients' requests lately" : "of the quickest shape after warm-up";
}

/** @param {object} model @returns {string} how many, and the newest wait */
export function coldStarts(model) {
  if (model.last_cold_start_at === null) return "0";
  const wait = model.last_cold_start_s === null ? "loading" : format.seconds(model.last_cold_start_s);
  return `${model.cold_starts} · ${wait}`;
}
