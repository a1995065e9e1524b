"use strict";
// The parts of the page that tell of the run: summary, failures, timeline, slowest, reasons, last runs. Not here: the list of all tests.

const CAUSES = 20;
const TESTS_OF_CAUSE = 10;
const TOP = 20;
const COUNTS = "passed failed errors skipped xfailed xpassed rerun deselected warnings".split(" ");

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
  const live = isLive() ? ", as it stood when this page was written" : "";
  $("pytest").textContent = `${number.format(view.finished)}${of} tests finished in ${lasted(view.duration_s * 1000)}${live}; `
    + `as pytest counts: ${[...counted, ...subtests].join(", ") || "nothing"}`;
  ended();
  facts();
}

const isLive = () => ["running", "detached"].includes(run.view.state);

/** Say what was in flight, who died, and what never ran: of a run that is not over, or did not end as it should. */
function ended() {
  const { view } = run;
  const live = isLive();
  const said = [];
  for (const slot of view.in_flight) {
    const on = slot.worker ? ` on ${slot.worker}` : "";
    said.push(make("li", {}, make("span", { class: "symbol", colour: "--blue", "aria-hidden": "true" }, "▶"),
      live ? " in flight: " : " was in flight: ", reference(slot.nodeid, "the session itself"),
      ` (${slot.phase || "phase not known"}, for ${lasted(slot.elapsed_s * 1000)})${on}`));
  }
  const manner = (death) => [death.signal && `by ${death.signal}`, death.exit_code !== null && `with exit code ${death.exit_code}`,
    death.out_of_memory && "because memory ran out"].filter(Boolean).join(", ");
  // Of a process that ended in order there is only what a worker left behind.
  if (view.death && (manner(view.death) || !view.workers_died)) said.push(make("li", {}, `the process ended ${manner(view.death) || "in a way that nobody told"}`));
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
  grow($("causes"), make("div"), run.causes.length, CAUSES, "groups", (k) => cause(run.causes[k], k === 0));
  return true;
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
      const told = await details;
      const result = told.results[first]?.[item.example];
      if (result) example.append(...reported(result, told));
    }
    if (item.tests.length > 1) {
      body.append(make("p", {}, `${plural(item.tests.length, "test")}:`));
      links(body, item.tests);
    }
  };
  box.addEventListener("toggle", fill);
  if (open) box.open = true;
  return box;
}

/** Append links to tests. */
function links(box, places) {
  grow(box, make("ul"), places.length, TESTS_OF_CAUSE, "tests", (k) =>
    make("li", {}, make("a", { class: "name", href: linkTo(places[k]) }, tests.name(places[k]))));
}

/** Return a text of the details: it is kept as the numbers of its lines. */
function textOf(told, place) {
  return told.texts[place].map((line) => told.lines[line]).join("\n");
}

/** What one result tells beside its status: error and output. */
function reported(result, told) {
  const text = (name) => (name in result ? textOf(told, result[name]) : "");
  const said = [];
  const stack = text("stack");
  if (text("reason")) said.push(make("p", {}, `reason: ${text("reason")}`));
  if (stack) said.push(pre(stack, true));
  else if (text("message")) said.push(pre([text("errorType"), text("message")].filter(Boolean).join(": ")));
  if (text("location")) said.push(make("p", { class: "soft" }, `raised at ${text("location")}`));
  for (const [title, output] of result.output || []) {
    said.push(make("details", {}, make("summary", {}, textOf(told, title)), pre(textOf(told, output))));
  }
  return said;
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
  grow($("reason-list"), make("div"), run.reasons.length, CAUSES, "reasons", (k) => {
    const item = run.reasons[k];
    const box = make("details", { class: "cause" }, make("summary", {}, make("b", {}, `${number.format(item.tests.length)}×`), " ",
      standing(item.standing), `: ${item.reason || "no reason given"}`));
    const body = make("div");
    box.append(body);
    box.addEventListener("toggle", () => {
      if (!body.firstChild) links(body, item.tests);
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
