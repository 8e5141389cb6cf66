/** Places in a text as the server counts them: in code points, where JavaScript counts halves of an emoji. */

/** The text from one place to another. */
export function slice(text, start, end) {
  return Array.from(text).slice(start, end).join("");
}

/**
 * A text cut at spans: `[{text, span}]` in order, `span` null between them, nothing lost.
 *
 * A span that begins before another ended, or lies outside of the text, is left out.
 */
export function cut(text, spans) {
  const points = Array.from(text);
  const parts = [];
  let place = 0;
  const push = (end, span) => {
    if (end > place) parts.push({ text: points.slice(place, end).join(""), span });
    place = Math.max(place, end);
  };
  for (const span of [...spans].sort((one, other) => one.start - other.start || other.end - one.end)) {
    if (span.start < place || span.end > points.length || span.start >= span.end) continue;
    push(span.start, null);
    push(span.end, span);
  }
  push(points.length, null);
  return parts;
}
