"use strict";
// All tests: the list, what is looked for in it, and one test by itself.

const ROWS = 100;

function list() {
  const search = $("search");
  if (search.value !== state.q) search.value = state.q;
  $("sort").value = state.sort;
  for (const button of $("only").children) button.setAttribute("aria-pressed", String(state.show.has(button.dataset.standing)));
  found = tests.search(state.q, state.show, state.sort === "slow");
  rows = 0;
  $("list").replaceChildren();
  moreRows();
  const all = plural(tests.count - tests.files, "test") + (tests.files ? ` and ${plural(tests.files, "whole file")}` : "");
  $("found").textContent = found.length === tests.count ? all : `${number.format(found.length)} of ${all}`;
}

function moreRows() {
  const words = wordsOf(state.q);
  const fresh = document.createDocumentFragment();
  const until = Math.min(rows + ROWS, found.length);
  for (; rows < until; rows++) fresh.append(make("li", {}, testRow(found[rows], words, rows === 0)));
  $("list").append(fresh);
  $("more").hidden = rows === found.length;
  $("more").textContent = `Show more: ${number.format(found.length - rows)} left`;
}

function testRow(i, words, isFirst) {
  const on = tests.workers[tests.worker[i]];
  const again = tests.attempts[i] ? `, ${tests.attempts[i]} attempts` : "";
  return make("a", { href: linkTo(i), tabindex: isFirst ? "0" : "-1" }, standing(nameOf(i)), marked(tests.name(i), words),
    make("span", { class: "time" }, ran(i) ? `${lasted(tests.duration[i])}${on ? ` ${on}` : ""}${again}` : ""));
}

/** A name in which the words that were looked for are marked. */
function marked(name, words) {
  const box = make("span", { class: "name" });
  const folded = fold(name);
  let at = 0;
  while (words.length) {
    let next = -1;
    let length = 0;
    for (const word of words) {
      const place = folded.indexOf(word, at);
      if (place >= 0 && (next < 0 || place < next || (place === next && word.length > length))) [next, length] = [place, word.length];
    }
    if (next < 0) break;
    box.append(name.slice(at, next), make("mark", {}, name.slice(next, next + length)));
    at = next + length;
  }
  box.append(name.slice(at));
  return box;
}

/** Move the focus in the list by so many rows; of its links one can be reached by Tab. */
function step(by) {
  const links = [...$("list").querySelectorAll("a")];
  const now = links.indexOf(document.activeElement);
  const next = Math.min(Math.max(now < 0 ? 0 : now + by, 0), links.length - 1);
  if (next === links.length - 1 && !$("more").hidden && now === next) {
    moreRows();
    step(by);
    return;
  }
  for (const link of links) link.tabIndex = -1;
  if (links[next]) {
    links[next].tabIndex = 0;
    links[next].focus();
  }
}

// ---- one test

async function showTest() {
  const dialog = $("test");
  const i = state.test ? tests.find(state.test) : -1;
  if (i < 0) {
    if (dialog.open) dialog.close();
    if (state.test) $("found").textContent = `This page has no test named ${state.test}`;
    return;
  }
  const shown = state.test;
  $("test-name").textContent = shown;
  const body = $("test-body");
  const on = tests.workers[tests.worker[i]];
  const began = Number.isNaN(tests.start[i]) ? "" : `, began ${tests.start[i].toFixed(3)} s after the run`;
  body.replaceChildren(make("p", {}, standing(nameOf(i)),
    ran(i) ? ` after ${lasted(tests.duration[i])}${on ? ` on ${on}` : ""}${began}${tests.attempts[i] ? `, ${tests.attempts[i]} attempts` : ""}` : ""));
  const place = found.indexOf(i);
  $("before").disabled = place <= 0;
  $("after").disabled = place < 0 || place === found.length - 1;
  if (!dialog.open) {
    dialog.showModal();
    $("close").focus(); // no autofocus: a browser complains of it where the address has a fragment
  }
  dialog.scrollTop = 0;
  const told = await details;
  const text = (place) => textOf(told, place);
  if (state.test !== shown) return;
  for (const result of told.results[i] || []) {
    const about = [`${standingOf(text(result.status))[1]} in ${text(result.phase)} after ${lasted(result.ms)}`];
    if ("attempt" in result) about.push(`attempt ${text(result.attempt)}`);
    if ("subtest" in result) about.push(`subtest ${text(result.subtest)}`);
    const message = "message" in result ? text(result.message).trim().split("\n", 1)[0] : "";
    body.append(make("div", { class: "result" }, make("h3", {}, about.join(", ")), message ? make("p", { class: "said" }, message) : null,
      ...reported(result, told)));
  }
  if (!told.results[i]) body.append(make("p", { class: "soft" }, ran(i) ? "Nothing else was reported of it." : "It was collected and not begun."));
  if (told.cut) body.append(make("p", { class: "soft" }, "Some texts of this run are cut here; threepio show has them whole."));
}

function neighbour(by) {
  const place = found.indexOf(tests.find(state.test));
  const next = found[place + by];
  if (place >= 0 && next !== undefined) {
    state.test = tests.name(next);
    history.replaceState(null, "", address({}));
    showTest();
  }
}
