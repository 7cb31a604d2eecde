// Run by tests/unit/report/test_javascript.py with node's own test runner.
"use strict";
const { test } = require("node:test");
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const zlib = require("node:zlib");
const model = require("../../nsys_pipeline/report/page/timeline_model.js");
const { aligned, powers, shortNumber } = require("../../nsys_pipeline/report/page/charts.js");
const { compareCells } = require("../../nsys_pipeline/report/page/page.js");

const row = (...spans) => model.makeRow(spans.map((s) => s[0]), spans.map((s) => s[1]), Uint32Array.from(spans.keys()));

function seen(of, t0, t1, pixel) {
  const found = [];
  model.visible(of, t0, t1, pixel, (k) => found.push(["box", k]),
    (first, last, left, share) => found.push(["heap", first, last, left, share]));
  return found;
}

test("a name that fills a screen is cut, and says how long it is", () => {
  assert.equal(model.shortText("gemm"), "gemm");
  assert.equal(model.shortText("k".repeat(100_000)), `${"k".repeat(600)}… (100,000 characters)`);
});

test("spans of at least a pixel are boxes, shorter ones a heap for each pixel", () => {
  const of = row([0, 10], [11, 12], [13, 14], [20, 40], [41, 42]);
  assert.deepEqual(seen(of, 0, 100, 10), [
    ["box", 0], ["heap", 1, 3, 10, 0.2], ["box", 3], ["heap", 4, 5, 40, 0.1],
  ]);
});

test("a long span that starts in the pixel of short ones is a box of its own", () => {
  assert.deepEqual(seen(row([0, 1], [2, 3], [4, 30]), 0, 100, 10), [["heap", 0, 2, 0, 0.2], ["box", 2]]);
});

test("nothing outside the view is looked at, and what reaches into it is", () => {
  const of = row([0, 5], [10, 30], [40, 50], [60, 70]);
  assert.deepEqual(seen(of, 20, 45, 1), [["box", 1], ["box", 2]]);
  assert.deepEqual(seen(of, 80, 90, 1), []);
  assert.deepEqual(seen(row(), 0, 10, 1), []);
});

test("zoomed out, every span is in exactly one heap or box, and no time is lost", () => {
  const spans = [];
  let time = 0;
  let random = 7;
  const next = () => (random = (random * 1103515245 + 12345) % 2147483648) / 2147483648;
  for (let i = 0; i < 5000; i++) {
    time += next() * 30;
    const length = next() ** 4 * 500;
    spans.push([time, time + length]);
    time += length;
  }
  const of = row(...spans);
  const total = spans.reduce((sum, [a, b]) => sum + b - a, 0);
  for (const pixel of [1, 17, 333, time / 100, time]) {
    let covered = 0;
    let busy = 0;
    let calls = 0;
    model.visible(of, 0, Infinity, pixel, (k) => { covered++; calls++; busy += of.end[k] - of.start[k]; },
      (first, last) => { covered += last - first; calls++; busy += of.busy[last] - of.busy[first]; });
    assert.equal(covered, 5000);
    assert.ok(Math.abs(busy - total) < 1e-6 * total);
    assert.ok(calls <= 2 * Math.ceil(time / pixel) + 2, `${calls} calls`);
  }
});

test("heaps stay while a reader pans", () => {
  const of = row([11, 12], [13, 14], [25, 26]);
  assert.deepEqual(seen(of, 0, 100, 10), seen(of, 10.4, 100, 10));
});

test("overlapping spans of a lane go into rows, each in order", () => {
  const start = [0, 1, 2, 5, 10];
  const end = [10, 2, 8, 6, 11];
  const rows = model.packRows(start, end, 0, 5).map((each) => [...each.index]);
  assert.deepEqual(rows, [[0, 4], [1, 2], [3]]);
});

