/** Elements. Text goes in as text, never as markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} tag
 * @param {Record<string, unknown>} [given] attributes; `on…` listeners; `text`; false leaves out
 * @param {...(Node|string|null)} children
 * @returns {HTMLElement}
 */
export function h(tag, given = {}, ...children) {
  return made(document.createElement(tag), given, children);
}

/** As `h`, for what is drawn. @returns {SVGElement} */
export function svg(tag, given = {}, ...children) {
  return made(document.createElementNS(SVG, tag), given, children);
}

function made(node, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else attribute(node, name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Write only what differs: an untouched node keeps focus, selection and screen reader quiet. */
export function attribute(node, name, value) {
  if (value === false || value === null || value === undefined) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value === true ? "" : value)) {
    node.setAttribute(name, value === true ? "" : String(value));
  }
}

/** @param {Element} node @param {string} said */
export function text(node, said) {
  if (node.textContent !== said) node.textContent = said;
}

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * Makes a parent's children those of `items`, in their order. Nodes of the same key stay, and what
 * has the focus keeps it.
 * @template T
 * @param {Element} parent
 * @param {T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => {node: Element, update: (item: T) => void}} make
 */
export function keyed(parent, items, keyOf, make) {
  const known = parent.pieces ?? new Map();
  const pieces = new Map();
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  for (const item of items) {
    const key = keyOf(item);
    const piece = known.get(key) ?? make(item);
    piece.update(item);
    pieces.set(key, piece);
  }
  for (const [key, piece] of known) if (!pieces.has(key)) piece.node.remove();
  let at = parent.firstElementChild;
  for (const { node } of pieces.values()) {
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
  parent.pieces = pieces;
  if (focused !== null && focused !== document.activeElement && focused.isConnected) {
    focused.focus({ preventScroll: true });
  }
}

/** Rebuilds only when what it shows has changed. @returns {(shown: unknown, build: () => Node[]) => void} */
export function rebuilding(host) {
  let last = null;
  return (shown, build) => {
    const now = JSON.stringify(shown);
    if (now === last) return;
    last = now;
    const focused = host.contains(document.activeElement) ? document.activeElement.id : "";
    host.replaceChildren(...build());
    if (focused !== "") byId(focused)?.focus({ preventScroll: true });
  };
}
