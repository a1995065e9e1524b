"use strict";
// The page: each part of it from the data, and what keys and the address do. Text is only ever inserted as text.

const ROWS = 100;
const CAUSES = 20;
const TESTS_OF_CAUSE = 20;
const TOP = 20;
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
const COUNTS = "passed failed errors skipped xfailed xpassed rerun deselected warnings".split(" ");

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
let run;
let tests;
let timeline;
let details; // a promise: tracebacks and output, decoded when they are first wanted
let state = { q: "", show: new Set(), sort: "", test: "" };
let found = new Uint32Array();
let rows = 0;

/** Make an element; of its attributes `on` are listeners and `colour` a variable of the style. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    else if (name === "colour") element.style.setProperty("--colour", `var(${value})`);
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

const nameOf = (i) => tests.standings[tests.standing[i]];
const ran = (i) => nameOf(i) !== "NEVER_RAN";

// ---- the address

function address(changes) {
  const next = { ...state, ...changes };
  const parts = new URLSearchParams();
  if (next.q) parts.set("q", next.q);
  if (next.show.size) parts.set("show", [...next.show].join(","));
  if (next.sort) parts.set("sort", next.sort);
  if (next.test) parts.set("test", next.test);
  return `#${parts}`;
}

function readAddress() {
  const text = location.hash.slice(1);
  if (!text.includes("=") && text) return; // a part of the page
  const parts = new URLSearchParams(text);
  const show = (parts.get("show") || "").split(",").filter((name) => tests.standings.includes(name));
  state = { q: parts.get("q") || "", show: new Set(show), sort: parts.get("sort") === "slow" ? "slow" : "", test: parts.get("test") || "" };
}

/** Change what is looked for, without another entry in the browser's history. */
function look(changes) {
  Object.assign(state, changes);
  history.replaceState(null, "", address({}));
  list();
}

function go(changes) {
  const next = address(changes);
  if (next !== location.hash) location.hash = next;
}

const linkTo = (i) => address({ test: tests.name(i) });

// ---- summary

function summary() {
  const { view } = run;
  const numbers = tests.standings.map(() => 0);
  for (const place of tests.standing) numbers[place]++;
  tests.standings.forEach((name, place) => {
    if (!numbers[place]) return;
    const [symbol, word, colour] = standingOf(name);
    const share = make("span", { colour });
    share.style.flexGrow = numbers[place];
    $("share").append(share);
    const parts = [make("span", { class: "symbol", colour, "aria-hidden": "true" }, symbol), make("b", {}, number.format(numbers[place])), word];
    $("counts").append(make("li", {}, toTests(name, ...parts)));
    const only = make("button", { type: "button", "aria-pressed": "false", "data-standing": name },
      make("span", { class: "symbol", colour, "aria-hidden": "true" }, symbol), ` ${word} ${number.format(numbers[place])}`);
    only.addEventListener("click", () => {
      const show = new Set(state.show);
      if (!show.delete(name)) show.add(name);
      look({ show });
    });
    $("only").append(only);
  });
  const counted = COUNTS.filter((name) => view.counts[name]).map((name) => `${number.format(view.counts[name])} ${name.replace("_", " ")}`);
  const subtests = ["passed", "failed", "skipped", "xfailed", "xpassed"].filter((name) => view.counts[`subtests_${name}`])
    .map((name) => `${number.format(view.counts[`subtests_${name}`])} subtests ${name}`);
  const of = view.collected === null ? "" : ` of ${number.format(view.collected)}`;
  $("pytest").textContent = `${number.format(view.finished)}${of} tests finished in ${lasted(view.duration_s * 1000)}; `
    + `as pytest counts: ${[...counted, ...subtests].join(", ") || "nothing"}`;
  ended();
  facts();
}

