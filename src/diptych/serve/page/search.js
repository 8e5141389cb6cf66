/** Search by meaning: lines become vectors once and stay in this page; a question is compared with all of them here. */

import { post } from "./api.js";
import { bars } from "./bars.js";
import { cosine } from "./cosine.js";
import { button, field, make } from "./dom.js";
import { linesField } from "./lines.js";
import { announce } from "./live.js";
import { modelField } from "./models.js";
import { view } from "./view.js";
import { say, word } from "./words.js";
import { workplace } from "./work.js";

/** Texts of one request. */
const BATCH = 32;
const SHOWN = 20;

export function searchView() {
  const model = modelField("embed");
  const { area, texts } = linesField("linesExample", 9);
  const query = make("input", { type: "search", wordPlaceholder: "queryExample" });
  const result = make("div", { class: "result" });
  const progress = make("p", { class: "note" });
  const work = workplace(result);
  /** Vectors by model and text. */
  const known = new Map();

  async function read(name, wanted, signal) {
    const missing = [...new Set(wanted)].filter((text) => !known.has(`${name}\n${text}`));
    for (let start = 0; start < missing.length; start += BATCH) {
      say(progress, "reading", { done: start, all: missing.length });
      const batch = missing.slice(start, start + BATCH);
      const { data } = await post("v1/embeddings", { model: name, input: batch }, signal);
      for (const { index, embedding } of data) known.set(`${name}\n${batch[index]}`, embedding);
    }
    progress.textContent = "";
    return wanted.map((text) => known.get(`${name}\n${text}`));
  }

  const ask = () =>
    work.run(async (signal) => {
      const lines = texts();
      const asked = query.value.trim();
      if (!asked || !lines.length) return;
      const [wanted, ...vectors] = await read(model.value(), [asked, ...lines], signal);
      const ranked = lines.map((name, place) => {
        const share = cosine(wanted, vectors[place]);
        return { name, share, shown: share.toFixed(2) };
      });
      ranked.sort((one, other) => other.share - one.share);
      result.replaceChildren(bars(ranked.slice(0, SHOWN)));
      announce(word("nearest", { text: ranked[0].name }));
    });
  query.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing) ask();
  });

  return view({
    name: "search",
    task: "embed",
    look: "long",
    give: [
      model.element,
      field("lines", area),
      field("query", query),
      make("div", { class: "buttons" }, button("searchDo", ask, { class: "main" }), work.stop),
    ],
    get: [work.trouble, progress, result],
  });
}
