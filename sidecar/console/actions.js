/** Changes: asked about first, then followed to their end, and never failing in silence. */

import { attribute, h } from "./dom.js";
import { confirmed } from "./dialogs.js";
import { complain, tell } from "./notices.js";

/**
 * @typedef {object} Action
 * @property {string} label of the button
 * @property {string} what the change, as a heading: Promote m 2
 * @property {string[]} lines what follows from it
 * @property {string} path
 * @property {string} [method]
 * @property {(option: boolean) => object} [body]
 * @property {string} [option] a box to check
 * @property {boolean} [isGrave]
 */

export class Actions {
  /**
   * @param {import("./api.js").Api} api
   * @param {import("./session.js").Session} session
   * @param {() => void} changed something may be different now
   */
  constructor(api, session, changed) {
    this.#api = api;
    this.#session = session;
    this.#changed = changed;
  }

  #api;
  #session;
  #changed;
  #pending = new Map();

  /** @param {Action} action */
  async ask(action) {
    const { yes, option } = await confirmed({ ...action, title: `${action.what}?` });
    if (!yes) return;
    try {
      const body = action.body?.(option);
      const answer = await this.#api.change(action.method ?? "POST", action.path, body);
      if (answer?.location?.startsWith("/v1/operations/")) {
        this.#pending.set(answer.id, action.what);
        tell(`${action.what}: accepted`);
      } else {
        tell(`${action.what}: done`);
      }
    } catch (error) {
      complain(action.what, error);
    }
    this.#changed();
  }

  /** Look how far it is with what was accepted. */
  async follow() {
    for (const [id, what] of [...this.#pending]) {
      try {
        const operation = await this.#api.get(`v1/operations/${id}`);
        if (!operation.done || !this.#pending.delete(id)) continue;
        if (operation.error === null) tell(`${what}: done`);
        else complain(what, new Error(operation.error));
      } catch (error) {
        if (error.status === 404) this.#pending.delete(id);
      }
    }
  }

  /**
   * A button for an action that changes with what is shown; without one it is hidden.
   * @param {string} kind of looks: main, grave, quiet
   * @returns {{node: HTMLElement, update: (action: Action|null) => void}}
   */
  button(kind) {
    let shown = null;
    const node = h("button", { type: "button", class: kind, onclick: () => this.#press(shown) });
    const update = (action) => {
      shown = action;
      node.hidden = action === null;
      if (action === null) return;
      const obstacle = this.#session.obstacle;
      if (node.textContent !== action.label) node.textContent = action.label;
      attribute(node, "aria-disabled", obstacle === null ? null : "true");
      attribute(node, "title", obstacle);
      attribute(node, "aria-label", `${action.what}${obstacle === null ? "" : `: ${obstacle}`}`);
    };
    return { node, update };
  }

  #press(action) {
    const obstacle = this.#session.obstacle;
    if (obstacle === null) this.ask(action);
    else complain(action.what, new Error(obstacle));
  }
}
