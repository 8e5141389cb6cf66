/** Classify: the class of each text, how sure the model is, and on request why. */

import { post } from "./api.js";
import { bars } from "./bars.js";
import { button, field, make } from "./dom.js";
import { explanation } from "./explain.js";
import { linesField } from "./lines.js";
import { able, modelField } from "./models.js";
import { view } from "./view.js";
import { workplace } from "./work.js";

/** Of many classes so many are shown. */
const SHOWN = 5;

export function classifyView() {
  const model = modelField("classify");
  const { area, texts } = linesField("classifyExample");
  const result = make("div", { class: "result" });
  const work = workplace(result);

  const ask = () =>
    work.run(async (signal) => {
      const asked = texts();
      const name = model.value();
      const { answers } = await post("classify", { model: name, texts: asked }, signal);
      result.replaceChildren(...answers.map((answer, place) => row(name, asked[place], answer)));
    });

  function row(name, text, answer) {
    const scores = Object.entries(answer.scores).sort(([, one], [, other]) => other - one);
    const best = scores.slice(0, SHOWN).map(([label, share]) => ({ name: label, share }));
    const why = make("div", { class: "why" });
    const { run, stop, trouble } = workplace(why);
    const explain = button("why", () =>
      run(async (signal) => {
        why.replaceChildren(explanation(await post("explain", { model: name, text }, signal)));
        explain.hidden = true;
      }),
    );
    explain.hidden = !able("explain").includes(name);
    return make(
      "article",
      { class: "answer" },
      make("p", { class: "reading" }, text),
      // A model that grades has a number and no classes.
      answer.grade === undefined ? bars(best) : make("p", { class: "verdict" }, answer.grade.toFixed(2)),
      make("div", { class: "buttons" }, explain, stop),
      trouble,
      why,
    );
  }

  return view({
    name: "classify",
    task: "classify",
    give: [
      model.element,
      field("texts", area),
      make("div", { class: "buttons" }, button("classifyDo", ask, { class: "main" }), work.stop),
    ],
    get: [work.trouble, result],
  });
}