/** Say what was in flight, who died, and what never ran: of a run that is not over, or did not end as it should. */
function ended() {
  const { view } = run;
  const live = view.state === "running" || view.state === "detached";
  const said = [];
  for (const slot of view.in_flight) {
    const on = slot.worker ? ` on ${slot.worker}` : "";
    said.push(make("li", {}, make("span", { class: "symbol", colour: "--blue", "aria-hidden": "true" }, "▶"),
      live ? " in flight: " : " was in flight: ", reference(slot.nodeid, "the session itself"),
      ` (${slot.phase || "phase not known"}, for ${lasted(slot.elapsed_s * 1000)})${on}`));
  }
  const manner = (death) => [death.signal && `by ${death.signal}`, death.exit_code !== null && `with exit code ${death.exit_code}`,
    death.out_of_memory && "because memory ran out"].filter(Boolean).join(", ");
  if (view.death) said.push(make("li", {}, `the process ended ${manner(view.death) || "in a way that nobody told"}`));
  for (const death of view.worker_deaths) {
    said.push(make("li", {}, `worker ${death.worker} died ${manner(death)} at `, reference(death.nodeid, "nothing that is known"),
      death.phase ? ` (${death.phase})` : ""));
  }
  if (view.workers_died > view.worker_deaths.length) said.push(make("li", {}, `${plural(view.workers_died, "worker")} died`));
  const without = (name) => tests.standing.filter((place) => tests.standings[place] === name).length;
  const named = without("NEVER_RAN");
  const unnamed = Math.max(view.never_ran - named - without("IN_FLIGHT"), 0);
  if (!live && (named || unnamed)) {
    const symbol = make("span", { class: "symbol", colour: "--amber", "aria-hidden": "true" }, "○");
    said.push(make("li", {}, symbol, " never ran: ", named ? toTests("NEVER_RAN", plural(named, "test")) : "",
      unnamed ? `${named ? " and " : ""}${plural(unnamed, "test")} that nobody can name` : ""));
  }
  const { lost, unreadable, conflicts, torn_bytes: torn } = view.events;
  if (lost || unreadable || conflicts) {
    said.push(make("li", {}, `not all is here: of the events, ${lost} lost, ${unreadable} unreadable, ${conflicts} in conflict`));
  }
  if (torn) said.push(make("li", {}, `the journal ends in ${plural(torn, "byte")} of a line that was not finished`));
  if (view.death?.trace) said.push(make("li", {}, "its own last words:", pre(view.death.trace.replaceAll("\\n", "\n"))));
  if (!said.length) return;
  const title = live ? "When this page was written" : view.state === "crashed" ? "How it died" : "How it ended";
  $("ended").append(make("div", { class: live ? "alarm live" : "alarm" }, make("h3", {}, title), make("ul", {}, ...said)));
}

/** A link to all tests of a standing. */
function toTests(name, ...parts) {
  const link = make("a", { href: `#show=${encodeURIComponent(name)}` }, ...parts);
  link.addEventListener("click", () => requestAnimationFrame(() => $("tests").scrollIntoView()));
  return link;
}

/** A link to a test by its name, or the name alone where it is no test. */
function reference(name, instead) {
  if (!name) return instead;
  const i = tests.find(name);
  return i < 0 ? make("code", {}, name) : make("a", { class: "name", href: linkTo(i) }, name);
}

function facts() {
  const { view } = run;
  const { branch, commit, dirty, changed_during_run: changed } = view.git;
  const git = [branch && `branch ${branch}`, commit && `commit ${commit}`, dirty && "with changes", changed && "changed during the run"];
  const rows = {
    run: view.run_id, started: when(view.started), lasted: lasted(view.duration_s * 1000),
    "exit code": view.exit_code === null ? "not known" : view.exit_code, rootdir: view.rootdir, arguments: view.argv.join(" "),
    checkout: git.filter(Boolean).join(", "), "rerun of": view.rerun_of, "started by a test of": view.parent_run_id,
    CI: view.ci && Object.values(view.ci).join(" "), flaky: view.flaky ? `${plural(view.flaky, "test")} passed only after another attempt` : "",
  };
  for (const [name, value] of Object.entries(rows)) {
    if (value === null || value === undefined || value === "") continue;
    $("facts").append(make("dt", {}, name), make("dd", {}, String(value)));
  }
  $("made").textContent = "Times are in your time zone. The page holds all of its data and asks no network.";
}

// ---- failures

function failures() {
  if (!run.causes.length) return false;
  const box = $("causes");
  grow(box, run.causes.length, CAUSES, "groups", (k) => cause(run.causes[k], k === 0));
  return true;
}

/** Append elements by some at a time, with a button for more. */
function grow(box, count, step, word, element) {
  let shown = 0;
  const button = make("button", { type: "button" });
  const more = () => {
    const until = Math.min(shown + step, count);
    const fresh = [];
    for (; shown < until; shown++) fresh.push(element(shown));
    button.before(...fresh);
    button.textContent = `Show more: ${number.format(count - shown)} ${word} left`;
    button.hidden = shown === count;
    return fresh[0];
  };
  box.append(button);
  more();
  button.addEventListener("click", () => more()?.querySelector("a, summary")?.focus());
}

