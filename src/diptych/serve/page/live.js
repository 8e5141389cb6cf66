/** What a screen reader hears of a text that is still being written: whole sentences, since pieces of words are noise. */

const END = /[.!?…]\s|[。！？\n]/g;

/** Say something at once. */
export function announce(text) {
  const region = document.getElementById("live");
  region.textContent = text;
}

/** A listener of one answer: `add(text)` as it comes, `end()` for what is left. */
export function reader() {
  let waiting = "";
  return {
    add(text) {
      waiting += text;
      let last = 0;
      for (const match of waiting.matchAll(END)) last = match.index + match[0].length;
      if (!last) return;
      announce(waiting.slice(0, last));
      waiting = waiting.slice(last);
    },
    end() {
      if (waiting.trim()) announce(waiting);
      waiting = "";
    },
  };
}
