"use strict";
// The timeline: a lane a worker, a bar a test, bars merged where a pixel has several. Not here: what is said of a test.

const LANE = 30;
const AXIS = 22;
const MOST_ZOOM = 1e5;
// How bad, how tall (share of the lane) and in which colour; what is worse is drawn over what is not.
const BARS = {
  PASS: [0, 0.5, "--pass-bar"], SKIP: [1, 0.3, "--grey"], XFAIL: [1, 0.3, "--grey"], XPASS: [2, 0.7, "--violet"], RERUN: [3, 0.7, "--amber"],
  FAIL: [4, 1, "--red"], ERROR: [4, 1, "--red"], IN_FLIGHT: [5, 1, "--blue"],
};

class Timeline {
  /** `length` of the run in seconds; `crash`: what is written at its end, or empty; `deaths`: workers that died, each with
   * what it was at; `describe(test, more)` says what is pointed at, `open(test)` shows a test. */
  constructor(canvas, tests, { length, crash, deaths, describe, open }) {
    Object.assign(this, { canvas, tests, crash, deaths, describe, open });
    this.lanes = [];
    this.bars = tests.standings.map((standing) => BARS[standing]);
    const byWorker = new Map();
    for (let i = 0; i < tests.count; i++) {
      if (Number.isNaN(tests.start[i]) || !this.bar(i)) continue;
      if (!byWorker.has(tests.worker[i])) byWorker.set(tests.worker[i], []);
      byWorker.get(tests.worker[i]).push(i);
    }
    for (const [worker, found] of byWorker) {
      for (let k = 1; k < found.length; k++) {
        if (tests.start[found[k]] < tests.start[found[k - 1]]) {
          found.sort((a, b) => tests.start[a] - tests.start[b]);
          break;
        }
      }
      this.lanes.push({ name: tests.workers[worker] ?? "tests", tests: Uint32Array.from(found) });
    }
    this.lanes.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    // What came before the first test - collection, starting workers - has no bars.
    this.begin = Math.max(Math.min(...this.lanes.map((lane) => tests.start[lane.tests[0]]), length), 0);
    this.length = Math.max(length - this.begin, 1e-3);
    this.from = this.begin;
    this.zoom = 1;
    this.chosen = null;
    if (this.lanes.length) this.listen();
  }

