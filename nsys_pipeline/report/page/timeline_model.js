// The timeline without a screen: unpack its bytes, put spans into rows, find what is seen. Times are ns since the origin.
"use strict";

/** Unpack what detail/timeline.py packed: typed arrays with one entry for each span. */
function decodeTimeline(bytes) {
  const headerLength = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + headerLength)));
  if (header.version !== 1) throw new Error(`a timeline of version ${header.version} is not known here`);
  const n = header.count;
  let at = 4 + headerLength;
  const columns = {};
  for (const [name, size] of Object.entries(header.columns)) {
    // A number of 7 bytes needs a double: bit operations end at 32.
    const values = size > 4 ? new Float64Array(n) : new Uint32Array(n);
    for (let plane = 0, scale = 1; plane < size; plane++, scale *= 256) {
      for (let i = 0; i < n; i++) {
        const byte = bytes[at + i];
        if (byte) values[i] += byte * scale;
      }
      at += n;
    }
    columns[name] = values;
  }
  const { start, dur, link } = columns;
  let index = 0;
  for (const lane of header.lanes) {
    lane.from = index;
    lane.to = index + lane.count;
    for (let time = 0; index < lane.to; index++) start[index] = time += start[index];
  }
  const end = dur;
  for (let i = 0, last = 0; i < n; i++) {
    end[i] += start[i];
    last += link[i] & 1 ? -((link[i] + 1) / 2) : link[i] / 2;
    link[i] = last;
  }
  return { header, start, end, name: columns.name, category: columns.category, phase: columns.phase,
    multiplicity: columns.count, link };
}

/**
 * Put the spans [from, to) of a lane, which are in order of their start, into rows in which none overlap.
 * Algorithm: each span goes into the first row whose last span has ended.
 */
function packRows(start, end, from, to) {
  const rows = [[]];
  const reached = [-Infinity];
  for (let i = from; i < to; i++) {
    let row = 0;
    while (row < rows.length && reached[row] > start[i]) row++;
    if (row === rows.length) {
      rows.push([]);
      reached.push(0);
    }
    rows[row].push(i);
    reached[row] = Math.max(end[i], start[i]);
  }
  return rows.map((indices) => makeRow(start, end, Uint32Array.from(indices)));
}

/** A row with the times of its spans side by side, and the sum of their durations up to each. */
function makeRow(start, end, index) {
  const n = index.length;
  const row = { index, start: new Float64Array(n), end: new Float64Array(n), busy: new Float64Array(n + 1) };
  for (let k = 0; k < n; k++) {
    row.start[k] = start[index[k]];
    row.end[k] = end[index[k]];
    row.busy[k + 1] = row.busy[k] + row.end[k] - row.start[k];
  }
  return row;
}

/** First k in [from, to) with values[k] >= limit, else to. Gallops: what is looked for is mostly near. */
function lowerBound(values, limit, from, to) {
  let step = 1;
  let low = from;
  while (low + step < to && values[low + step] < limit) {
    low += step;
    step *= 2;
  }
  let high = Math.min(to, low + step + 1);
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * What of `row` is seen between t0 and t1 when a pixel is `pixel` ns wide: box(k, start, end) for each span of at least
 * a pixel; heap(first, last, start, share) for those below it that start in one pixel, with the share of it in which
 * they run. Pixels are counted from the origin, so that heaps stay as they are while a reader pans.
 * Costs the pixels, not the spans: heaps are found by bisection, their time by a difference of sums.
 */
function visible(row, t0, t1, pixel, box, heap) {
  const { start, end, busy } = row;
  const n = start.length;
  let k = lowerBound(end, t0, 0, n);
  while (k < n && start[k] < t1) {
    if (end[k] - start[k] >= pixel) {
      box(k, start[k], end[k]);
      k++;
      continue;
    }
    const left = Math.floor(start[k] / pixel) * pixel;
    let next = lowerBound(start, left + pixel, k + 1, n);
    // Spans of a row do not overlap: only the last of a pixel can be longer than it.
    if (next - 1 > k && end[next - 1] - start[next - 1] >= pixel) next--;
    heap(k, next, left, Math.min(1, (busy[next] - busy[k]) / pixel));
    k = next;
  }
}

/** The longest of a few spans between first and last: what a heap is coloured by. */
function longest(row, first, last) {
  const step = Math.max(1, Math.floor((last - first) / 8));
  let best = first;
  for (let k = first; k < last; k += step) {
    if (row.end[k] - row.start[k] > row.end[best] - row.start[best]) best = k;
  }
  return best;
}

/** The span of `row` at time t, or the nearest one within `near` ns; -1 without one. */
function spanAt(row, t, near) {
  const n = row.start.length;
  const k = lowerBound(row.end, t, 0, n);
  let best = -1;
  let distance = near;
  for (const each of [k - 1, k]) {
    if (each < 0 || each >= n) continue;
    const away = Math.max(row.start[each] - t, t - row.end[each], 0);
    if (away <= distance) {
      best = each;
      distance = away;
    }
  }
  return best;
}

/** Everything that the call at index `call` launched. */
function launchedBy(timeline, call) {
  const found = [];
  for (let i = 0; i < timeline.link.length; i++) if (timeline.link[i] === call + 1) found.push(i);
  return found;
}

/** A view of [t0, t1] zoomed by `factor` around t, kept within [0, duration] and no narrower than `least` ns. */
function zoomed(view, t, factor, duration, least = 50) {
  const width = Math.min(duration, Math.max(least, (view.t1 - view.t0) * factor));
  const share = (t - view.t0) / (view.t1 - view.t0);
  return panned({ t0: t - share * width, t1: t + (1 - share) * width }, 0, duration);
}

/** A view moved by `by` ns, kept within [0, duration]. */
function panned(view, by, duration) {
  const width = view.t1 - view.t0;
  const t0 = Math.max(0, Math.min(duration - width, view.t0 + by));
  return { t0, t1: t0 + width };
}

/** The first 600 characters of a text, and how long all of it is: some names fill a screen. */
function shortText(text) {
  const most = 600;
  return text.length > most ? `${text.slice(0, most)}… (${text.length.toLocaleString("en-US")} characters)` : text;
}

/** Whole ns with separators. */
function exactNs(ns) {
  return `${Math.round(ns).toLocaleString("en-US")} ns`;
}

/** A time for an axis whose ticks are `step` ns apart. */
function axisTime(ns, step) {
  const [scale, unit] = step >= 1e8 ? [1e9, "s"] : step >= 1e5 ? [1e6, "ms"] : step >= 1e2 ? [1e3, "µs"] : [1, "ns"];
  const places = Math.max(0, -Math.floor(Math.log10(step / scale) + 1e-9));
  return `${(ns / scale).toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places })} ${unit}`;
}

/** A step of 1, 2 or 5 times a power of ten that is at least `ns`. */
function niceStep(ns) {
  const power = 10 ** Math.floor(Math.log10(ns));
  for (const factor of [1, 2, 5]) if (factor * power >= ns) return Math.max(1, factor * power);
  return Math.max(1, 10 * power);
}

if (typeof module !== "undefined") {
  module.exports = { decodeTimeline, packRows, makeRow, lowerBound, visible, longest, spanAt, launchedBy, zoomed, panned,
    shortText, exactNs, axisTime, niceStep };
}
