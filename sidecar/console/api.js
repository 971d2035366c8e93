/** The REST API: requests with the token, and what is wrong as a `Problem`. */

/** The API's own words (RFC 9457): shown to people as they are. */
export class Problem extends Error {
  /**
   * @param {{title: string, detail: string, status: number, code: string, request_id?: string}} said
   * @param {string|null} token with which was asked
   */
  constructor(said, token) {
    super(said.detail);
    this.token = token;
    this.title = said.title;
    this.detail = said.detail;
    this.status = said.status;
    this.code = said.code;
    this.requestId = said.request_id ?? null;
  }
}

/** Nobody answered. */
export class Unreachable extends Error {}

/** Several times what a look at a large fleet takes. */
const TIMEOUT_MS = 15_000;
/** `:ensure` answers when the model does, after a minute at most. */
const CHANGE_TIMEOUT_MS = 70_000;

export class Api {
  /** @param {() => string|null} token */
  constructor(token) {
    this.#token = token;
  }

  #token;

  /** @param {string} path such as v1/models @returns {Promise<object>} */
  async get(path) {
    return (await this.#ask("GET", path)).json();
  }

  /** Also what is not ready is an answer. @returns {Promise<object>} */
  async readiness() {
    return (await this.#ask("GET", "readyz?verbose=1", { expected: [503] })).json();
  }

  /** All pages of a list. @param {string} path with a query @param {string} name of the list in it */
  async all(path, name) {
    const found = [];
    let token = null;
    do {
      const next = token === null ? "" : `&page_token=${encodeURIComponent(token)}`;
      const page = await this.get(`${path}${next}`);
      found.push(...page[name]);
      token = page.next_page_token;
    } while (token !== null);
    return found;
  }

  /**
   * Ask for a change. The key makes a repetition by the network harmless.
   * @returns {Promise<object|null>} null where the API has nothing to say
   */
  async change(method, path, body) {
    const headers = { "Idempotency-Key": key() };
    const signal = AbortSignal.timeout(CHANGE_TIMEOUT_MS);
    const answer = await this.#ask(method, path, { headers, body, signal });
    return answer.status === 204 ? null : answer.json();
  }

  /** @returns {Promise<Response>} whose body is read as it comes, for as long as it comes */
  stream(path, headers, signal) {
    return this.#ask("GET", path, { headers, signal });
  }

  /** @param {{headers?: object, body?: object, expected?: number[], signal?: AbortSignal}} given */
  async #ask(method, path, { headers = {}, body, expected = [], signal = AbortSignal.timeout(TIMEOUT_MS) } = {}) {
    const token = this.#token();
    const sent = { Accept: "application/json", ...headers };
    if (token !== null) sent.Authorization = `Bearer ${token}`;
    if (body !== undefined) sent["Content-Type"] = "application/json";
    const answer = await answered(path, { method, headers: sent, body: JSON.stringify(body), signal, cache: "no-store" });
    if (!answer.ok && !expected.includes(answer.status)) throw await problemOf(answer, token);
    return answer;
  }
}

async function answered(path, request) {
  try {
    return await fetch(path, request);
  } catch (error) {
    const why = error.name === "TimeoutError" ? "no answer in time" : "the sidecar does not answer";
    throw new Unreachable(why, { cause: error });
  }
}

async function problemOf(answer, token) {
  try {
    return new Problem(await answer.json(), token);
  } catch {
    // A proxy in between has words of its own, which are no problem of ours.
    const detail = "something between this page and the sidecar has answered; look at its log";
    const said = { title: `HTTP ${answer.status}`, detail, status: answer.status, code: "not_ours" };
    return new Problem(said, token);
  }
}

/** `crypto.randomUUID` is only there over HTTPS and on localhost. */
function key() {
  const parts = crypto.getRandomValues(new Uint32Array(4));
  return Array.from(parts, (part) => part.toString(16).padStart(8, "0")).join("");
}
