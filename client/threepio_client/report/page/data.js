"use strict";
// The data of the page: reading them, and finding tests by their names. Not here: what they look like.

const FEW = 20000; // names: to look into them one by one takes less time than to look through all

/** Return the text of one of the page's blocks: base64, then deflate. */
async function readBlock(id) {
  const packed = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  try {
    return await new Response(stream).text();
  } catch {
    throw new Error(`its block ${id} cannot be unpacked`);
  }
}

/** Return the text in lower case, each character still at its place. */
function fold(text) {
  const lower = text.toLowerCase();
  return lower.length === text.length ? lower : text.replace(/[A-Z]+/g, (some) => some.toLowerCase());
}

/** Return the words of what is looked for. */
function wordsOf(text) {
  return fold(text).split(/\s+/).filter(Boolean);
}

/** The tests of the run: a column each, by the number of the test. Numbers are in the order of the names. */
class Tests {
  constructor(columns, units, names) {
    this.count = columns.standing.length;
    this.standings = columns.standings;
    this.standing = new Uint8Array(this.count);
    this.workers = columns.workers;
    this.worker = new Uint32Array(this.count);
    this.duration = new Float64Array(this.count); // milliseconds
    this.start = new Float64Array(this.count); // seconds since the run began; NaN where that is not known
    this.attempts = columns.attempts;
    this.files = columns.files; // among them: what was skipped or broke as a whole
    this.marks = new Map();
    this.all = new Uint32Array(this.count); // in the order of the run
    this.names = names;
    this.folded = fold(names);
    this.lines = new Uint32Array(this.count + 1); // where each name begins
    let at = 0;
    for (let i = 1; i < this.count; i++) this.lines[i] = at = names.indexOf("\n", at) + 1;
    this.lines[this.count] = names.length + 1;
    // Names that follow one another and differ only from their bracket on: where such a row of names ends.
    this.until = new Uint32Array(this.count);
    let first = 0;
    for (const length of columns.alike) {
      this.until.fill(first + length, first, first + length);
      first += length;
    }
    const ends = new Float64Array(this.workers.length);
    let i = -1;
    for (let k = 0; k < this.count; k++) {
      const gap = columns.gap[k];
      const lasted = columns.duration[k];
      this.all[k] = i += columns.step[k];
      this.standing[i] = columns.standing[k];
      this.worker[i] = columns.worker[k];
      this.duration[i] = (lasted * 1000) / units;
      if (gap === null) {
        this.start[i] = NaN;
      } else {
        const begun = ends[this.worker[i]] + gap;
        this.start[i] = begun / units;
        ends[this.worker[i]] = begun + lasted;
      }
    }
  }

  name(i) {
    return this.names.slice(this.lines[i], this.lines[i + 1] - 1);
  }

  file(i) {
    return this.name(i).split("::", 1)[0];
  }

  /** Return the number of the test with this name, -1 if there is none. */
  find(name) {
    if (!name) return -1;
    for (let at = this.names.indexOf(name); at >= 0; at = this.names.indexOf(name, at + 1)) {
      const i = this.row(at);
      if (this.lines[i] === at && this.lines[i + 1] - 1 === at + name.length) return i;
    }
    return -1;
  }

  /** Return the test in whose name this character is. */
  row(at) {
    let low = 0;
    let high = this.count;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.lines[middle] <= at) low = middle;
      else high = middle;
    }
    return low;
  }

  /** Return which tests have a word in their name: 1 for each that has. */
  having(word) {
    const known = this.marks.get(word);
    if (known) return known;
    const marks = new Uint8Array(this.count);
    let row = 0;
    for (let at = this.folded.indexOf(word); at >= 0; at = this.folded.indexOf(word, this.lines[row])) {
      while (this.lines[row + 1] <= at) row++;
      const bracket = this.names.indexOf("[", this.lines[row]);
      const next = bracket < 0 || at + word.length <= bracket ? this.until[row] : row + 1;
      marks.fill(1, row, next);
      row = next;
      if (row === this.count) break;
    }
    if (this.marks.size > 16) this.marks.clear();
    this.marks.set(word, marks);
    return marks;
  }

  /** Return the numbers of the tests that have all words of a text in their names, and one of some standings if any are given. */
  search(text, standings, slowestFirst) {
    const wanted = this.standings.map((standing) => Number(!standings.size || standings.has(standing)));
    const marks = new Uint8Array(this.count);
    let left = 0;
    for (let i = 0; i < this.count; i++) left += marks[i] = wanted[this.standing[i]];
    // A long word is in few names; then the other words are looked for in these alone.
    for (const word of [...new Set(wordsOf(text))].sort((a, b) => b.length - a.length)) {
      const has = left > FEW ? this.having(word) : null;
      for (let i = 0; i < this.count; i++) {
        if (marks[i] && !(has ? has[i] : this.folded.slice(this.lines[i], this.lines[i + 1]).includes(word))) {
          marks[i] = 0;
          left--;
        }
      }
    }
    const found = new Uint32Array(left);
    let at = 0;
    for (const i of slowestFirst ? this.slowest() : this.all) if (marks[i]) found[at++] = i;
    return found;
  }

  /** Return all tests, the slowest first. */
  slowest() {
    if (!this.bySlow) this.bySlow = this.all.slice().sort((a, b) => this.duration[b] - this.duration[a] || a - b);
    return this.bySlow;
  }
}
