/** Elements of the page. Text goes in as text and never as markup: nothing that a person or a model wrote can make an element. */

import { say } from "./words.js";

/**
 * Make an element.
 *
 * Properties are attributes, but for `on…` (a listener), and `word`, `wordLabel`, `wordPlaceholder`: keys of words.js, or
 * [key, values], which follow the language when it is switched.
 */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.startsWith("word")) say(element, ...[value, {}].flat().slice(0, 2), key);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

let number = 0;

/** A name that no other element has. */
export function unique(stem) {
  number += 1;
  return `${stem}-${number}`;
}

/** A labelled field: `field("text", textarea)`; the label is a key of words.js. */
export function field(label, control, ...more) {
  control.id ||= unique("field");
  return make("div", { class: "field" }, make("label", { for: control.id, word: label }), control, ...more);
}

/** A button with a word on it. */
export function button(label, onclick, properties = {}) {
  return make("button", { type: "button", word: label, onclick, ...properties });
}
