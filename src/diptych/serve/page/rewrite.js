/** Translate and summarize: one text from another. */

import { post } from "./api.js";
import { button, field, make } from "./dom.js";
import { announce } from "./live.js";
import { modelField } from "./models.js";
import { view } from "./view.js";
import { workplace } from "./work.js";

/** The view of `task`, "translate" or "summarize", which is also the address. */
export function rewriteView(task) {
  const model = modelField(task);
  const text = make("textarea", { rows: 9, wordPlaceholder: `${task}Example` });
  const result = make("p", { class: "result reading" });
  const work = workplace(result);

  const ask = () =>
    work.run(async (signal) => {
      result.textContent = "";
      const { text: written } = await post(task, { model: model.value(), text: text.value }, signal);
      result.textContent = written;
      announce(written);
    });

  return view({
    name: task,
    task,
    give: [model.element, field("text", text), make("div", { class: "buttons" }, button(`${task}Do`, ask, { class: "main" }), work.stop)],
    get: [work.trouble, result],
  });
}
