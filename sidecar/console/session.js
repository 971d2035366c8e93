/** The token of this tab, and who it makes of the person before it. */

import { askedToken } from "./dialogs.js";

const KEPT = "pilotlight.token";

export class Session {
  /** @type {{name: string, role: string}|null} */
  caller = null;
  #asking = null;

  get token() {
    return sessionStorage.getItem(KEPT);
  }

  /** Why changes are not for this caller; null when they are. @returns {string|null} */
  get obstacle() {
    if (this.caller === null) return "not known yet who you are: give a token";
    if (this.caller.role === "operator") return null;
    return `${this.caller.name} is a ${this.caller.role}; this needs an operator's token`;
  }

  /** One question however many requests were refused. @returns {Promise<boolean>} */
  async ask() {
    const wrong = this.token === null ? "" : "The sidecar does not know this token.";
    this.forget();
    this.#asking ??= askedToken(wrong);
    const given = await this.#asking;
    this.#asking = null;
    if (given !== null) sessionStorage.setItem(KEPT, given);
    return given !== null;
  }

  forget() {
    sessionStorage.removeItem(KEPT);
    this.caller = null;
  }
}
