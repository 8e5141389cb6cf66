/** A text in which every piece shows how probable it was, and can be replaced by what it might have been. */

import { alternatives, visible } from "./alternatives.js";
import { make } from "./dom.js";
import { percent, say } from "./words.js";

/** The warmth of a piece, 0 to 5: at least this probable, or less than all of them. */
const LIMITS = [0.8, 0.5, 0.25, 0.1, 0.02];

/**
 * Make the text. Its parts: `element`, `before(text)` (what it goes on from), `show(pieces)`, `clear()`.
 *
 * Arrows move between pieces, one of which is in the tab order. `onTake(number, text)` is called when a person takes another
 * piece in the place of piece `number`; without it, pieces only show.
 */
export function tokenText({ onTake = null } = {}) {
  const given = make("span", { class: "given" });
  const body = make("span", { class: "pieces", role: "group", wordLabel: "pieces" });
  const element = make("div", { class: "written" }, given, body);
  const menu = alternatives(element, (piece, text) => onTake?.(shown.indexOf(piece), text));
  let shown = [];

  const numberOf = (target) => [...body.children].indexOf(target.closest(".piece"));
  const move = (number) => {
    const next = body.children[number];
    if (!next) return;
    for (const each of body.children) each.tabIndex = each === next ? 0 : -1;
    next.focus();
  };
  body.addEventListener("focusin", ({ target }) => menu.show(target, shown[numberOf(target)]));
  body.addEventListener("focusout", menu.hideSoon);
  body.addEventListener("pointerover", ({ target }) => target.closest(".piece") && menu.show(target.closest(".piece"), shown[numberOf(target)]));
  body.addEventListener("pointerleave", menu.hideSoon);
  const open = ({ target }) => {
    if (!target.closest(".piece")) return;
    move(numberOf(target));
    menu.show(target.closest(".piece"), shown[numberOf(target)]);
    menu.enter();
  };
  body.addEventListener("click", open);
  body.addEventListener("keydown", (event) => {
    const here = numberOf(event.target);
    if (event.key === "Enter" || event.key === " ") open(event);
    else if (event.key === "ArrowRight") move(here + 1);
    else if (event.key === "ArrowLeft") move(here - 1);
    else if (event.key === "Home") move(0);
    else if (event.key === "End") move(shown.length - 1);
    else if (event.key === "ArrowDown") menu.enter();
    else if (event.key === "Escape") menu.hide();
    else return;
    event.preventDefault();
  });

  const elementOf = (piece, number) => {
    const warmth = piece.logprob === null ? "" : ` warm-${warmthOf(Math.exp(piece.logprob))}`;
    const taken = piece.isTaken ? " taken" : "";
    // No <button>: a browser sets it as a block of its own, and a text must break within its pieces.
    const properties = { role: "button", class: `piece${warmth}${taken}`, tabindex: number ? "-1" : "0", "aria-haspopup": onTake && "menu" };
    const made = make("span", properties, piece.text);
    const values = { text: visible(piece.text), share: piece.logprob === null ? "–" : percent(Math.exp(piece.logprob)) };
    say(made, piece.isTaken ? "pieceTaken" : "piece", values, "wordLabel");
    return made;
  };

  return {
    element,
    before(text) {
      given.textContent = text;
    },
    /** Show pieces; those that were shown already, as the same objects or of the same text, stay as they are. */
    show(pieces) {
      let same = 0;
      while (same < shown.length && same < pieces.length && isSame(shown[same], pieces[same])) same += 1;
      if (same < shown.length) menu.hide();
      while (body.children.length > same) body.lastElementChild.remove();
      body.append(...pieces.slice(same).map((piece, place) => elementOf(piece, same + place)));
      shown = [...shown.slice(0, same), ...pieces.slice(same)];
    },
    clear() {
      menu.hide();
      body.replaceChildren();
      shown = [];
    },
  };
}

function isSame(one, other) {
  return one.text === other.text && one.logprob === other.logprob && one.isTaken === other.isTaken;
}

function warmthOf(share) {
  const place = LIMITS.findIndex((limit) => share >= limit);
  return place < 0 ? LIMITS.length : place;
}

/** What the colours mean. */
export function legend() {
  const steps = [0, 1, 2, 3, 4, 5].map((step) => make("span", { class: `swatch warm-${step}` }));
  return make("p", { class: "legend" }, make("span", { word: "likely" }), ...steps, make("span", { word: "unlikely" }));
}
