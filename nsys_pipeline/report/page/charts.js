// Charts by uPlot, in the colours of the page. What they show stands in tables beside them.
"use strict";

/** Series with points of their own as uPlot wants them: one list of x, and for each series a value or null for each x. */
function aligned(series) {
  const xs = [...new Set(series.flatMap((each) => each.xs.filter((x) => x !== null)))].sort((a, b) => a - b);
  const place = new Map(xs.map((x, index) => [x, index]));
  const columns = series.map(() => new Array(xs.length).fill(null));
  const labels = series.map(() => new Map());
  series.forEach((each, number) => each.xs.forEach((x, index) => {
    if (x === null) return;
    columns[number][place.get(x)] = each.ys[index];
    if (each.labels[index]) labels[number].set(place.get(x), each.labels[index]);
  }));
  return { data: [xs, ...columns], labels };
}

/** A number with four digits that matter. */
function shortNumber(value) {
  return value === null || value === undefined ? "–" : Number(value.toPrecision(4)).toLocaleString("en-US", { maximumFractionDigits: 9 });
}

/** Every kth power of ten in a log axis, and nothing between them. */
function powers(values) {
  return values.map((value) => (value > 0 && Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6) ? shortNumber(value) : ""));
}

if (typeof module !== "undefined") module.exports = { aligned, shortNumber, powers };

if (typeof document !== "undefined") (() => {
  const LIGHT = ["#5a6675", "#0b6bcb", "#2f9e5f", "#d9730d", "#9a5fd0", "#d6455d", "#17a2b8"];
  const DARK = ["#9aa7b6", "#6cb2ff", "#4cc38a", "#ff9f4a", "#c08bf0", "#ff8589", "#4fd0e6"];
  const charts = [];

  function draw(chart) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const dark = getComputedStyle(document.body).backgroundColor !== "rgb(255, 255, 255)";
    const { about, holder } = chart;
    const { data, labels } = aligned(about.series);
    const isPlain = about.series.length > 2 || about.series.some((each) => !each.is_line && each.labels.length);
    const colours = (dark ? DARK : LIGHT).slice(isPlain ? 0 : 1);
    const axis = (side) => ({
      stroke: colour("soft"), label: about[side].label, labelSize: 22, size: side === "y" ? 62 : 42, font: "12px system-ui, sans-serif",
      labelFont: "12px system-ui, sans-serif", grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 },
      values: about[side].is_log ? (plot, values) => powers(values) : (plot, values) => values.map(shortNumber),
    });
    const options = {
      width: holder.clientWidth, height: 300, padding: [8, 24, 0, 0], cursor: { points: { size: 7 }, drag: { x: true, y: false } },
      scales: { x: { time: false, distr: about.x.is_log ? 3 : 1 }, y: { distr: about.y.is_log ? 3 : 1,
        range: about.y.is_log ? undefined : (plot, least, most) => [Math.min(0, least), most > 0 ? most * 1.08 : 1] } },
      axes: [axis("x"), axis("y")],
      series: [{ label: about.x.label, value: (plot, value) => shortNumber(value) }, ...about.series.map((each, number) => ({
        label: each.name, stroke: colours[number % colours.length], width: 1.6, spanGaps: true,
        paths: each.is_line ? undefined : () => null,
        points: { show: !each.is_line || each.xs.length < 60, size: each.is_line ? 4 : 7, fill: colours[number % colours.length] },
        value: (plot, value, series, index) => {
          const label = labels[number].get(index);
          return value === null || value === undefined ? "–" : `${shortNumber(value)}${label ? ` (${label})` : ""}`;
        },
      }))],
      hooks: { draw: [(plot) => {
        const named = labels.reduce((sum, each) => sum + each.size, 0);
        if (!named || named > 24) return;
        const { ctx } = plot;
        const ratio = window.devicePixelRatio || 1;
        ctx.save();
        ctx.font = `${11 * ratio}px system-ui, sans-serif`;
        ctx.fillStyle = colour("ink");
        ctx.textBaseline = "middle";
        ctx.textAlign = "left";
        const taken = [];
        labels.forEach((each, number) => each.forEach((label, index) => {
          const x = plot.valToPos(data[0][index], "x", true), y = plot.valToPos(data[number + 1][index], "y", true);
          const width = ctx.measureText(label).width;
          const left = x + width + 8 * ratio > plot.bbox.left + plot.bbox.width ? x - width - 8 * ratio : x + 8 * ratio;
          const isTaken = taken.some((other) => Math.abs(other.y - y) < 12 * ratio && left < other.right && left + width > other.left);
          if (isTaken) return;
          taken.push({ y, left, right: left + width });
          ctx.fillText(label, left, y);
        }));
        ctx.restore();
      }] },
    };
    if (chart.plot) chart.plot.destroy();
    chart.plot = new uPlot(options, data, holder);
  }

  const stored = document.getElementById("chart-data");
  if (!stored) return;
  const all = JSON.parse(stored.textContent);
  for (const holder of document.querySelectorAll(".chart")) {
    const chart = { holder, about: all[Number(holder.dataset.chart)], plot: null };
    charts.push(chart);
    draw(chart);
    let before = holder.clientWidth;
    new ResizeObserver(() => {
      if (holder.clientWidth === before || !holder.clientWidth) return;
      before = holder.clientWidth;
      chart.plot.setSize({ width: before, height: 300 });
    }).observe(holder);
  }
  document.addEventListener("themechange", () => charts.forEach(draw));
})();
