/** Tag: names, parts of speech, whatever a model marks in a text. */

import { post } from "./api.js";
import { button, field, make } from "./dom.js";
import { linesField } from "./lines.js";
import { modelField } from "./models.js";
import { marked, palette } from "./spans.js";
import { view } from "./view.js";
import { workplace } from "./work.js";

export function tagView() {
  const model = modelField("tag");
  const { area, texts } = linesField("tagExample");
  const result = make("div", { class: "result" });
  const work = workplace(result);

  const ask = () =>
    work.run(async (signal) => {
      const asked = texts();
      const { answers } = await post("tag", { model: model.value(), texts: asked }, signal);
      const colourOf = palette();
      const rows = answers.map(({ spans }, place) => marked(asked[place], spans, colourOf));
      const count = answers.reduce((sum, { spans }) => sum + spans.length, 0);
      result.replaceChildren(...rows, make("p", { class: "note", word: ["spansFound", { count }] }));
    });

  return view({
    name: "tag",
    task: "tag",
    give: [model.element, field("texts", area), make("div", { class: "buttons" }, button("tagDo", ask, { class: "main" }), work.stop)],
    get: [work.trouble, result],
  });
}
