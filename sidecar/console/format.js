/** Figures as people read them. Pure: no DOM, no clock. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const NOTHING = "–";

/** @param {number} value @returns {string} three digits that count: 0.123, 12.3, 1230 */
export function short(value) {
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(3, digits));
}

/** @param {number} bytes @returns {string} 1.5 GiB */
export function bytes(bytes) {
  let unit = 0;
  let value = bytes;
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : short(value)} ${UNITS[unit]}`;
}

/** @param {number|null} ms @returns {string} 1.23 ms, 4.5 s */
export function milliseconds(ms) {
  if (ms === null) return NOTHING;
  return ms < 1000 ? `${short(ms)} ms` : seconds(ms / 1000);
}

/** @param {number|null} seconds @returns {string} 40 ms, 4.5 s, 3 min, 2 h, 5 d */
export function seconds(seconds) {
  if (seconds === null) return NOTHING;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${short(seconds)} s`;
  return span(seconds);
}

/** @param {number} seconds @returns {string} whole units: 12 s, 3 min, 2 h, 5 d */
export function span(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** @param {string|null} at RFC 3339 @param {number} now milliseconds @returns {string} */
export function ago(at, now) {
  if (at === null) return "never";
  const passed = (now - Date.parse(at)) / 1000;
  return passed < 1 ? "now" : `${span(passed)} ago`;
}

/** @param {number} rate requests per hour @returns {string} */
export function perHour(rate) {
  if (rate < 0.05) return "0";
  return rate < 1000 ? short(rate) : Math.round(rate).toLocaleString("en");
}

/** @param {string|number|Date} at @returns {string} 14:03:21, local time */
export function clock(at) {
  return new Date(at).toLocaleTimeString("en-GB");
}

/** @param {string} name @returns {string} snake_case as words */
export function words(name) {
  return name.replaceAll("_", " ");
}

/** @param {string} name of a figure @returns {string} as words, without the unit that its value has */
export function label(name) {
  return words(name.replace(/_(ms|s|bytes)$/, ""));
}

/** @param {number} count @param {string} one @param {string} [many] @returns {string} 2 models */
export function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** @param {number|null} share @returns {string} 12 % */
export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

/**
 * A figure whose unit is in its name.
 * @param {string} name base_median_ms, held_bytes, slower_share
 * @param {number|null} value null: infinite
 * @returns {string}
 */
export function figure(name, value) {
  if (value === null) return "∞";
  if (name.endsWith("_ms")) return milliseconds(value);
  if (name.endsWith("_bytes")) return bytes(value);
  if (name.endsWith("_s")) return seconds(value);
  return Number.isInteger(value) ? value.toLocaleString("en") : Number(value.toPrecision(3)).toString();
}
