/** Server-sent events out of text that comes in pieces. Pure. */

/** @typedef {{id: string|null, event: string, data: string}} Message */

export class Parser {
  #rest = "";

  /** @param {string} text @returns {Message[]} those that are complete now */
  push(text) {
    const blocks = (this.#rest + text).replaceAll("\r\n", "\n").split("\n\n");
    this.#rest = blocks.pop();
    return blocks.map(message).filter((found) => found.data !== "");
  }
}

function message(block) {
  const found = { id: null, event: "message", data: "" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const [field, value] = colon < 0 ? [line, ""] : [line.slice(0, colon), line.slice(colon + 1)];
    const said = value.startsWith(" ") ? value.slice(1) : value;
    if (field === "data") found.data += found.data === "" ? said : `\n${said}`;
    else if (field === "id" || field === "event") found[field] = said;
  }
  return found;
}
