/** The page: its switches, its views, and the first question to the server. */

import { answerView } from "./answer.js";
import { chatView } from "./chat.js";
import { classifyView } from "./classify.js";
import { compareView } from "./compare.js";
import { fillView } from "./fill.js";
import { startKey } from "./key.js";
import { refresh } from "./models.js";
import { rewriteView } from "./rewrite.js";
import { searchView } from "./search.js";
import { startTabs } from "./tabs.js";
import { tagView } from "./tag.js";
import { startTheme } from "./theme.js";
import { complain } from "./work.js";
import { say, startLanguage, switchLanguage } from "./words.js";
import { writeView } from "./write.js";

const [loaded, trouble, main] = ["loaded", "trouble", "main"].map((id) => document.getElementById(id));

startLanguage();
startTheme(document.getElementById("theme"));
say(document.getElementById("language"), "otherLanguage");
document.getElementById("language").addEventListener("click", switchLanguage);

const toFirstAble = startTabs(document.getElementById("tabs"), main, [
  { name: "write", group: "writes", panel: writeView() },
  { name: "chat", group: "writes", panel: chatView() },
  { name: "translate", group: "writes", panel: rewriteView("translate") },
  { name: "summarize", group: "writes", panel: rewriteView("summarize") },
  { name: "compare", group: "writes", panel: compareView() },
  { name: "fill", group: "understands", panel: fillView() },
  { name: "classify", group: "understands", panel: classifyView() },
  { name: "tag", group: "understands", panel: tagView() },
  { name: "answer", group: "understands", panel: answerView() },
  { name: "search", group: "understands", panel: searchView() },
]);

async function meet() {
  trouble.replaceChildren();
  say(loaded, "asking");
  try {
    const models = await refresh();
    say(loaded, "loaded", { count: models.length });
    toFirstAble();
  } catch (error) {
    say(loaded, "nobody");
    complain(trouble, error);
  }
}

const openKey = startKey(meet);
document.addEventListener("keywanted", openKey);
meet();
