/** Answer: the stretch of a text that answers a question, shown in its place. */

import { post } from "./api.js";
import { button, field, make } from "./dom.js";
import { modelField } from "./models.js";
import { cut } from "./points.js";
import { view } from "./view.js";
import { percent } from "./words.js";
import { workplace } from "./work.js";

export function answerView() {
  const model = modelField("answer");
  const context = make("textarea", { rows: 8, wordPlaceholder: "contextExample" });
  const question = make("input", { type: "text", wordPlaceholder: "questionExample" });
  const result = make("div", { class: "result" });
  const work = workplace(result);

  const ask = () =>
    work.run(async (signal) => {
      const text = context.value;
      const found = await post("answer", { model: model.value(), question: question.value, context: text }, signal);
      const share = percent(found.probability);
      const isThere = Boolean(found.text) && found.end > found.start;
      const said = isThere ? make("p", { class: "verdict" }, found.text) : make("p", { class: "verdict", word: "noAnswer" });
      const parts = cut(text, isThere ? [found] : []).map((part) => (part.span ? make("mark", { class: "filled" }, part.text) : part.text));
      result.replaceChildren(said, make("p", { class: "note", word: ["sure", { share }] }), make("p", { class: "reading" }, ...parts));
    });
  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing) ask();
  });

  return view({
    name: "answer",
    task: "answer",
    give: [
      model.element,
      field("context", context),
      field("question", question),
      make("div", { class: "buttons" }, button("answerDo", ask, { class: "main" }), work.stop),
    ],
    get: [work.trouble, result],
  });
}
