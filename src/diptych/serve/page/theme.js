/** Light or dark: as the system has it, until somebody says otherwise. */

import { recall, remember } from "./memory.js";
import { say } from "./words.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Make a button switch between light and dark. */
export function startTheme(button) {
  const show = () => {
    const chosen = recall("theme");
    if (chosen) document.documentElement.dataset.theme = chosen;
    say(button, isDark() ? "light" : "dark");
  };
  button.addEventListener("click", () => {
    remember("theme", isDark() ? "light" : "dark");
    show();
  });
  dark.addEventListener("change", show);
  show();
}

function isDark() {
  const chosen = recall("theme");
  return chosen ? chosen === "dark" : dark.matches;
}
