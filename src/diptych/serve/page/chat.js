/** Chat: turns, the answer as it is written, a way to stop it and to ask for another. */

import { postStream } from "./api.js";
import { button, field, make } from "./dom.js";
import { reader } from "./live.js";
import { modelField } from "./models.js";
import { settings } from "./settings.js";
import { view } from "./view.js";
import { workplace } from "./work.js";

export function chatView() {
  const model = modelField("chat");
  const system = make("textarea", { rows: 3, wordPlaceholder: "systemExample" });
  const manner = settings({ max_tokens: 256 });
  const log = make("ol", { class: "talk", tabindex: "0", wordLabel: "talk" });
  const said = make("textarea", { rows: 2, wordPlaceholder: "sayExample" });
  const work = workplace(log);
  let turns = [];

  const again = button("regenerate", () => {
    if (turns.at(-1)?.role === "assistant") drop(turns.at(-1));
    answer();
  });
  const anew = button("newTalk", () => {
    work.stop.click();
    turns = [];
    log.replaceChildren();
    update();
    said.focus();
  });
  const update = () => {
    again.disabled = anew.disabled = !turns.length;
  };
  const drop = (turn) => {
    turns = turns.filter((each) => each !== turn);
    turn.item.remove();
  };

  /** Show a turn: who said what, and the elements that show it. */
  function add(role, content) {
    const text = make("p", { class: "said" }, content);
    const item = make("li", { class: role }, make("p", { class: "who", word: role }), text);
    const turn = { role, content, item, text };
    log.append(item);
    turns.push(turn);
    log.scrollTop = log.scrollHeight;
    update();
    return turn;
  }

  async function answer() {
    const before = system.value.trim() ? [{ role: "system", content: system.value }] : [];
    const messages = [...before, ...turns.map(({ role, content }) => ({ role, content }))];
    const turn = add("assistant", "");
    const heard = reader();
    await work.run(async (signal) => {
      for await (const part of postStream("v1/chat/completions", { model: model.value(), messages, ...manner.values() }, signal)) {
        const grown = part.choices?.[0]?.delta?.content;
        if (!grown || signal.aborted) continue;
        turn.content += grown;
        turn.text.append(grown);
        heard.add(grown);
        log.scrollTop = log.scrollHeight;
      }
    });
    heard.end();
    // An answer of which nothing came is no turn.
    if (!turn.content) drop(turn);
    update();
  }

  function send() {
    const content = said.value.trim();
    if (!content) return;
    work.stop.click();
    add("user", content);
    said.value = "";
    answer();
  }
  said.addEventListener("keydown", (event) => {
    // Enter also ends the spelling of a Chinese word: that one sends nothing.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  update();

  return view({
    name: "chat",
    task: "chat",
    give: [model.element, field("system", system), manner.element, make("div", { class: "buttons" }, anew)],
    get: [
      log,
      work.trouble,
      field("say", said),
      make("div", { class: "buttons" }, button("send", send, { class: "main" }), work.stop, again),
    ],
  });
}