  listen() {
    const { canvas } = this;
    let dragged = null;
    canvas.style.height = `${this.lanes.length * LANE + AXIS}px`;
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("pointermove", (event) => {
      if (dragged && event.buttons && this.zoom > 1) {
        this.move(dragged.from - ((event.offsetX - dragged.x) / this.width) * this.span, this.zoom);
        dragged.moved ||= Math.abs(event.offsetX - dragged.x) > 4;
      } else {
        this.choose(this.at(event.offsetX, event.offsetY));
      }
    });
    canvas.addEventListener("pointerdown", (event) => {
      dragged = { x: event.offsetX, from: this.from, moved: false };
    });
    canvas.addEventListener("click", (event) => {
      const found = dragged?.moved ? null : this.at(event.offsetX, event.offsetY);
      dragged = null;
      if (found) {
        this.choose(found);
        this.open(this.test(found));
      }
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => {
      if (!this.chosen) this.choose({ lane: 0, k: 0 });
    });
  }

  get span() {
    return this.length / this.zoom;
  }

  get width() {
    return this.canvas.clientWidth;
  }

  test({ lane, k }) {
    return this.lanes[lane].tests[k];
  }

  end(i) {
    return this.tests.start[i] + this.tests.duration[i] / 1000;
  }

  /** Return the place of the last test of a lane that began before a time, or 0. */
  last(lane, time) {
    const list = this.lanes[lane].tests;
    let low = 0;
    let high = list.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.tests.start[list[middle]] <= time) low = middle;
      else high = middle;
    }
    return low;
  }

  /** Return the test nearest to a point, of several in a pixel the worst, null if none is near. */
  at(x, y) {
    const lane = Math.floor(y / LANE);
    if (lane < 0 || lane >= this.lanes.length) return null;
    const pixel = this.span / this.width;
    const time = this.from + x * pixel;
    const list = this.lanes[lane].tests;
    let best = null;
    let more = 0;
    for (let k = this.last(lane, time + 3 * pixel); k >= 0; k--) {
      const i = list[k];
      if (this.end(i) < time - 3 * pixel) break;
      const bad = this.bar(i)[0];
      if (!best || bad > best.bad) best = { lane, k, bad };
      more++;
    }
    return best && { ...best, more: more - 1 };
  }

  bar(i) {
    return this.bars[this.tests.standing[i]];
  }

  choose(found) {
    if (!found || (this.chosen && found.lane === this.chosen.lane && found.k === this.chosen.k)) return;
    this.chosen = found;
    this.describe(this.test(found), found.more || 0);
    this.draw();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const chosen = this.chosen || { lane: 0, k: 0 };
    const list = this.lanes[chosen.lane].tests;
    const along = { ArrowRight: chosen.k + 1, ArrowLeft: chosen.k - 1, Home: 0, End: list.length - 1 }[event.key];
    const across = { ArrowDown: chosen.lane + 1, ArrowUp: chosen.lane - 1 }[event.key];
    if (along !== undefined) {
      this.choose({ lane: chosen.lane, k: Math.min(Math.max(along, 0), list.length - 1) });
    } else if (across !== undefined) {
      const lane = Math.min(Math.max(across, 0), this.lanes.length - 1);
      this.choose({ lane, k: this.last(lane, this.tests.start[this.test(chosen)]) });
    } else if (event.key === "Enter") {
      this.open(this.test(chosen));
    } else if (event.key === "+" || event.key === "=") {
      this.scale(4);
    } else if (event.key === "-") {
      this.scale(1 / 4);
    } else if (event.key === "0") {
      this.move(this.begin, 1);
    } else {
      return;
    }
    event.preventDefault();
    this.reveal();
  }

  reveal() {
    if (!this.chosen) return;
    const start = this.tests.start[this.test(this.chosen)];
    if (start < this.from || start > this.from + this.span) this.move(start - this.span / 2, this.zoom);
  }

  /** Zoom around the chosen test, or the middle. */
  scale(by) {
    const seen = this.chosen ? this.tests.start[this.test(this.chosen)] : NaN;
    const centre = seen >= this.from && seen <= this.from + this.span ? seen : this.from + this.span / 2;
    const zoom = Math.min(Math.max(this.zoom * by, 1), MOST_ZOOM);
    this.move(centre - ((centre - this.from) * this.zoom) / zoom, zoom);
  }

  move(from, zoom) {
    this.zoom = zoom;
    this.from = Math.min(Math.max(from, this.begin), this.begin + this.length - this.span);
    this.draw();
  }

  draw() {
    const { canvas, tests, width } = this;
    if (!width) return;
    const ratio = window.devicePixelRatio || 1;
    const height = this.lanes.length * LANE + AXIS;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const style = getComputedStyle(document.documentElement);
    const known = new Map();
    const colour = (name) => known.get(name) ?? known.set(name, style.getPropertyValue(name)).get(name);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const scale = width / this.span;
    this.axis(pen, colour, scale, height);
    this.lanes.forEach((lane, number) => {
      const floor = (number + 1) * LANE - 4;
      const tall = LANE - 10;
      const merged = new Int32Array(width + 2).fill(-1);
      for (let k = 0; k < lane.tests.length; k++) {
        const i = lane.tests[k];
        const left = (tests.start[i] - this.from) * scale;
        const right = (this.end(i) - this.from) * scale;
        if (right < 0 || left > width) continue;
        const [bad, share, name] = this.bar(i);
        if (right - left > 3 && bad < 4) {
          pen.fillStyle = colour(name);
          pen.fillRect(left, floor - tall * share, right - left - 1, tall * share);
          continue;
        }
        // What failed is drawn last and never thinner than two pixels.
        const first = Math.max(Math.floor(left), 0);
        const until = Math.min(Math.max(Math.ceil(right), first + (bad < 4 ? 1 : 2)), width + 1);
        for (let x = first; x < until; x++) {
          if (merged[x] < 0 || bad > this.bar(merged[x])[0]) merged[x] = i;
        }
      }
      for (let x = 0; x <= width; x++) {
        if (merged[x] < 0) continue;
        const [, share, name] = this.bar(merged[x]);
        pen.fillStyle = colour(name);
        pen.fillRect(x, floor - tall * share, 1, tall * share);
      }
      pen.fillStyle = colour("--text");
      pen.font = "11px system-ui, sans-serif";
      pen.textBaseline = "top";
      pen.fillText(lane.name, 3, number * LANE + 1);
      pen.fillStyle = colour("--line");
      pen.fillRect(0, floor + 1, width, 1);
    });
    for (const death of this.deaths) this.cross(pen, colour, scale, death);
    if (this.crash) this.line(pen, colour, (this.begin + this.length - this.from) * scale, height);
    if (this.chosen) this.frame(pen, colour, scale);
  }

  axis(pen, colour, scale, height) {
    const raw = (this.span * 90) / this.width;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((digit) => digit * power).find((found) => found >= raw) || raw;
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "bottom";
    for (let n = Math.ceil(this.from / step); n * step <= this.from + this.span; n++) {
      const x = (n * step - this.from) * scale;
      pen.fillStyle = colour("--line");
      pen.fillRect(x, 0, 1, height - AXIS + 4);
      pen.fillStyle = colour("--soft");
      const text = `${Number((n * step).toPrecision(6))} s`;
      pen.fillText(text, Math.min(x + 2, this.width - pen.measureText(text).width - 2), height - 3);
    }
  }

  line(pen, colour, x, height) {
    const at = Math.min(x, this.width - 2);
    pen.fillStyle = colour("--red");
    for (let y = 0; y < height - AXIS; y += 6) pen.fillRect(at, y, 2, 4);
    pen.font = "bold 11px system-ui, sans-serif";
    pen.textBaseline = "bottom";
    const text = `✗ ${this.crash}`;
    const left = Math.min(at, this.width - pen.measureText(text).width - 4);
    pen.fillStyle = colour("--back");
    pen.fillRect(left - 2, height - AXIS + 5, pen.measureText(text).width + 4, AXIS - 6);
    pen.fillStyle = colour("--red");
    pen.fillText(text, left, height - 3);
  }

  /** Mark where a worker died: at the end of what it was at, or of the last that it did. */
  cross(pen, colour, scale, { worker, test }) {
    const number = this.lanes.findIndex((lane) => lane.name === worker);
    if (number < 0) return;
    const list = this.lanes[number].tests;
    const x = Math.min((this.end(test >= 0 ? test : list[list.length - 1]) - this.from) * scale, this.width - 44);
    pen.fillStyle = colour("--red");
    pen.font = "bold 12px system-ui, sans-serif";
    pen.textBaseline = "top";
    pen.fillText("✗ died", x + 3, number * LANE + 1);
    pen.fillRect(x, number * LANE, 2, LANE - 4);
  }

  frame(pen, colour, scale) {
    const i = this.test(this.chosen);
    const left = (this.tests.start[i] - this.from) * scale;
    const right = (this.end(i) - this.from) * scale;
    pen.strokeStyle = colour("--text");
    pen.lineWidth = 2;
    pen.strokeRect(left - 2, this.chosen.lane * LANE + 2, Math.max(right - left, 1) + 4, LANE - 5);
  }
}
