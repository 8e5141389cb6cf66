/** A field in which every line is a text of its own. */

import { make } from "./dom.js";

/** The field and `texts()`: its lines that are not empty. */
export function linesField(example, rows = 7) {
  const area = make("textarea", { rows, wordPlaceholder: example });
  const texts = () => area.value.split(/\r?\n/).filter((line) => line.trim());
  return { area, texts };
}
