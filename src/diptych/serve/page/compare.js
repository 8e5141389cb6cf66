/** Compare: the same beginning, written on by two models, or by one in two manners. */

import { postStream } from "./api.js";
import { button, field, make } from "./dom.js";
import { modelField } from "./models.js";
import { collector } from "./pieces.js";
import { settings } from "./settings.js";
import { legend, tokenText } from "./tokens.js";
import { view } from "./view.js";
import { say } from "./words.js";
import { workplace } from "./work.js";

export function compareView() {
  const beginning = make("textarea", { rows: 3, wordPlaceholder: "beginningExample" });
  // Greedy beside drawn: with a single model there is something to see at once.
  const sides = [side("first", { temperature: 0, seed: 0 }), side("second", { temperature: 0.8, seed: 0 })];
  const ask = () => sides.forEach((each) => each.write(beginning.value));
  beginning.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
  });
  const top = make(
    "div",
    { class: "top" },
    field("beginning", beginning),
    make("div", { class: "buttons" }, button("compareDo", ask, { class: "main" })),
    legend(),
  );
  return view({ name: "compare", task: "write", wide: top, look: "even", give: sides[0].parts, get: sides[1].parts });
}

function side(name, given) {
  const model = modelField("write");
  const manner = settings({ max_tokens: 64, ...given }, true);
  const text = tokenText();
  const facts = make("p", { class: "note facts" });
  const work = workplace(text.element);

  const write = async (beginning) => {
    const found = collector();
    const since = performance.now();
    text.clear();
    text.before(beginning);
    facts.textContent = "";
    const asked = { model: model.value(), prompt: beginning, logprobs: 1, ...manner.values() };
    await work.run(async (signal) => {
      for await (const part of postStream("v1/completions", asked, signal)) {
        if (!part.choices?.[0] || signal.aborted) continue;
        found.add(part.choices[0]);
        text.show(found.pieces());
      }
    });
    const pieces = found.pieces().filter((piece) => piece.logprob !== null);
    const nats = pieces.reduce((sum, piece) => sum - piece.logprob, 0) / Math.max(1, pieces.length);
    say(facts, "comparedFacts", { count: pieces.length, seconds: (performance.now() - since) / 1000, nats });
  };
  const parts = [make("h3", { word: name }), model.element, manner.element, text.element, work.trouble, facts, work.stop];
  return { parts, write };
}
