/** What the browser keeps of a choice. Where it may keep nothing, a choice holds until the page is closed. */

const kept = new Map();

/** What was remembered, or null. */
export function recall(name, store = () => localStorage) {
  try {
    return store().getItem(`diptych.${name}`);
  } catch {
    return kept.get(name) ?? null;
  }
}

/** Remember a choice; null forgets it. */
export function remember(name, value, store = () => localStorage) {
  kept.set(name, value);
  try {
    if (value === null) store().removeItem(`diptych.${name}`);
    else store().setItem(`diptych.${name}`, value);
  } catch {
    // A browser that keeps nothing: `kept` has it.
  }
}
