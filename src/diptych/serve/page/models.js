/** Which models the server has, what each can, and the fields in which people choose one. */

import { get } from "./api.js";
import { field, make } from "./dom.js";

let loaded = [];

/** Ask the server. */
export async function refresh() {
  loaded = (await get("v1/models")).data ?? [];
  document.dispatchEvent(new CustomEvent("models"));
  return loaded;
}

/** The names of the models that can do something. */
export function able(task) {
  return loaded.filter((model) => model.can?.includes(task)).map((model) => model.id);
}

/** How a model that fills blanks spells one. */
export function blankOf(name) {
  return loaded.find((model) => model.id === name)?.blank ?? "[MASK]";
}

/** A field that chooses among the models that can do one of the `tasks`: its element, and `value()`. */
export function modelField(...tasks) {
  const select = make("select");
  const fill = () => {
    const before = select.value;
    const names = [...new Set(tasks.flatMap(able))];
    select.replaceChildren(...names.map((name) => make("option", { value: name, selected: name === before }, name)));
  };
  document.addEventListener("models", fill);
  fill();
  return { element: field("model", select), select, value: () => select.value };
}
