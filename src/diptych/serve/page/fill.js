/** Fill in the blank: what may stand where, and the text with what was chosen. */

import { post } from "./api.js";
import { bars } from "./bars.js";
import { button, field, make } from "./dom.js";
import { blankOf, modelField } from "./models.js";
import { view } from "./view.js";
import { workplace } from "./work.js";

/** [MASK] and <mask> are how models spell it, a run of underscores is how people do. */
const BLANK = /\[MASK\]|<mask>|_{2,}/i;
const TOP = 8;

export function fillView() {
  const model = modelField("fill");
  const text = make("textarea", { rows: 5, wordPlaceholder: "fillExample" });
  const result = make("div", { class: "result" });
  const work = workplace(result);

  const insert = button("insertBlank", () => {
    text.setRangeText(blankOf(model.value()), text.selectionStart, text.selectionEnd, "end");
    text.focus();
  });
  const ask = () =>
    work.run(async (signal) => {
      const name = model.value();
      // However a person spells a blank, the model gets its own.
      const between = text.value.split(BLANK);
      const { blanks } = await post("fill", { model: name, text: between.join(blankOf(name)), top: TOP }, signal);
      show(between, blanks);
    });

  /** The text between the blanks, and above the choices the text as it would read. */
  function show(between, blanks) {
    const chosen = blanks.map(({ choices }) => make("mark", { class: "filled" }, choices[0]?.text ?? ""));
    const reading = make("p", { class: "reading" }, between[0], ...chosen.flatMap((mark, place) => [mark, between[place + 1] ?? ""]));
    const lists = blanks.map(({ choices }, place) => {
      const list = bars(
        choices.map((choice) => ({ name: choice.text, share: choice.probability })),
        (name) => (chosen[place].textContent = name),
      );
      list.querySelector("button")?.setAttribute("aria-pressed", "true");
      return make("div", {}, make("h3", { word: ["blank", { number: place + 1 }] }), list);
    });
    result.replaceChildren(reading, ...lists);
  }

  return view({
    name: "fill",
    task: "fill",
    give: [
      model.element,
      field("text", text),
      make("div", { class: "buttons" }, button("fillDo", ask, { class: "main" }), insert, work.stop),
    ],
    get: [work.trouble, result],
  });
}
