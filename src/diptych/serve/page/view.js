/** The frame that all views have: what it is for, what to load where nothing can, and two leaves: what is given, what comes back. */

import { make } from "./dom.js";
import { able } from "./models.js";

/** How a model is made that can do something, and served: commands are the same in every language. */
const COMMANDS = {
  write: "diptych pretrain notes/ --minutes 10 --out my-gpt\ndiptych serve my-gpt",
  chat: "diptych finetune talks.jsonl --task chat --base my-gpt --out my-assistant\ndiptych serve my-assistant",
  translate: 'diptych finetune "train.{en,de}" --base transformer-mini --out my-translator\ndiptych serve my-translator',
  summarize: "diptych finetune articles.csv --task seq2seq --base transformer-mini --out my-summarizer\ndiptych serve my-summarizer",
  fill: "diptych pretrain notes/ --base bert-mini --minutes 10 --out my-bert\ndiptych serve my-bert",
  classify: "diptych finetune tickets.csv --base minilm --out my-classifier\ndiptych serve my-classifier",
  tag: "diptych finetune train.conll --task tagging --base my-bert --out my-tagger\ndiptych serve my-tagger",
  answer: "diptych finetune questions.json --base my-bert --out my-answers\ndiptych serve my-answers",
  embed: "diptych serve minilm",
};

/**
 * Make the panel of a view.
 *
 * `name` is its word, `task` what a model must be able to do. `give` and `get` are the contents of the two leaves,
 * `wide` stands above both, `look` is a class of its own. Returns the element; its attribute `data-able` says whether a model can.
 */
export function view({ name, task, give, get, wide = null, look = "" }) {
  const needs = make(
    "div",
    { class: "needs" },
    make("p", { word: `${task}Needs` }),
    make("p", { class: "note", word: "loadOne" }),
    make("pre", { tabindex: "0", role: "group", wordLabel: "commands" }, make("code", {}, COMMANDS[task])),
  );
  const leaves = make(
    "div",
    { class: "work" },
    ...(wide ? [wide] : []),
    make("div", { class: "diptych" }, make("div", { class: "leaf" }, ...give), make("div", { class: "leaf" }, ...get)),
  );
  const heading = make("div", { class: "opening" }, make("h2", { word: name }), make("p", { class: "note", word: `${name}Hint` }));
  const element = make("section", { class: `view ${look}` }, heading, needs, leaves);
  const update = () => {
    const isAble = able(task).length > 0;
    element.dataset.able = String(isAble);
    needs.hidden = isAble;
    leaves.hidden = !isAble;
  };
  document.addEventListener("models", update);
  update();
  return element;
}
