"use strict";
// The page as a whole: what it holds, its address, its keys and colours, and how it starts.

let run;
let tests;
let timeline;
let details; // a promise: tracebacks and output, decoded when they are first wanted
let state = { q: "", show: new Set(), sort: "", test: "" };
let found = new Uint32Array();
let rows = 0;

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

/** The address of a test; followed within the page, search and filter stay. */
const linkTo = (i) => `#${new URLSearchParams({ test: tests.name(i) })}`;

function follow(event) {
  const link = event.target.closest("a[href^='#test=']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go({ test: new URLSearchParams(link.hash.slice(1)).get("test") });
}

/** Scroll to a part of the page at once: on a smooth way it would miss what moves meanwhile, and typing would end it. */
const bring = (part) => part?.scrollIntoView({ behavior: "instant" });

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
      $("search").focus({ preventScroll: true });
      bring($("tests"));
    } else if (event.key === "Escape" && target === $("search")) {
      event.preventDefault();
      if (state.q) look({ q: "" });
      else target.blur();
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
  document.addEventListener("click", follow);
  window.addEventListener("hashchange", () => {
    const before = address({ test: "" });
    readAddress();
    if (address({ test: "" }) !== before) list(); // what has the focus in the list stays there otherwise
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
  for (const media of ["(prefers-color-scheme: dark)", "print"]) matchMedia(media).addEventListener("change", () => timeline?.draw());
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
  const id = location.hash.includes("=") ? (state.q || state.show.size) && "tests" : location.hash.slice(1);
  const part = id ? $(id) : null;
  bring(part);
  const at = scrollY;
  // The first traceback comes later and moves all below it; not every browser keeps in place what is seen.
  if (part && run.causes.length) details.then(() => requestAnimationFrame(() => scrollY === at && bring(part)), () => {});
  await showTest();
}

start().catch((error) => {
  const message = $("message") || make("p", { id: "message", role: "alert" });
  message.className = "bad";
  message.textContent = `The page could not be shown (${error.message}). Either the browser is too old - it must be Chrome 85, Safari 16.4, `
    + "Firefox 113 or newer - or the file is not whole: write it again with threepio report.";
  document.querySelector("header").append(message);
});
