/** How a text is written: the fields, and what a request says of them. An empty field is the server's choice. */

import { field, make } from "./dom.js";

const FIELDS = [
  { name: "max_tokens", label: "maxTokens", value: 128, min: 1, step: 1 },
  { name: "temperature", label: "temperature", value: 0.8, min: 0, step: 0.1 },
  { name: "top_p", label: "topP", value: 0.95, min: 0, max: 1, step: 0.05 },
  { name: "seed", label: "seed", value: "", min: 0, step: 1 },
];

/** The fields, folded, and `values()`: what a request takes. */
export function settings(given = {}, isOpen = false) {
  const inputs = new Map();
  const rows = FIELDS.map(({ name, label, ...rest }) => {
    const { value, ...limits } = { ...rest, ...(name in given ? { value: given[name] } : {}) };
    const input = make("input", { type: "number", inputmode: "decimal", value: String(value), ...limits });
    inputs.set(name, input);
    return field(label, input);
  });
  const element = make(
    "details",
    { class: "settings", open: isOpen },
    make("summary", { word: "settings" }),
    make("div", { class: "grid" }, ...rows),
    make("p", { class: "note", word: "settingsNote" }),
  );
  const values = () => {
    const found = [...inputs].filter(([, { value }]) => value !== "").map(([name, { value }]) => [name, Number(value)]);
    return { seed: anySeed(), ...Object.fromEntries(found) };
  };
  return { element, values };
}

/** So that asking again gives another text where nobody asked for the same one. */
function anySeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
}
