/** The functions as tabs: one is in the tab order, arrows move and show, and the address remembers which. */

import { make } from "./dom.js";

/** Put `[{name, group, panel}]` into the navigation and the page; `group` is the word above several. Returns how to show the first that a model can. */
export function startTabs(navigation, page, views) {
  const list = make("div", { role: "tablist", wordLabel: "functions", class: "tablist" });
  const tabs = new Map();
  let group = null;
  let box = null;
  for (const { name, group: own, panel } of views) {
    if (own !== group) {
      group = own;
      box = make("div", { class: `group ${own}`, role: "presentation" }, make("span", { class: "group-name", "aria-hidden": "true", word: own }));
      list.append(box);
    }
    const missing = make("span", { class: "unseen", word: "unable" });
    const tab = make("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `view-${name}` }, make("span", { word: name }), missing);
    panel.id = `view-${name}`;
    panel.dataset.group = own;
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    tab.addEventListener("click", () => choose(name));
    const update = () => {
      const isAble = panel.dataset.able === "true";
      tab.classList.toggle("unable", !isAble);
      missing.hidden = isAble;
    };
    document.addEventListener("models", update);
    update();
    tabs.set(name, { tab, panel });
    box.append(tab);
    page.append(panel);
  }

  function choose(name) {
    isChosen = true;
    show(name);
    history.replaceState(null, "", `#${name}`);
  }

  function show(name) {
    for (const [each, { tab, panel }] of tabs) {
      const isShown = each === name;
      tab.setAttribute("aria-selected", String(isShown));
      tab.tabIndex = isShown ? 0 : -1;
      panel.hidden = !isShown;
    }
  }

  list.addEventListener("keydown", (event) => {
    const names = [...tabs.keys()];
    const here = names.findIndex((name) => tabs.get(name).tab === event.target);
    const next = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: names.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const name = names[(next + names.length) % names.length];
    choose(name);
    tabs.get(name).tab.focus();
  });
  navigation.append(list);

  const wanted = () => (tabs.has(location.hash.slice(1)) ? location.hash.slice(1) : null);
  let isChosen = wanted() !== null;
  addEventListener("hashchange", () => wanted() && choose(wanted()));
  show(wanted() ?? views[0].name);
  return () => {
    if (isChosen) return;
    const first = views.find(({ panel }) => panel.dataset.able === "true");
    if (first) show(first.name);
  };
}
