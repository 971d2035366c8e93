/** Questions that wait for an answer. */

import { attribute, byId, h, text } from "./dom.js";

/**
 * @param {{title: string, lines: string[], label: string, isGrave?: boolean, option?: string}} question
 * @returns {Promise<{yes: boolean, option: boolean}>} `option` is the box's, unchecked at first
 */
export async function confirmed({ title, lines, label, isGrave = false, option = "" }) {
  text(byId("confirm-title"), title);
  byId("confirm-text").replaceChildren(...lines.map((line) => h("p", { text: line })));
  const box = byId("confirm-option");
  box.hidden = option === "";
  text(box.querySelector("span"), option);
  box.querySelector("input").checked = false;
  text(byId("confirm-yes"), label);
  attribute(byId("confirm-yes"), "class", isGrave ? "grave" : "main");
  const answer = await answered(byId("confirm"));
  return { yes: answer === "yes", option: box.querySelector("input").checked };
}

/** @param {string} wrong what was the matter with the last one @returns {Promise<string|null>} */
export async function askedToken(wrong) {
  const field = byId("token-field");
  field.value = "";
  text(byId("token-wrong"), wrong);
  byId("token-wrong").hidden = wrong === "";
  const answer = await answered(byId("token"));
  return answer === "yes" && field.value !== "" ? field.value.trim() : null;
}

/** The focus goes back to where it was by itself; Escape is a no. */
function answered(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}
