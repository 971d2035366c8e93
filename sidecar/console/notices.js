/** What came of what people asked for. Good news goes by itself; trouble stays until dismissed. */

import { Problem } from "./api.js";
import { byId, h } from "./dom.js";

const SHOWN_MS = 8_000;

/** @param {string} said */
export function tell(said) {
  const notice = shown("notice good", "status", [h("p", { text: said })]);
  setTimeout(() => notice.remove(), SHOWN_MS);
}

/** @param {string} what was wanted @param {Error} error */
export function complain(what, error) {
  const isTold = error instanceof Problem;
  const lines = [h("p", { class: "notice-title", text: `${what}: ${isTold ? error.title : error.message}` })];
  if (isTold) lines.push(h("p", { text: error.detail }));
  if (isTold && error.requestId !== null) {
    lines.push(h("p", { class: "note", text: `request ${error.requestId}` }));
  }
  shown("notice bad", "alert", lines);
}

function shown(kind, role, lines) {
  const notice = h("div", { class: kind, role }, h("div", {}, ...lines));
  notice.append(
    h("button", {
      type: "button",
      class: "quiet close",
      "aria-label": "Dismiss",
      text: "✕",
      onclick: () => notice.remove(),
    }),
  );
  byId("notices").append(notice);
  return notice;
}
