/** One piece of work at a time in a view: it can be stopped, and what went wrong is said where it was asked for. */

import { ServerError } from "./api.js";
import { button, make } from "./dom.js";
import { announce } from "./live.js";
import { word } from "./words.js";

/**
 * Work whose result shows in `output`.
 *
 * Its parts: `run(work)`, where `work(signal)` is awaited; `stop` (a button that shows while it works); `trouble` (an element).
 * Work that is started while other work goes on takes its place. `run` answers whether it came to its end.
 */
export function workplace(output) {
  let current = null;
  const stop = button("stop", () => current?.abort(), { class: "stop", hidden: true });
  const trouble = make("div", { class: "trouble", role: "alert" });

  const run = async (work) => {
    current?.abort();
    const own = new AbortController();
    current = own;
    stop.hidden = false;
    trouble.replaceChildren();
    output.setAttribute("aria-busy", "true");
    try {
      await work(own.signal);
      return true;
    } catch (error) {
      if (error.name !== "AbortError") complain(trouble, error);
      else if (current === own) announce(word("stopped"));
      return false;
    } finally {
      if (current === own) {
        current = null;
        stop.hidden = true;
        output.removeAttribute("aria-busy");
      }
    }
  };
  return { run, stop, trouble };
}

/** Say what went wrong, in the server's words where they are its. */
export function complain(place, error) {
  place.replaceChildren(make("p", {}, error.message));
  if (!(error instanceof ServerError)) console.error(error);
  if (error.status === 401) document.dispatchEvent(new CustomEvent("keywanted"));
}
