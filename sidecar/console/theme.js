/** Dark, light, or as the system has it. */

import { attribute, byId, text } from "./dom.js";

const KEPT = "pilotlight.theme";
const NEXT = { system: "light", light: "dark", dark: "system" };

export function startTheme() {
  const button = byId("theme");
  let theme = localStorage.getItem(KEPT) ?? "system";
  const show = () => {
    attribute(document.documentElement, "data-theme", theme);
    text(button, `Theme: ${theme}`);
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme];
    localStorage.setItem(KEPT, theme);
    show();
  });
  show();
}