function cause(item, open) {
  const type = item.type && item.message && !item.message.startsWith("assert ") ? `${item.type}: ` : item.message ? "" : item.type;
  const head = make("summary", {}, make("span", { class: "count" }, `${number.format(item.count)}×`), ` ${type}${item.message || "no message"}`,
    make("span", { class: "place" }, item.place ? ` at ${item.place}` : "", ` [${item.name}]`));
  const body = make("div");
  const box = make("details", { class: "cause" }, head, body);
  const fill = async () => {
    if (body.firstChild) return;
    const [first] = item.tests;
    body.append(make("p", {}, item.count === 1 ? "in " : "first in ", item.phase === "call" ? "" : `${item.phase} of `,
      first === undefined ? "a test that is not here" : make("a", { class: "name", href: linkTo(first) }, tests.name(first))));
    if (first !== undefined) {
      const example = make("div");
      body.append(example);
      const { results, texts } = await details;
      const result = results[first]?.[item.example];
      if (result) example.append(...reported(result, texts));
    }
    if (item.tests.length > 1) {
      const others = make("ul");
      body.append(make("p", {}, `${plural(item.tests.length, "test")}:`), others);
      grow(others, item.tests.length, TESTS_OF_CAUSE, "tests", (k) =>
        make("li", {}, make("a", { class: "name", href: linkTo(item.tests[k]) }, tests.name(item.tests[k]))));
    }
  };
  box.addEventListener("toggle", fill);
  if (open) box.open = true;
  return box;
}

