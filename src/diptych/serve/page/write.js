/** Write: a text goes on piece by piece, and from any piece it can go on otherwise. */

import { postStream } from "./api.js";
import { button, field, make } from "./dom.js";
import { reader } from "./live.js";
import { modelField } from "./models.js";
import { collector } from "./pieces.js";
import { settings } from "./settings.js";
import { legend, tokenText } from "./tokens.js";
import { view } from "./view.js";
import { say } from "./words.js";
import { workplace } from "./work.js";

const ALTERNATIVES = 5;

export function writeView() {
  const model = modelField("write");
  const beginning = make("textarea", { rows: 6, wordPlaceholder: "beginningExample" });
  const manner = settings();
  const facts = make("p", { class: "note facts" });
  let begun = "";
  let pieces = [];
  const before = [];

  const text = tokenText({
    onTake(number, other) {
      remember();
      const piece = pieces[number];
      const { logprob } = piece.others.find((each) => each.text === other);
      goOn([...pieces.slice(0, number), { ...piece, text: other, logprob, isTaken: true }]);
    },
  });
  const work = workplace(text.element);

  const remember = () => before.push({ begun, pieces });
  const show = () => {
    text.before(begun);
    text.show(pieces);
    more.disabled = copy.disabled = !pieces.length;
    back.disabled = !before.length;
  };

  /** Write on from what was begun and the pieces that are kept. */
  async function goOn(kept) {
    const found = collector();
    const heard = reader();
    const since = performance.now();
    pieces = kept;
    show();
    facts.textContent = "";
    const isOver = await work.run(async (signal) => {
      const prompt = begun + joined(kept);
      const asked = { model: model.value(), prompt, logprobs: ALTERNATIVES, ...manner.values() };
      for await (const part of postStream("v1/completions", asked, signal)) {
        const choice = part.choices?.[0];
        if (!choice) continue;
        found.add(choice);
        heard.add(choice.text ?? "");
        // Work that was replaced shows nothing any more.
        if (signal.aborted) return;
        pieces = [...kept, ...found.pieces()];
        show();
      }
    });
    heard.end();
    const seconds = (performance.now() - since) / 1000;
    if (isOver) say(facts, "writtenFacts", { count: pieces.length - kept.length, seconds });
  }

  const start = () => {
    if (begun || pieces.length) remember();
    begun = beginning.value;
    goOn([]);
  };
  const more = button("goOn", () => {
    remember();
    goOn(pieces);
  });
  const back = button("back", () => {
    work.stop.click();
    ({ begun, pieces } = before.pop());
    show();
  });
  const copy = button("copy", () => navigator.clipboard.writeText(begun + joined(pieces)));
  // Only what a browser trusts may write there: this machine, or an address with https.
  copy.hidden = !navigator.clipboard;
  const colours = make("input", { type: "checkbox", checked: true, id: "colours" });
  colours.addEventListener("change", () => text.element.classList.toggle("plain", !colours.checked));
  beginning.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start();
  });
  show();

  return view({
    name: "write",
    task: "write",
    give: [
      model.element,
      field("beginning", beginning),
      manner.element,
      make("div", { class: "buttons" }, button("writeDo", start, { class: "main" }), work.stop),
    ],
    get: [
      make(
        "div",
        { class: "aside" },
        make("div", { class: "check" }, colours, make("label", { for: "colours", word: "colours" })),
        legend(),
      ),
      text.element,
      work.trouble,
      facts,
      make("div", { class: "buttons" }, more, back, copy),
    ],
  });
}

function joined(pieces) {
  return pieces.map((piece) => piece.text).join("");
}
