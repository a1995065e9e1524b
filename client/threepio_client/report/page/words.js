"use strict";
// How things are said and shown: words, symbols, times, elements. Text is only ever inserted as text.

// Symbol, word and colour of every standing.
const STANDINGS = {
  PASS: ["✓", "passed", "--green"], FAIL: ["✗", "failed", "--red"], ERROR: ["!", "error", "--red"], IN_FLIGHT: ["▶", "in flight", "--blue"],
  NEVER_RAN: ["○", "never ran", "--amber"], XPASS: ["⊕", "xpassed", "--violet"], RERUN: ["↻", "rerun", "--amber"],
  SKIP: ["–", "skipped", "--grey"], XFAIL: ["×", "xfailed", "--grey"],
};
const STATES = {
  passed: ["✓", "--green"], failed: ["✗", "--red"], crashed: ["✗", "--red"], interrupted: ["■", "--red"], incomplete: ["…", "--red"],
  running: ["▶", "--blue"], detached: ["▶", "--blue"],
};

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");

/** Make an element; of its attributes, `colour` is a variable of the style, and `width` is style too. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "colour") element.style.setProperty("--colour", `var(${value})`);
    else if (name === "width") element.style.width = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function lasted(ms) {
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 100) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${ms.toFixed(0)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(2)} s`;
  const seconds = Math.round(ms / 1000);
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const plural = (count, word) => `${number.format(count)} ${word}${count === 1 ? "" : "s"}`;
const when = (seconds) => (seconds ? new Date(seconds * 1000).toLocaleString() : "not known");
const standingOf = (name) => STANDINGS[name] || ["?", name, "--red"];
const stateOf = (name) => STATES[name] || ["?", "--red"];

function standing(name) {
  const [symbol, word, colour] = standingOf(name);
  return make("span", { class: "standing" }, make("span", { class: "symbol", colour, "aria-hidden": "true" }, symbol), ` ${word}`);
}

/** A text as it is; of a traceback the line that failed and what pytest says to it stand out. */
function pre(text, isTraceback = false) {
  const box = make("pre", { tabindex: "0" });
  if (!isTraceback) {
    box.textContent = text;
    return box;
  }
  for (const line of text.split("\n")) {
    const name = /^E(\s|$)/.test(line) ? "said" : /^>\s/.test(line) ? "at" : "";
    box.append(name ? make("span", { class: name }, line) : line, "\n");
  }
  return box;
}

/** A table; heads that begin with # are of numbers. */
function table(heads, lines) {
  const kind = (k) => (heads[k].startsWith("#") ? { class: "number" } : {});
  const cell = (value, k) => (value instanceof Element && value.tagName === "TD" ? value : make(k ? "td" : "th", k ? kind(k) : { scope: "row" }, value));
  return make("table", {},
    make("thead", {}, make("tr", {}, ...heads.map((head, k) => make("th", { scope: "col", ...kind(k) }, head.replace("#", ""))))),
    make("tbody", {}, ...lines.map((line) => make("tr", {}, ...line.map(cell)))));
}

/** Append a list to a box, and elements to the list by some at a time, with a button for more below it. */
function grow(box, list, count, step, word, element) {
  let shown = 0;
  const button = make("button", { type: "button" });
  const more = () => {
    const until = Math.min(shown + step, count);
    const fresh = [];
    for (; shown < until; shown++) fresh.push(element(shown));
    list.append(...fresh);
    button.textContent = `Show more: ${number.format(count - shown)} ${word} left`;
    button.hidden = shown === count;
    return fresh[0];
  };
  more();
  box.append(list, button);
  button.addEventListener("click", () => more().querySelector("a, summary").focus());
}
