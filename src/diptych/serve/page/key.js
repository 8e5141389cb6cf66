/** The key of a server that asks for one: kept for this tab alone, and sent to this server alone. */

import { recall, remember } from "./memory.js";

const forTab = () => sessionStorage;

/** What a request must say of the key. */
export function keyHeaders() {
  const key = recall("key", forTab);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** Make the button open the field; `onKey` is called when a key was given. Returns how to open the field when a server asks. */
export function startKey(onKey) {
  const [button, panel, field] = ["key-button", "key-panel", "key-field"].map((id) => document.getElementById(id));
  const show = (isOpen) => {
    panel.hidden = !isOpen;
    button.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) field.focus();
  };
  const use = () => {
    remember("key", field.value.trim() || null, forTab);
    field.value = "";
    show(false);
    button.focus();
    onKey();
  };
  button.addEventListener("click", () => show(panel.hidden));
  panel.addEventListener("submit", (event) => {
    event.preventDefault();
    use();
  });
  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    show(false);
    button.focus();
  });
  return () => show(true);
}