/** What one result tells beside its status: error and output. */
function reported(result, texts) {
  const text = (name) => (name in result ? texts[result[name]] : "");
  const said = [];
  const stack = text("stack");
  if (text("reason")) said.push(make("p", {}, `reason: ${text("reason")}`));
  if (stack) said.push(pre(stack, true));
  else if (text("message")) said.push(pre([text("errorType"), text("message")].filter(Boolean).join(": ")));
  if (text("location")) said.push(make("p", { class: "soft" }, `raised at ${text("location")}`));
  for (const [title, output] of result.output || []) {
    said.push(make("details", {}, make("summary", {}, texts[title]), pre(texts[output])));
  }
  return said;
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

// ---- timeline

function times() {
  const { view } = run;
  const isCrash = view.state === "crashed";
  timeline = new Timeline($("lanes"), tests, {
    length: view.duration_s,
    crash: isCrash ? "crashed" : view.state === "interrupted" ? "interrupted" : "",
    deaths: view.worker_deaths.map((death) => ({ worker: death.worker, test: death.nodeid ? tests.find(death.nodeid) : -1 })),
    describe(i, more) {
      const [symbol, word] = standingOf(nameOf(i));
      const on = tests.workers[tests.worker[i]];
      $("pointed").textContent = `${symbol} ${word}${on ? ` on ${on}` : ""}, at ${tests.start[i].toFixed(3)} s for ${lasted(tests.duration[i])}`
        + `${more ? ` (and ${plural(more, "test")} beside it)` : ""}: ${tests.name(i)}`;
    },
    open: (i) => go({ test: tests.name(i) }),
  });
  if (!timeline.lanes.length) return false;
  $("zoom-in").addEventListener("click", () => timeline.scale(4));
  $("zoom-out").addEventListener("click", () => timeline.scale(1 / 4));
  $("zoom-all").addEventListener("click", () => timeline.move(timeline.begin, 1));
  const there = new Set(tests.standing);
  tests.standings.forEach((name, place) => {
    if (!there.has(place) || !BARS[name]) return;
    const [, share, colour] = BARS[name];
    const key = make("i", { colour });
    key.style.height = `${0.9 * share}em`;
    $("legend").append(make("span", {}, key, standingOf(name)[1]));
  });
  $("workers").append(table(["worker", "#tests", "#busy", "#share of the run", "#first began", "#last ended"], timeline.lanes.map((lane) => {
    let busy = 0;
    let end = 0;
    for (const i of lane.tests) {
      busy += tests.duration[i];
      end = Math.max(end, timeline.end(i));
    }
    const share = view.duration_s ? busy / view.duration_s / 10 : 0;
    return [lane.name, number.format(lane.tests.length), lasted(busy), `${share.toFixed(0)} %`, `${tests.start[lane.tests[0]].toFixed(3)} s`, `${end.toFixed(3)} s`];
  })));
  return true;
}

/** A table; heads that begin with # are of numbers. */
function table(heads, lines) {
  const kind = (k) => (heads[k].startsWith("#") ? { class: "number" } : {});
  const cell = (value, k) => (value instanceof Element && value.tagName === "TD" ? value : make(k ? "td" : "th", k ? kind(k) : { scope: "row" }, value));
  return make("table", {},
    make("thead", {}, make("tr", {}, ...heads.map((head, k) => make("th", { scope: "col", ...kind(k) }, head.replace("#", ""))))),
    make("tbody", {}, ...lines.map((line) => make("tr", {}, ...line.map(cell)))));
}

// ---- slowest

function slow() {
  const files = new Map();
  const top = [];
  let line = "";
  let file = "";
  for (let i = 0; i < tests.count; i++) {
    if (!ran(i)) continue;
    const ms = tests.duration[i];
    // Names of one file mostly follow one another.
    if (!line || !tests.names.startsWith(line, tests.lines[i])) {
      file = tests.file(i);
      line = `${file}::`;
    }
    const sum = files.get(file);
    if (sum) {
      sum.ms += ms;
      sum.tests++;
    } else {
      files.set(file, { ms, tests: 1 });
    }
    if (top.length < TOP || ms > tests.duration[top[top.length - 1]]) {
      let at = top.length;
      while (at > 0 && tests.duration[top[at - 1]] < ms) at--;
      top.splice(at, 0, i);
      if (top.length > TOP) top.pop();
    }
  }
  if (!top.length) return false;
  const row = (ms, most, ...about) => make("li", {}, make("span", { class: "time" }, lasted(ms)), make("span", {}, ...about),
    make("span", { class: "meter", width: `${most ? (100 * ms) / most : 0}%` }));
  const most = tests.duration[top[0]];
  $("slow-tests").append(...top.map((i) => row(tests.duration[i], most, make("a", { class: "name", href: linkTo(i) }, tests.name(i)))));
  const slowest = [...files].sort((a, b) => b[1].ms - a[1].ms).slice(0, TOP);
  $("slow-files").append(...slowest.map(([name, sum]) => row(sum.ms, slowest[0][1].ms,
    make("a", { class: "name", href: `#${new URLSearchParams({ q: name })}` }, name), make("span", { class: "soft" }, plural(sum.tests, "test")))));
  return true;
}

// ---- reasons

function reasons() {
  if (!run.reasons.length) return false;
  grow($("reason-list"), run.reasons.length, CAUSES, "reasons", (k) => {
    const item = run.reasons[k];
    const box = make("details", { class: "cause" }, make("summary", {}, make("b", {}, `${number.format(item.tests.length)}×`), " ",
      standing(item.standing), `: ${item.reason || "no reason given"}`));
    const body = make("div");
    box.append(body);
    box.addEventListener("toggle", () => {
      if (body.firstChild) return;
      const listed = make("ul");
      body.append(listed);
      grow(listed, item.tests.length, TESTS_OF_CAUSE, "tests", (n) =>
        make("li", {}, make("a", { class: "name", href: linkTo(item.tests[n]) }, tests.name(item.tests[n]))));
    });
    return box;
  });
  return true;
}

// ---- last runs

function lastRuns() {
  if (!run.history.length) return false;
  const all = [run.view, ...run.history];
  const most = Math.max(...all.map((row) => row.duration_s));
  const made = table(["run", "began", "state", "#lasted", "", "#passed", "#failed", "#errors", "#skipped", "#collected"], all.map((row, k) => {
    const [symbol, colour] = stateOf(row.state);
    return [
      k ? row.run_id : `${row.run_id} (this one)`, when(row.started),
      make("td", {}, make("span", { class: "symbol", colour, "aria-hidden": "true" }, symbol), ` ${row.state}`),
      lasted(row.duration_s * 1000),
      make("td", { class: "meter" }, make("span", { colour, width: `${most ? (100 * row.duration_s) / most : 0}%` })),
      ...["passed", "failed", "errors", "skipped"].map((name) => number.format(row.counts[name])),
      row.collected === null ? "?" : number.format(row.collected),
    ];
  }));
  made.tBodies[0].rows[0].className = "this";
  made.tHead.rows[0].cells[4].append(make("span", { class: "unseen" }, "duration as a bar"));
  $("runs").append(made);
  return true;
}

// ---- all tests

function list() {
  const search = $("search");
  if (search.value !== state.q) search.value = state.q;
  $("sort").value = state.sort;
  for (const button of $("only").children) button.setAttribute("aria-pressed", String(state.show.has(button.dataset.standing)));
  const began = performance.now();
  found = tests.search(state.q, state.show, state.sort === "slow");
  rows = 0;
  $("list").replaceChildren();
  moreRows();
  document.documentElement.dataset.searched = (performance.now() - began).toFixed(1);
  $("found").textContent = found.length === tests.count ? plural(tests.count, "test")
    : `${number.format(found.length)} of ${plural(tests.count, "test")}`;
}

function moreRows() {
  const words = fold(state.q).split(/\s+/).filter(Boolean);
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
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  const { results, texts, cut } = await details;
  if (state.test !== shown) return;
  for (const result of results[i] || []) {
    const about = [`${standingOf(texts[result.status])[1]} in ${texts[result.phase]} after ${lasted(result.ms)}`];
    if ("attempt" in result) about.push(`attempt ${texts[result.attempt]}`);
    if ("subtest" in result) about.push(`subtest ${texts[result.subtest]}`);
    const message = "message" in result ? texts[result.message].trim().split("\n", 1)[0] : "";
    body.append(make("div", { class: "result" }, make("h3", {}, about.join(", ")), message ? make("p", { class: "said" }, message) : null,
      ...reported(result, texts)));
  }
  if (!results[i]) body.append(make("p", { class: "soft" }, ran(i) ? "Nothing else was reported of it." : "It was collected and not begun."));
  if (cut) body.append(make("p", { class: "soft" }, "Some texts of this run are cut here; threepio show has them whole."));
}

function neighbour(by) {
  const next = found[found.indexOf(tests.find(state.test)) + by];
  if (next !== undefined) {
    state.test = tests.name(next);
    history.replaceState(null, "", address({}));
    showTest();
  }
}

// ---- keys, colours, start

function keys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { target } = event;
    const writes = target.matches("input, select, textarea");
    const by = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if ($("test").open) {
      if (event.key === "j" || event.key === "k") neighbour(by);
    } else if (event.key === "/" && !writes) {
      event.preventDefault();
      $("search").focus();
      $("tests").scrollIntoView();
    } else if (event.key === "Escape" && target === $("search")) {
      event.preventDefault();
      look({ q: "" });
    } else if (event.key === "ArrowDown" && target === $("search")) {
      event.preventDefault();
      step(0);
    } else if (by && !writes && target !== $("lanes") && (event.key.length === 1 || $("list").contains(target))) {
      event.preventDefault();
      step(by);
    }
  });
  $("search").addEventListener("input", () => look({ q: $("search").value }));
  $("find").addEventListener("submit", (event) => {
    event.preventDefault();
    step(0);
  });
  $("sort").addEventListener("change", () => look({ sort: $("sort").value }));
  $("more").addEventListener("click", () => {
    const first = rows;
    moreRows();
    $("list").children[first]?.firstChild.focus();
  });
  $("before").addEventListener("click", () => neighbour(-1));
  $("after").addEventListener("click", () => neighbour(1));
  $("close").addEventListener("click", () => $("test").close());
  $("test").addEventListener("click", (event) => {
    if (event.target === $("test") && event.offsetX < 0) $("test").close();
  });
  $("test").addEventListener("close", () => {
    if (state.test) go({ test: "" });
  });
  window.addEventListener("hashchange", () => {
    readAddress();
    list();
    showTest();
  });
}

