// The timeline on the screen: draws what timeline_model.js finds, and moves as the reader does.
"use strict";

(() => {
  const ROW = 18, GAP = 2, HEAD = 24, AXIS = 26, MAP = 30;
  const COLOURS = {
    gemm: "#4c7fe0", attention: "#9a5fd0", norm: "#1f9e8f", elementwise: "#d98324", copy: "#17a2b8", reduction: "#b7791f",
    communication: "#d6455d", sampling: "#cf5fa8", activation: "#5aa02c", embedding: "#7a8f00", quantization: "#c2607c",
    memcpy: "#0e8ba0", memset: "#6a8f9c", graph: "#5b6fd6", moe: "#7d6bd8", softmax: "#b05fd0", rope: "#3d8f5f",
    prefill: "#2f9e5f", decode: "#3f78d8", forward: "#2f9e5f", backward: "#b0578d", optimizer: "#c2803a", mixed: "#7a6fd0",
    verify: "#3d8fa8", range: "#8b97a5", launch: "#d98324", synchronization: "#9a5fd0", allocation: "#c2607c",
    "other call": "#7b8794", other: "#7b8794",
  };
  const MORE = ["#4f8f8f", "#a0764a", "#6f7fbf", "#9f5f7f", "#5f8f4f", "#8f6faf"];

  function colourOf(category, index) {
    return COLOURS[category] || MORE[index % MORE.length];
  }

  function element(id) {
    return document.getElementById(id);
  }

  async function unpacked(text) {
    const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  function explain(text) {
    const missing = element("timeline-missing");
    missing.textContent = text;
    missing.hidden = false;
    element("timeline-view").hidden = true;
  }

  /** Lanes as rows under headings: threads that have phases, GPUs, other threads; in each what is busiest first. */
  function layOut(timeline) {
    const groups = new Map();
    for (const lane of timeline.header.lanes) {
      const isGpu = lane.device_id !== null;
      const key = isGpu ? `gpu ${lane.device_id}` : `thread ${lane.process_id} ${lane.thread_id}`;
      if (!groups.has(key)) groups.set(key, { isGpu, lanes: [], count: 0, hasPhase: false, first: lane });
      const group = groups.get(key);
      group.lanes.push(lane);
      group.count += lane.operations;
      group.hasPhase = group.hasPhase || lane.track === "phase";
    }
    const place = (group) => (group.isGpu ? 1 : group.hasPhase ? 0 : 2);
    const ordered = [...groups.values()].sort((a, b) => place(a) - place(b)
      || (a.isGpu ? a.first.device_id - b.first.device_id : b.count - a.count));
    const tracks = ["phase", "range", "api", "gpu_phase", "gpu"];
    const rows = [];
    const heads = [];
    let y = 0;
    const { names } = timeline.header;
    for (const group of ordered) {
      const { process_id: pid, thread_id: tid, device_id: device } = group.first;
      const title = group.isGpu ? `GPU ${device}` : `thread ${tid}`;
      const name = group.isGpu ? timeline.header.devices[device] : timeline.header.threads[`${pid} ${tid}`];
      heads.push({ y, title, name: name || (group.isGpu || tid === pid ? "" : `of process ${pid}`) });
      y += HEAD;
      group.lanes.sort((a, b) => tracks.indexOf(a.track) - tracks.indexOf(b.track) || b.depth < 0 - a.depth < 0
        || a.domain.localeCompare(b.domain) || a.depth - b.depth || b.operations - a.operations);
      for (const lane of group.lanes) {
        const range = lane.depth > 0 ? "" : lane.domain ? `NVTX ${lane.domain}` : "NVTX";
        const label = { phase: "phases", range, api: "CUDA calls",
          gpu_phase: "work of phases", gpu: `stream ${lane.stream_id}` }[lane.track];
        packRows(timeline.start, timeline.end, lane.from, lane.to).forEach((row, index) => {
          rows.push(Object.assign(row, { lane, y, label: index ? "" : label }));
          y += ROW + GAP;
        });
      }
      y += 6;
    }
    timeline.rowOf = new Uint32Array(timeline.header.count);
    timeline.placeOf = new Uint32Array(timeline.header.count);
    rows.forEach((row, number) => row.index.forEach((span, k) => {
      timeline.rowOf[span] = number;
      timeline.placeOf[span] = k;
    }));
    return { rows, heads, height: y };
  }

  function start(timeline) {
    const { header } = timeline;
    const duration = Math.max(1, header.duration_ns);
    const { rows, heads, height } = layOut(timeline);
    const stage = element("timeline-stage"), canvas = element("timeline-canvas"), map = element("timeline-map");
    const tip = element("timeline-tip"), said = element("timeline-said");
    const context = canvas.getContext("2d"), mapContext = map.getContext("2d");
    const colours = header.categories.map(colourOf);
    let ink = {}, width = 0, gutter = 168, shownHeight = 0, ratio = 1, frame = 0, mapImage = null;
    let view = { t0: 0, t1: duration };
    let hovered = -1, selected = -1, matches = null, found = -1;
    let frames = 0, drawMs = 0;

    element("timeline-space").style.height = `${height}px`;
    stage.style.height = `min(70vh, ${height + AXIS + 4}px)`;

    const scale = () => (view.t1 - view.t0) / (width - gutter);
    const xOf = (t) => gutter + (t - view.t0) / scale();
    const tOf = (x) => view.t0 + (x - gutter) * scale();

    function redraw() {
      if (!frame) frame = requestAnimationFrame(() => { frame = 0; draw(); });
    }

    function look(next) {
      view = next;
      redraw();
    }

    function theme() {
      const style = getComputedStyle(document.documentElement);
      for (const name of ["paper", "panel", "line", "ink", "soft", "accent"]) ink[name] = style.getPropertyValue(`--${name}`).trim();
      mapImage = null;
      redraw();
    }

    function resize() {
      // Not shown, in a hidden frame for example: what was drawn stays until it is.
      if (!stage.clientWidth) return;
      ratio = window.devicePixelRatio || 1;
      width = stage.clientWidth;
      gutter = width < 600 ? 108 : 168;
      shownHeight = stage.clientHeight;
      for (const [each, h] of [[canvas, shownHeight], [map, MAP]]) {
        each.width = Math.round(width * ratio);
        each.height = Math.round(h * ratio);
        each.style.width = `${width}px`;
        each.style.height = `${h}px`;
      }
      mapImage = null;
      redraw();
    }

    function drawRow(row, y) {
      const pixel = scale();
      const label = [];
      let last = "";
      const paint = (span, x, w, alpha) => {
        const dimmed = matches && !matches[timeline.name[span]];
        const colour = dimmed ? ink.line : colours[timeline.category[span]];
        if (colour !== last) context.fillStyle = last = colour;
        context.globalAlpha = alpha;
        context.fillRect(x, y, w, ROW);
      };
      visible(row, view.t0, view.t1, pixel,
        (k, a, b) => {
          const x = Math.max(gutter, xOf(a)), w = Math.min(width, xOf(b)) - x;
          // A hair of paper between neighbours, as long as there is room for it.
          paint(row.index[k], x, w > 3 ? w - 0.7 : w, 1);
          if (w > 34) label.push([row.index[k], x, w]);
        },
        (first, end, left, share) => {
          const x = Math.max(gutter, xOf(left));
          paint(row.index[longest(row, first, end)], x, Math.min(1, width - x), 0.3 + 0.7 * share);
        });
      context.globalAlpha = 1;
      context.fillStyle = "#ffffff";
      for (const [span, x, w] of label) {
        const room = Math.floor((w - 8) / 6.3);
        let text = header.names[timeline.name[span]];
        if (timeline.multiplicity[span] > 1) text = `${timeline.multiplicity[span]} × ${text}`;
        context.fillText(text.length > room ? `${text.slice(0, Math.max(1, room - 1))}…` : text, x + 4, y + ROW / 2 + 1);
      }
    }

    function outline(span, colour) {
      const y = AXIS + rows[timeline.rowOf[span]].y - stage.scrollTop;
      const x = Math.max(gutter, xOf(timeline.start[span])), right = Math.min(width, xOf(timeline.end[span]));
      if (right < gutter || x > width || y < AXIS - ROW) return;
      context.strokeStyle = colour;
      context.lineWidth = 2;
      context.strokeRect(x - 1, y - 1, Math.max(2, right - x) + 2, ROW + 2);
    }

    /** From a launching call to what it launched: at most 200 arrows, of what is in view. */
    function arrows(span) {
      const pairs = timeline.link[span] ? [[timeline.link[span] - 1, span]]
        : rows[timeline.rowOf[span]].lane.track === "api" ? launched(span).map((each) => [span, each]) : [];
      context.strokeStyle = ink.ink;
      context.fillStyle = ink.ink;
      context.lineWidth = 1;
      let drawn = 0;
      for (const [call, work] of pairs) {
        const x0 = xOf(timeline.start[call]), x1 = xOf(timeline.start[work]);
        if (Math.max(x0, x1) < gutter || Math.min(x0, x1) > width || drawn++ > 200) continue;
        const y0 = AXIS + rows[timeline.rowOf[call]].y - stage.scrollTop + ROW;
        const y1 = AXIS + rows[timeline.rowOf[work]].y - stage.scrollTop + (y0 < AXIS + rows[timeline.rowOf[work]].y - stage.scrollTop ? 0 : ROW);
        const bend = Math.max(12, Math.abs(x1 - x0) / 3);
        context.beginPath();
        context.moveTo(x0, y0);
        context.bezierCurveTo(x0 + bend, y0 + (y1 - y0) / 3, x1 - bend, y1 - (y1 - y0) / 3, x1, y1);
        context.stroke();
        const down = y1 > y0 ? 1 : -1;
        context.beginPath();
        context.moveTo(x1, y1);
        context.lineTo(x1 - 4, y1 - 6 * down);
        context.lineTo(x1 + 4, y1 - 6 * down);
        context.fill();
      }
    }

    let launchedIndex = null;
    function launched(call) {
      if (!launchedIndex) {
        launchedIndex = new Map();
        timeline.link.forEach((link, span) => {
          if (!link) return;
          if (!launchedIndex.has(link - 1)) launchedIndex.set(link - 1, []);
          launchedIndex.get(link - 1).push(span);
        });
      }
      return launchedIndex.get(call) || [];
    }

    function drawAxis() {
      context.fillStyle = ink.paper;
      context.fillRect(0, 0, width, AXIS);
      const step = niceStep(scale() * 110);
      context.fillStyle = ink.soft;
      context.strokeStyle = ink.line;
      context.lineWidth = 1;
      context.textAlign = "left";
      for (let t = Math.ceil(view.t0 / step) * step; t <= view.t1; t += step) {
        const x = Math.round(xOf(t)) + 0.5;
        context.beginPath();
        context.moveTo(x, AXIS - 6);
        context.lineTo(x, shownHeight);
        context.stroke();
        if (x < width - 40) context.fillText(axisTime(t, step), x + 3, AXIS / 2);
      }
    }

    function draw() {
      if (width <= gutter) return;
      const began = performance.now();
      frames++;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.fillStyle = ink.paper;
      context.fillRect(0, 0, width, shownHeight);
      context.font = "11px system-ui, sans-serif";
      context.textBaseline = "middle";
      drawAxis();
      context.save();
      context.beginPath();
      context.rect(0, AXIS, width, shownHeight - AXIS);
      context.clip();
      const top = stage.scrollTop;
      for (const head of heads) {
        const y = AXIS + head.y - top;
        if (y > shownHeight || y < AXIS - HEAD) continue;
        context.fillStyle = ink.panel;
        context.fillRect(0, y, width, HEAD - 4);
        context.fillStyle = ink.ink;
        context.font = "600 11px system-ui, sans-serif";
        context.fillText(head.title, 8, y + (HEAD - 4) / 2);
        const used = context.measureText(head.title).width;
        context.font = "11px system-ui, sans-serif";
        context.fillStyle = ink.soft;
        context.fillText(head.name, 18 + used, y + (HEAD - 4) / 2);
      }
      for (const row of rows) {
        const y = AXIS + row.y - top;
        if (y > shownHeight || y < AXIS - ROW) continue;
        drawRow(row, y);
        if (!row.label) continue;
        context.fillStyle = ink.soft;
        context.fillText(row.label.length > 24 ? `${row.label.slice(0, 23)}…` : row.label, 18, y + ROW / 2 + 1);
      }
      for (const span of new Set([selected, hovered])) if (span >= 0) arrows(span);
      if (hovered >= 0) outline(hovered, ink.soft);
      if (selected >= 0) outline(selected, ink.ink);
      context.restore();
      drawMap();
      drawMs = performance.now() - began;
    }

    function drawMap() {
      mapContext.setTransform(1, 0, 0, 1, 0, 0);
      if (!mapImage) {
        mapContext.fillStyle = ink.panel;
        mapContext.fillRect(0, 0, map.width, map.height);
        mapContext.setTransform(ratio, 0, 0, ratio, 0, 0);
        const pixel = duration / (width - gutter);
        const shown = rows.filter((row) => ["gpu", "phase"].includes(row.lane.track));
        for (const row of shown) {
          const top = row.lane.track === "phase" ? 3 : 14, high = row.lane.track === "phase" ? 8 : MAP - 17;
          const paint = (k, x, w, alpha) => {
            mapContext.globalAlpha = alpha;
            mapContext.fillStyle = colours[timeline.category[row.index[k]]];
            mapContext.fillRect(gutter + x / pixel, top, Math.max(1, w / pixel), high);
          };
          visible(row, 0, duration, pixel, (k, a, b) => paint(k, a, b - a, 1),
            (first, end, left, share) => paint(longest(row, first, end), left, pixel, 0.2 + 0.8 * share));
        }
        mapContext.globalAlpha = 1;
        mapContext.fillStyle = ink.soft;
        mapContext.font = "11px system-ui, sans-serif";
        mapContext.textBaseline = "middle";
        mapContext.fillText("everything", 18, MAP / 2);
        mapImage = document.createElement("canvas");
        mapImage.width = map.width;
        mapImage.height = map.height;
        mapImage.getContext("2d").drawImage(map, 0, 0);
        mapContext.setTransform(1, 0, 0, 1, 0, 0);
      }
      mapContext.drawImage(mapImage, 0, 0);
      mapContext.setTransform(ratio, 0, 0, ratio, 0, 0);
      const to = (t) => gutter + (t / duration) * (width - gutter);
      mapContext.strokeStyle = ink.accent;
      mapContext.lineWidth = 2;
      mapContext.strokeRect(to(view.t0), 1, Math.max(3, to(view.t1) - to(view.t0)), MAP - 2);
    }

    /** A span in words; exact, for a reader and for a screen reader. */
    function describe(span) {
      const lane = rows[timeline.rowOf[span]].lane;
      const lines = [shortText(header.names[timeline.name[span]]) || "(no text)"];
      const many = timeline.multiplicity[span];
      if (many > 1) lines[0] = `${many.toLocaleString("en-US")} operations, the longest: ${lines[0]}`;
      const category = header.categories[timeline.category[span]], phase = header.phases[timeline.phase[span]];
      lines.push([category, phase && phase !== category ? `in ${phase}` : "", lane.stream_id !== null ? `stream ${lane.stream_id}` : ""].filter(Boolean).join(" · "));
      lines.push(`${exactNs(timeline.end[span] - timeline.start[span])} from ${exactNs(timeline.start[span])}`);
      const call = timeline.link[span] - 1;
      if (call >= 0) {
        const wait = timeline.start[span] - timeline.end[call];
        lines.push(`launched by ${shortText(header.names[timeline.name[call]])}, ${wait >= 0 ? `${exactNs(wait)} after its return` : "before it returned"}`);
      } else if (lane.track === "api") {
        const count = launched(span).length;
        if (count) lines.push(`launched ${count.toLocaleString("en-US")} operation${count > 1 ? "s" : ""}`);
      }
      return lines;
    }

    function say(span) {
      said.textContent = span < 0 ? "" : describe(span).join(". ");
    }

    function rowAt(y) {
      const target = y - AXIS + stage.scrollTop;
      return y < AXIS ? null : rows.find((row) => target >= row.y - GAP / 2 && target < row.y + ROW + GAP / 2) || null;
    }

    function spanUnder(event) {
      const box = canvas.getBoundingClientRect();
      const x = event.clientX - box.left, row = rowAt(event.clientY - box.top);
      if (!row || x < gutter) return -1;
      const k = spanAt(row, tOf(x), 4 * scale());
      return k < 0 ? -1 : row.index[k];
    }

    function hover(event) {
      const span = spanUnder(event);
      if (span !== hovered) {
        hovered = span;
        redraw();
      }
      tip.hidden = span < 0;
      if (span < 0) return;
      const [name, ...rest] = describe(span);
      const strong = document.createElement("strong");
      strong.textContent = name;
      tip.replaceChildren(strong, ...rest.filter(Boolean).map((line) => Object.assign(document.createElement("div"), { textContent: line })));
      const box = element("timeline-view").getBoundingClientRect();
      const x = Math.min(event.clientX - box.left + 14, box.width - tip.offsetWidth - 4);
      tip.style.left = `${Math.max(0, x)}px`;
      tip.style.top = `${event.clientY - box.top + 16}px`;
    }

    function select(span, { reveal = false } = {}) {
      selected = span;
      say(span);
      if (reveal && span >= 0) {
        const row = rows[timeline.rowOf[span]];
        if (row.y < stage.scrollTop || row.y + ROW + AXIS > stage.scrollTop + shownHeight) stage.scrollTop = row.y - shownHeight / 2;
        const middle = (timeline.start[span] + timeline.end[span]) / 2;
        if (middle < view.t0 || middle > view.t1) view = panned(view, middle - (view.t0 + view.t1) / 2, duration);
      }
      redraw();
    }

    /** Neighbour of the selected span in its row, or the span nearest to the middle of another row. */
    function step(along, down) {
      if (selected < 0) {
        const first = rows.find((row) => row.index.length);
        if (first) select(first.index[Math.max(0, spanAt(first, (view.t0 + view.t1) / 2, Infinity))], { reveal: true });
        return;
      }
      let number = timeline.rowOf[selected];
      if (along) {
        const k = timeline.placeOf[selected] + along;
        if (k >= 0 && k < rows[number].index.length) select(rows[number].index[k], { reveal: true });
        return;
      }
      number += down;
      if (number < 0 || number >= rows.length) return;
      const k = spanAt(rows[number], (timeline.start[selected] + timeline.end[selected]) / 2, Infinity);
      if (k >= 0) select(rows[number].index[k], { reveal: true });
    }

    function fit(span) {
      const length = Math.max(100, timeline.end[span] - timeline.start[span]);
      look(panned({ t0: timeline.start[span] - length * 0.1, t1: timeline.end[span] + length * 0.1 }, 0, duration));
    }

    const middle = () => (view.t0 + view.t1) / 2;
    const keys = {
      ArrowLeft: () => look(panned(view, -(view.t1 - view.t0) / 8, duration)),
      ArrowRight: () => look(panned(view, (view.t1 - view.t0) / 8, duration)),
      ArrowUp: () => step(0, -1), ArrowDown: () => step(0, 1), ",": () => step(-1, 0), ".": () => step(1, 0),
      "+": () => look(zoomed(view, middle(), 0.6, duration)), "=": () => look(zoomed(view, middle(), 0.6, duration)),
      "-": () => look(zoomed(view, middle(), 1 / 0.6, duration)), 0: () => look({ t0: 0, t1: duration }),
      Enter: () => selected >= 0 && fit(selected), Escape: () => select(-1),
    };
    stage.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });

    stage.addEventListener("wheel", (event) => {
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
      const box = canvas.getBoundingClientRect();
      if (sideways) {
        event.preventDefault();
        look(panned(view, (event.deltaX || event.deltaY) * scale(), duration));
      } else if (event.ctrlKey || event.metaKey || document.activeElement === stage) {
        event.preventDefault();
        look(zoomed(view, tOf(Math.max(gutter, event.clientX - box.left)), Math.exp(Math.max(-200, Math.min(200, event.deltaY)) / 300), duration));
      }
    }, { passive: false });

    const pointers = new Map();
    let travelled = 0;
    canvas.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, event);
      travelled = 0;
      canvas.setPointerCapture(event.pointerId);
      stage.focus({ preventScroll: true });
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) {
        hover(event);
        return;
      }
      const others = [...pointers.values()].filter((each) => each.pointerId !== event.pointerId);
      if (others.length) {
        const [other] = others;
        const box = canvas.getBoundingClientRect();
        const was = Math.max(20, Math.abs(before.clientX - other.clientX)), is = Math.max(20, Math.abs(event.clientX - other.clientX));
        look(zoomed(view, tOf((event.clientX + other.clientX) / 2 - box.left), was / is, duration));
      } else {
        travelled += Math.abs(event.clientX - before.clientX) + Math.abs(event.clientY - before.clientY);
        view = panned(view, (before.clientX - event.clientX) * scale(), duration);
        if (event.pointerType === "mouse") stage.scrollTop += before.clientY - event.clientY;
        tip.hidden = true;
        redraw();
      }
      pointers.set(event.pointerId, event);
    });
    const release = (event) => {
      if (pointers.delete(event.pointerId) && travelled < 4 && event.type === "pointerup") select(spanUnder(event));
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", () => {
      hovered = -1;
      tip.hidden = true;
      redraw();
    });
    canvas.addEventListener("dblclick", (event) => {
      const span = spanUnder(event);
      if (span >= 0) fit(span);
    });
    const move = (event) => {
      if (!event.buttons) return;
      const t = ((event.clientX - map.getBoundingClientRect().left - gutter) / (width - gutter)) * duration;
      look(panned(view, t - middle(), duration));
    };
    map.addEventListener("pointerdown", (event) => { map.setPointerCapture(event.pointerId); move(event); });
    map.addEventListener("pointermove", move);

    element("timeline-all").addEventListener("click", keys[0]);
    element("timeline-in").addEventListener("click", keys["+"]);
    element("timeline-out").addEventListener("click", keys["-"]);

    const places = element("timeline-place");
    const byPhase = new Map();
    for (const row of rows) {
      if (row.lane.track !== "phase") continue;
      for (const span of row.index) {
        const phase = header.phases[timeline.phase[span]];
        if (!byPhase.has(phase)) byPhase.set(phase, []);
        byPhase.get(phase).push(span);
      }
    }
    for (const [phase, spans] of byPhase) {
      spans.sort((a, b) => timeline.start[a] - timeline.start[b]);
      const lengths = [...spans].sort((a, b) => timeline.end[a] - timeline.start[a] - timeline.end[b] + timeline.start[b]);
      for (const [what, span] of [["first", spans[0]], ["median", lengths[lengths.length >> 1]], ["longest", lengths.at(-1)], ["last", spans.at(-1)]]) {
        places.append(new Option(`${phase}, ${what}`, span));
      }
    }
    places.parentElement.hidden = !byPhase.size;
    places.addEventListener("change", () => {
      if (!places.value) return;
      fit(Number(places.value));
      select(Number(places.value), { reveal: true });
      places.value = "";
    });

    const search = element("timeline-search"), counted = element("timeline-counted");
    search.addEventListener("input", () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      found = -1;
      matches = words.length ? header.names.map((name) => words.every((word) => name.toLowerCase().includes(word))) : null;
      let count = 0;
      if (matches) for (let i = 0; i < header.count; i++) if (matches[timeline.name[i]]) count += timeline.multiplicity[i];
      counted.textContent = matches ? `${count.toLocaleString("en-US")} found${count ? ", Enter goes to the next" : ""}` : "";
      redraw();
    });
    search.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !matches) return;
      let next = -1, first = -1;
      const after = found < 0 ? view.t0 : timeline.start[found];
      const before = (a, b) => b < 0 || timeline.start[a] < timeline.start[b];
      for (let i = 0; i < header.count; i++) {
        if (!matches[timeline.name[i]] || i === found) continue;
        if (before(i, first)) first = i;
        if ((timeline.start[i] > after || (timeline.start[i] === after && i > found)) && before(i, next)) next = i;
      }
      found = next >= 0 ? next : first;
      if (found >= 0) select(found, { reveal: true });
    });

    const legend = element("timeline-legend");
    const times = new Map();
    for (const row of rows) {
      if (row.lane.track !== "gpu") continue;
      row.index.forEach((span, k) => times.set(timeline.category[span], (times.get(timeline.category[span]) || 0) + row.end[k] - row.start[k]));
    }
    for (const [category] of [...times].sort((a, b) => b[1] - a[1]).slice(0, 12)) {
      const item = document.createElement("li"), chip = document.createElement("i");
      chip.style.background = colours[category];
      item.append(chip, header.categories[category]);
      legend.append(item);
    }

    // Where phases are, if there are any; loading a model takes longer than what a reader came for.
    const phases = [...byPhase.values()].flat();
    if (phases.length) {
      const t0 = phases.reduce((least, span) => Math.min(least, timeline.start[span]), Infinity);
      const t1 = phases.reduce((most, span) => Math.max(most, timeline.end[span]), 0);
      view = panned({ t0: t0 - (t1 - t0) * 0.02, t1: Math.min(duration, t1 + (t1 - t0) * 0.02) }, 0, duration);
    }
    document.addEventListener("themechange", () => {
      theme();
      draw();  // a printer does not wait for the next frame
    });
    stage.addEventListener("scroll", redraw);
    new ResizeObserver(resize).observe(stage);
    theme();
    resize();
    stage.timeline = {
      rows, timeline, duration, select,
      get view() { return view; },
      get frames() { return frames; },
      get drawMs() { return drawMs; },
      get selected() { return selected; },
      look: (t0, t1) => look({ t0, t1 }),
      draw,
      placeOf: (span) => ({ x: (xOf(timeline.start[span]) + xOf(timeline.end[span])) / 2, y: AXIS + rows[timeline.rowOf[span]].y - stage.scrollTop + ROW / 2 }),
    };
    stage.setAttribute("aria-busy", "false");
  }

  const source = element("timeline-data");
  if (!source) return;
  if (typeof DecompressionStream === "undefined") {
    explain("This browser cannot unpack the timeline: it has no DecompressionStream (Chrome 80, Firefox 113, Safari 16.4). Everything else on this page is here.");
    return;
  }
  unpacked(source.textContent.trim()).then(decodeTimeline).then(start).catch((error) => {
    explain(`The timeline of this page cannot be shown: ${error.message}`);
  });
})();
