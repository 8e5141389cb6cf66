/** Why a model said so: its words, coloured by what each did to the answer. */

import { make } from "./dom.js";
import { cut } from "./points.js";
import { percent } from "./words.js";

const STEPS = 4;

/** Show an explanation as the server gives it. */
export function explanation({ texts, answer, probability, units }) {
  const largest = Math.max(...units.map((unit) => Math.abs(unit.value)), 1e-9);
  const lines = texts.map((text, part) => {
    const parts = cut(text, units.filter((unit) => unit.part === part));
    return make("p", { class: "reading" }, ...parts.map((each) => (each.span ? wordOf(each, largest) : each.text)));
  });
  const said = make("p", { class: "note", word: ["whySays", { answer: String(answer), share: percent(probability) }] });
  const colours = make("p", { class: "legend" }, make("span", { class: "speaks for-4", word: "speaksFor" }), make("span", { class: "speaks against-4", word: "speaksAgainst" }));
  return make("div", { class: "explanation" }, said, ...lines, colours);
}

function wordOf({ text, span }, largest) {
  const step = Math.round((Math.abs(span.value) / largest) * STEPS);
  const side = span.value < 0 ? "against" : "for";
  const value = span.value.toFixed(2);
  return make("span", { class: `speaks ${side}-${step}`, title: `${span.value < 0 ? "" : "+"}${value}` }, text);
}