test("lowerBound finds the first that is not less", () => {
  const values = [1, 3, 3, 3, 7, 9];
  for (let limit = 0; limit < 11; limit++) {
    for (let from = 0; from <= 6; from++) {
      let expected = from;
      while (expected < 6 && values[expected] < limit) expected++;
      assert.equal(model.lowerBound(values, limit, from, 6), expected, `${limit} from ${from}`);
    }
  }
});

test("the span under the pointer, or near it", () => {
  const of = row([0, 10], [20, 30]);
  assert.equal(model.spanAt(of, 5, 0), 0);
  assert.equal(model.spanAt(of, 15, 1), -1);
  assert.equal(model.spanAt(of, 12, 3), 0);
  assert.equal(model.spanAt(of, 18, 3), 1);
  assert.equal(model.spanAt(row(), 5, 3), -1);
});

test("views stay within the recording", () => {
  assert.deepEqual(model.zoomed({ t0: 0, t1: 100 }, 50, 0.5, 100), { t0: 25, t1: 75 });
  assert.deepEqual(model.zoomed({ t0: 25, t1: 75 }, 50, 10, 100), { t0: 0, t1: 100 });
  assert.deepEqual(model.panned({ t0: 25, t1: 75 }, 100, 100), { t0: 50, t1: 100 });
  assert.equal(model.zoomed({ t0: 0, t1: 100 }, 0, 1e-9, 100).t1, 50);
});

test("times are written as people read them", () => {
  assert.equal(model.exactNs(1234567), "1,234,567 ns");
  assert.equal(model.axisTime(1.5e6, 5e5), "1.5 ms");
  assert.equal(model.axisTime(2e9, 1e9), "2 s");
  assert.equal(model.axisTime(1200, 200), "1.2 µs");
  assert.equal(model.niceStep(3), 5);
  assert.equal(model.niceStep(0.2), 1);
  assert.equal(model.niceStep(700), 1000);
});

test("cells sort by value, unknown last either way", () => {
  const sorted = (values, descending) => [...values].sort((a, b) => compareCells(a, b, descending));
  assert.deepEqual(sorted([10, null, 9], false), [9, 10, null]);
  assert.deepEqual(sorted([10, null, 9], true), [10, 9, null]);
  assert.deepEqual(sorted(["k10", "k9", ""], false), ["k9", "k10", ""]);
});

test("series with points of their own share one list of x", () => {
  const of = (xs, ys, labels = []) => ({ xs, ys, labels });
  const { data, labels } = aligned([of([1, 3], [10, 30]), of([2, 3, null], [5, null, 7], ["a", "b", "c"])]);
  assert.deepEqual(data, [[1, 2, 3], [10, null, 30], [null, 5, null]]);
  assert.deepEqual([...labels[1]], [[1, "a"], [2, "b"]]);
});

test("a log axis names powers of ten alone", () => {
  assert.deepEqual(powers([0.1, 0.2, 1, 5, 10, 1000]), ["0.1", "", "1", "", "10", "1,000"]);
  assert.equal(shortNumber(1234567), "1,235,000");
  assert.equal(shortNumber(null), "–");
});

test("what Python packed is what it was", { skip: !process.env.TIMELINE && "no timeline given" }, () => {
  const timeline = model.decodeTimeline(zlib.gunzipSync(fs.readFileSync(process.env.TIMELINE)));
  const { header } = timeline;
  const spans = [];
  header.lanes.forEach((lane, index) => {
    for (let i = lane.from; i < lane.to; i++) {
      const call = timeline.link[i] - 1;
      spans.push([index, lane.track, timeline.start[i], timeline.end[i], header.names[timeline.name[i]],
        header.categories[timeline.category[i]], header.phases[timeline.phase[i]], timeline.multiplicity[i],
        call < 0 ? null : timeline.start[call]]);
    }
  });
  fs.writeFileSync(path.join(path.dirname(process.env.TIMELINE), "decoded.json"), JSON.stringify(spans));
});
