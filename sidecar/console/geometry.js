/** Sizes and places of what is drawn. Pure. */

/** Holders that are drawn one by one; what is smaller is drawn together. */
const MOST_HOLDERS = 24;
const LEAST_SHARE = 0.004;

/**
 * @typedef {{kind: string, label: string, bytes: number, share: number}} Segment
 * `kind`: held, reserved, leaving, more, others, free or headroom; `share` of the bar, 0 to 1.
 */

/**
 * A device's budget as a bar, from left to right. Its whole is the budget with its headroom, or
 * what is held where that is more.
 * @param {object} device @param {number} headroom the share that the budget leaves free
 * @returns {Segment[]}
 */
export function segments(device, headroom) {
  const limit = device.budget_bytes / (1 - headroom);
  const held = device.held_bytes + device.reserved_bytes + device.leaving_bytes;
  const others = Math.max(0, device.budget_bytes - device.free_bytes - held);
  const whole = Math.max(limit, held + others) || 1;
  const found = [
    ...holders(device.holders, whole),
    { kind: "others", label: "others on this machine", bytes: others },
    { kind: "free", label: "free", bytes: Math.max(0, device.free_bytes) },
    { kind: "headroom", label: "headroom", bytes: Math.max(0, whole - Math.max(device.budget_bytes, held + others)) },
  ];
  return found
    .filter((segment) => segment.bytes > 0)
    .map((segment) => ({ ...segment, share: segment.bytes / whole }));
}

/** The largest first; loads under way behind what is held. */
function holders(all, whole) {
  const order = ["held", "leaving", "reserved"];
  const largest = [...all].filter((holder) => holder.bytes > 0).sort((a, b) => b.bytes - a.bytes);
  const isLarge = (holder, at) => at < MOST_HOLDERS && holder.bytes / whole >= LEAST_SHARE;
  const shown = largest.filter(isLarge);
  const rest = largest.filter((holder, at) => !isLarge(holder, at));
  const drawn = shown
    .sort((a, b) => order.indexOf(a.hold) - order.indexOf(b.hold) || b.bytes - a.bytes)
    .map((holder) => ({
      kind: holder.hold,
      label: holder.server === "serving" ? holder.model : `${holder.model} (${holder.server})`,
      bytes: holder.bytes,
    }));
  if (rest.length === 0) return drawn;
  const together = rest.reduce((sum, holder) => sum + holder.bytes, 0);
  return [...drawn, { kind: "more", label: `${rest.length} smaller`, bytes: together }];
}

/**
 * Bars of a sparkline as one path; what is not zero is at least a hair high.
 * @param {number[]} counts
 * @param {{width: number, height: number}} size `width` of a bar, with the gap of 1 to the next
 * @param {(at: number) => boolean} [isDrawn] leaves out bars; the others keep their heights
 * @returns {string}
 */
export function bars(counts, { width, height }, isDrawn = () => true) {
  const most = Math.max(...counts, 1);
  return counts
    .map((count, at) => {
      if (count === 0 || !isDrawn(at)) return "";
      const high = Math.max(1, Math.round((count / most) * height));
      return `M${at * width} ${height}v${-high}h${width - 1}v${high}z`;
    })
    .join("");
}

/**
 * The rows that a window onto a long list needs.
 * @param {{top: number, height: number}} view pixels @param {number} rowHeight
 * @param {number} count @param {number} beyond rows above and below, for scrolling
 * @returns {{from: number, to: number}} `to` is behind the last
 */
export function visible({ top, height }, rowHeight, count, beyond = 8) {
  const first = Math.floor(top / rowHeight) - beyond;
  const last = Math.ceil((top + height) / rowHeight) + beyond;
  const from = Math.max(0, Math.min(first, count - 1));
  return { from, to: Math.max(from, Math.min(count, last)) };
}
