/** What the page says, in English or Chinese, and the switch between them; an element that was told a word follows the switch. */

import { chinese } from "./chinese.js";
import { english } from "./english.js";
import { recall, remember } from "./memory.js";

const TABLES = { en: english, zh: chinese };
const TAGS = { en: "en", zh: "zh-CN" };
/** Where a word goes, by the name of the property; the first is the text itself. */
const PLACES = { word: null, wordLabel: "aria-label", wordPlaceholder: "placeholder", wordTitle: "title" };

let language = "en";

/** The word for `key`, with `{name}` replaced by values. */
export function word(key, values = {}) {
  const text = TABLES[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? shown(values[name]) : all));
}

/** Write the word for `key` on an element now and whenever the language changes. */
export function say(element, key, values = {}, place = "word") {
  element.dataset[place] = key;
  element.dataset[`${place}Values`] = JSON.stringify(values);
  write(element, place);
}

/** A share as per cent, as short as it can be told apart. */
export function percent(share) {
  const digits = share > 0 && share < 0.0995 ? 1 : 0;
  return new Intl.NumberFormat(TAGS[language], { style: "percent", maximumFractionDigits: digits }).format(share);
}

/** The language of last time, else the browser's. */
export function startLanguage() {
  const wanted = recall("language") ?? (navigator.languages ?? [navigator.language])[0] ?? "en";
  setLanguage(wanted.toLowerCase().startsWith("zh") ? "zh" : "en");
}

/** The other language, from now on. */
export function switchLanguage() {
  setLanguage(language === "en" ? "zh" : "en");
  remember("language", language);
}

function setLanguage(name) {
  language = name;
  document.documentElement.lang = TAGS[name];
  for (const place of Object.keys(PLACES)) {
    const attribute = place.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    for (const element of document.querySelectorAll(`[data-${attribute}]`)) write(element, place);
  }
}

function write(element, place) {
  const text = word(element.dataset[place], JSON.parse(element.dataset[`${place}Values`] ?? "{}"));
  if (PLACES[place] === null) element.textContent = text;
  else element.setAttribute(PLACES[place], text);
}

function shown(value) {
  return typeof value === "number" ? new Intl.NumberFormat(TAGS[language], { maximumFractionDigits: 2 }).format(value) : value;
}
