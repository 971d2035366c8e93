/** Memory: each device's budget as a bar, and who holds it. */

import { attribute, byId, h, keyed, rebuilding, text } from "./dom.js";
import * as format from "./format.js";
import { segments } from "./geometry.js";

/** Of the bar; what is narrower has its name in the list and in its title only. */
const NAMED_SHARE = 0.07;
const LEGEND = [
  ["held", "held by models"],
  ["leaving", "leaving"],
  ["reserved", "reserved for loads under way"],
  ["others", "others on this machine"],
  ["free", "free"],
  ["headroom", "headroom"],
];

/** @param {object|null} seen /v1/devices @param {(model: string) => void} open */
export function showDevices(seen, open) {
  if (seen === null) return;
  keyed(byId("advice"), seen.advice, String, (said) => ({ node: h("li", { class: "waits", text: said }), update: () => {} }));
  const shown = seen.devices.map((device) => ({ device, headroom: seen.headroom }));
  keyed(byId("devices"), shown, ({ device }) => device.device, () => made(open));
}

function made(open) {
  const name = h("h3");
  const said = h("p", { class: "figures" });
  const bar = h("div", { class: "bar", role: "img" });
  const legend = h("ul", { class: "legend" });
  const list = h("div");
  const summary = h("summary");
  const details = h("details", { class: "holders" }, summary, list);
  const node = h("article", { class: "card device" }, h("div", { class: "device-head" }, name, said), bar, legend, details);
  const rebuild = rebuilding(list);
  const update = ({ device, headroom }) => {
    const parts = segments(device, headroom);
    text(name, device.device);
    text(said, sentence(device));
    attribute(bar, "aria-label", parts.map((part) => `${part.label} ${format.bytes(part.bytes)}`).join(", "));
    keyed(bar, parts, (part) => `${part.kind} ${part.label}`, segment);
    keyed(legend, LEGEND.filter(([kind]) => parts.some((part) => part.kind === kind)), ([kind]) => kind, entry);
    details.hidden = device.holders.length === 0;
    text(summary, `Who holds it: ${format.counted(new Set(device.holders.map((each) => each.model)).size, "model")}`);
    if (details.open) rebuild(device.holders, () => [holders(device.holders, open)]);
  };
  let newest = null;
  details.addEventListener("toggle", () => newest !== null && update(newest));
  return {
    node,
    update: (shown) => {
      newest = shown;
      update(shown);
    },
  };
}

function sentence(device) {
  const held = device.held_bytes + device.leaving_bytes + device.reserved_bytes;
  const parts = [`${format.bytes(held)} of a budget of ${format.bytes(device.budget_bytes)}`];
  parts.push(device.free_bytes < 0 ? `${format.bytes(-device.free_bytes)} too much` : `${format.bytes(device.free_bytes)} free`);
  if (device.capacity_bytes !== null) {
    parts.push(`${format.bytes(device.capacity_bytes)} built in, others use ${format.bytes(device.foreign_bytes)}`);
  }
  return parts.join(" · ");
}

function segment(part) {
  const label = h("span");
  const node = h("div", { class: "segment", "data-kind": part.kind }, label);
  const update = (now) => {
    node.style.setProperty("--share", now.share);
    attribute(node, "title", `${now.label}: ${format.bytes(now.bytes)}`);
    text(label, now.share >= NAMED_SHARE ? now.label : "");
  };
  return { node, update };
}

function entry([kind, said]) {
  const swatch = h("span", { class: "swatch", "data-kind": kind });
  return { node: h("li", {}, swatch, said), update: () => {} };
}

function holders(all, open) {
  const rows = [...all]
    .sort((a, b) => b.bytes - a.bytes)
    .map((holder) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, h("button", { type: "button", class: "link", text: holder.model, onclick: () => open(holder.model) })),
        h("td", { text: holder.server }),
        h("td", { class: "number", text: format.bytes(holder.bytes) }),
        h("td", { text: holder.hold }),
        h("td", { text: holder.basis }),
      ),
    );
  const heads = ["model", "server", "bytes", "hold", "known by"].map((title) => h("th", { scope: "col", text: title }));
  return h("table", { class: "small" }, h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows));
}