function colours() {
  const select = $("theme");
  const use = (name) => {
    if (name) document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    timeline?.draw();
  };
  try {
    select.value = localStorage.getItem("threepio-colours") || "";
  } catch {
    // A browser may refuse a page to keep anything: then it is as the system has it.
  }
  use(select.value);
  select.addEventListener("change", () => {
    use(select.value);
    try {
      localStorage.setItem("threepio-colours", select.value);
    } catch {
      // As above: the choice holds as long as the page is open.
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => timeline?.draw());
}

async function start() {
  colours();
  const [text, names] = await Promise.all([readBlock("run"), readBlock("names")]);
  run = JSON.parse(text);
  tests = new Tests(run.columns, run.units, names);
  let later;
  details = { then: (done, failed) => (later ||= readBlock("details").then(JSON.parse)).then(done, failed) };
  readAddress();
  summary();
  $("main").hidden = false;
  const parts = { failures: failures(), timeline: times(), slow: slow(), reasons: reasons(), history: lastRuns(), tests: true };
  for (const [id, isThere] of Object.entries(parts)) {
    if (isThere) $("parts").append(make("li", {}, make("a", { href: `#${id}` }, $(id).querySelector("h2").textContent)));
    else $(id).remove();
  }
  keys();
  list();
  $("message").remove();
  if (location.hash && !location.hash.includes("=")) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  else if (state.q || state.show.size) $("tests").scrollIntoView();
  await showTest();
  document.documentElement.dataset.ready = performance.now().toFixed(0);
}

start().catch((error) => {
  const message = $("message") || make("p", { id: "message", role: "alert" });
  message.className = "bad";
  message.textContent = `The page could not be shown (${error.message}). Either the browser is too old - it needs DecompressionStream, which Chrome has `
    + "since version 80, Safari since 16.4 and Firefox since 113 - or the file is not whole: write it again with threepio report.";
  document.querySelector("header").append(message);
});
