/** A text with its spans marked: a colour for each label, and its name beside it, so that nothing rests on colour alone. */

import { make } from "./dom.js";
import { cut } from "./points.js";

/** How many colours there are; the ninth label looks like the first. */
const COLOURS = 8;

/** Colours in the order in which labels are met. */
export function palette() {
  const labels = new Map();
  return (label) => {
    if (!labels.has(label)) labels.set(label, labels.size % COLOURS);
    return `label-${labels.get(label)}`;
  };
}

/** A text as a paragraph in which `[{start, end, label}]`, in code points, are marked. */
export function marked(text, spans, colourOf) {
  const parts = cut(text, spans).map(({ text: part, span }) =>
    span ? make("mark", { class: `span ${colourOf(span.label)}` }, part, make("span", { class: "name" }, span.label)) : part,
  );
  return make("p", { class: "reading" }, ...parts);
}
