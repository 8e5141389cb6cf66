/** Names with their shares, as bars; where `onChoose` is given, each is a button. */

import { make } from "./dom.js";
import { percent } from "./words.js";

/** A list of `[{name, share, shown}]`, in the order given; `shown` is the share as text. */
export function bars(entries, onChoose = null) {
  const rows = entries.map(({ name, share, shown = percent(share) }) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    // Not an attribute: the policy of the page forbids styles in markup.
    bar.style.setProperty("--share", String(Math.max(0, Math.min(1, share))));
    const content = [make("span", { class: "what" }, name), bar, make("span", { class: "share" }, shown)];
    if (!onChoose) return make("li", {}, ...content);
    const choose = () => {
      for (const each of list.querySelectorAll("button")) each.setAttribute("aria-pressed", String(each === button));
      onChoose(name);
    };
    const button = make("button", { type: "button", "aria-pressed": "false", onclick: choose }, ...content);
    return make("li", {}, button);
  });
  const list = make("ul", { class: "bars" }, ...rows);
  return list;
}
