/**
 * What else a piece might have been: a menu beside it.
 *
 * It shows while the pointer or the focus is on a piece, stays while the pointer is on the menu, and goes with Escape. Arrow down or
 * Enter goes in, arrows move, Enter or a click takes one.
 */

import { make } from "./dom.js";
import { percent, say } from "./words.js";

/** The menu inside of `frame`; `onTake(piece, text)` is called when one is taken. */
export function alternatives(frame, onTake) {
  const menu = make("div", { class: "alternatives", role: "menu", hidden: true });
  frame.append(menu);
  let owner = null;
  let leaving = 0;

  const hide = () => {
    clearTimeout(leaving);
    menu.hidden = true;
    owner?.setAttribute("aria-expanded", "false");
    owner = null;
  };
  const hideSoon = () => {
    clearTimeout(leaving);
    // Long enough to move the pointer from the piece to the menu.
    leaving = setTimeout(() => {
      if (!menu.matches(":hover") && !menu.contains(document.activeElement) && document.activeElement !== owner) hide();
    }, 200);
  };

  const item = (piece, other) =>
    make(
      "button",
      {
        type: "button",
        role: "menuitemradio",
        "aria-checked": String(other.text === piece.text),
        tabindex: "-1",
        class: "alternative",
        onclick: () => {
          hide();
          onTake(piece, other.text);
        },
      },
      make("span", { class: "what" }, visible(other.text)),
      make("span", { class: "share" }, percent(Math.exp(other.logprob))),
    );

  /** Show the menu of a piece at its element. */
  const show = (element, piece) => {
    clearTimeout(leaving);
    if (owner === element) return;
    hide();
    if (!piece.others.length) return;
    owner = element;
    element.setAttribute("aria-expanded", "true");
    say(menu, "instead", { text: visible(piece.text) }, "wordLabel");
    menu.replaceChildren(...piece.others.map((other) => item(piece, other)));
    menu.hidden = false;
    place(menu, element, frame);
  };
  const enter = () => menu.firstElementChild?.focus();

  menu.addEventListener("pointerleave", hideSoon);
  menu.addEventListener("focusout", hideSoon);
  menu.addEventListener("keydown", (event) => {
    const items = [...menu.children];
    const here = items.indexOf(document.activeElement);
    const next = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: items.length - 1 }[event.key];
    if (next !== undefined) items[(next + items.length) % items.length].focus();
    else if (event.key === "Escape" || event.key === "Tab") {
      const back = owner;
      hide();
      back?.focus();
      // Tab goes on from the piece.
      if (event.key === "Tab") return;
    } else return;
    event.preventDefault();
  });
  return { show, hide, hideSoon, enter };
}

/** A token as it can be seen: spaces and ends of lines have signs. */
export function visible(text) {
  return text.replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥");
}

/** Below the piece, within the frame. */
function place(menu, element, frame) {
  const [box, outer] = [element.getClientRects()[0], frame.getBoundingClientRect()];
  const left = Math.min(box.left - outer.left, outer.width - menu.offsetWidth);
  menu.style.left = `${Math.max(0, left)}px`;
  menu.style.top = `${box.bottom - outer.top + 4}px`;
}
