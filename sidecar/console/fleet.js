/** Which models are shown, and in which order. Pure. */

/** How far from answering at full speed, as the API orders it. */
export const WARMTH = ["disk", "page_cache", "cpu", "loaded", "warmed"];
export const TIERS = ["hot", "warm", "auto", "cold"];

/** Text sorts upwards at the first click, figures downwards. */
const KEYS = {
  name: { of: (model) => model.name, isText: true },
  tier: { of: (model) => TIERS.indexOf(model.tier), isText: true },
  warmth: { of: (model) => WARMTH.indexOf(model.warmth), isText: false },
  serving_version: { of: (model) => model.serving_version ?? -1, isText: false },
  demand: { of: (model) => requests(model), isText: false },
  requests_per_hour: { of: (model) => model.requests_per_hour, isText: false },
  p50_ms: { of: (model) => model.p50_ms ?? -1, isText: false },
  cold_starts: { of: (model) => model.cold_starts, isText: false },
  held_bytes: { of: (model) => model.held_bytes, isText: false },
  reason: { of: (model) => model.reason, isText: true },
};

/** @typedef {{key: string, isDescending: boolean}} Order */

/** @param {string} key @param {Order} order @returns {Order} what a click on a heading makes of it */
export function reordered(key, order) {
  if (order.key === key) return { key, isDescending: !order.isDescending };
  return { key, isDescending: !KEYS[key].isText };
}

/** @param {object[]} models @param {Order} order @returns {object[]} equal ones by name */
export function sorted(models, order) {
  const { of } = KEYS[order.key];
  const sign = order.isDescending ? -1 : 1;
  return models
    .map((model) => [of(model), model])
    .sort(([a, one], [b, other]) => {
      if (a !== b) return a < b ? -sign : sign;
      return one.name < other.name ? -1 : 1;
    })
    .map(([, model]) => model);
}

/**
 * @param {object[]} models
 * @param {{text: string, tier: string, warmth: string}} wanted "" is any; all words must be found
 * @returns {object[]}
 */
export function filtered(models, { text, tier, warmth }) {
  const sought = text.toLowerCase().split(/\s+/).filter(Boolean);
  return models.filter((model) => {
    if (tier !== "" && model.tier !== tier) return false;
    if (warmth !== "" && model.warmth !== warmth) return false;
    const said = `${model.name} ${model.reason}`.toLowerCase();
    return sought.every((word) => said.includes(word));
  });
}

/** @param {object} model @returns {number} all that were ever counted */
export function requests(model) {
  return model.requests_by_hour.reduce((sum, count) => sum + count, 0);
}

/** @param {object} model @returns {string} the hours of the day of its requests, in words */
export function rhythm(model) {
  const hours = model.requests_by_hour;
  const total = requests(model);
  if (total === 0) return "no requests yet";
  const busiest = hours.indexOf(Math.max(...hours));
  const next = (busiest + 1) % 24;
  return `${total.toLocaleString("en")} requests, most between ${busiest}:00 and ${next}:00 UTC`;
}
