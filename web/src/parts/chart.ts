// Draws charts with ECharts. Everything on them is painted, tooltips too: no text from data becomes HTML.

import * as echarts from "echarts/core";
import { BarChart, CustomChart, LineChart, PieChart, ScatterChart, TreemapChart } from "echarts/charts";
import {
  AriaComponent, DataZoomComponent, GeoComponent, GridComponent, LegendComponent, TitleComponent, TooltipComponent,
  VisualMapComponent,
} from "echarts/components";
import { CanvasRenderer } from "echarts/renderers";
import type { EChartsCoreOption, EChartsType } from "echarts/core";
import { download, h, replace } from "./dom";
import { pivot } from "./pivot";
import { chart, type Axes, type Chart, type Series } from "../lib/chart";
import type { Table, Visualization } from "../lib/columns";

echarts.use([
  AriaComponent, BarChart, CanvasRenderer, CustomChart, DataZoomComponent, GeoComponent, GridComponent, LegendComponent,
  LineChart, PieChart, ScatterChart, TitleComponent, TooltipComponent, TreemapChart, VisualMapComponent,
]);

type XY = Extract<Chart, { kind: "xy" }>;

const LIGHT = ["#0b6bcb", "#d9480f", "#2b8a3e", "#9c36b5", "#c2255c", "#0c8599", "#e67700", "#5c5f66", "#364fc7", "#5c940d"];
const DARK = ["#4dabf7", "#ff922b", "#69db7c", "#da77f2", "#f783ac", "#3bc9db", "#ffd43b", "#adb5bd", "#91a7ff", "#c0eb75"];
/** Narrower than this, the legend goes below the drawing. */
const NARROW = 560;
const NARROW_TILE = 430;
/** Beyond this many points a line is thinned to what its width can show. */
const THIN = 5000;

export class ChartView {
  readonly element = h("div", { class: "chart" });
  private readonly canvas = h("div", { class: "chart-canvas", attributes: { role: "img" } });
  private readonly note = h("div", { class: "chart-note" });
  private instance: EChartsType | null = null;
  private readonly watch = new ResizeObserver(() => this.instance?.resize());
  private readonly redraw = (): void => this.draw();

  /** `small` leaves out what a tile has no room for. */
  constructor(private readonly table: Table, private readonly asked: Visualization, private readonly small = false) {
    document.addEventListener("tidewater-theme", this.redraw);
  }

  draw(): void {
    const what = chart(this.table, this.asked);
    this.note.textContent = what.note;
    this.canvas.setAttribute("aria-label", describe(what, this.asked));
    this.element.dataset.kind = what.kind;
    this.instance?.dispose();
    this.instance = null;
    if (what.kind === "none") return replace(this.element, h("div", { class: "empty", text: what.why }));
    if (what.kind === "card") return replace(this.element, titleOf(what), cards(what));
    if (what.kind === "pivot") return replace(this.element, titleOf(what), pivot(this.table));
    if (what.kind === "plotly") {
      replace(this.element, this.canvas, this.note);
      void import("./plotly").then(({ plotly }) => plotly(this.canvas, what.figure)).catch((error: unknown) => {
        replace(this.element, h("div", { class: "empty", text: `The figure cannot be drawn: ${String(error)}` }));
      });
      return;
    }
    replace(this.element, this.canvas, this.note);
    small = this.small;
    narrow = this.canvas.clientWidth < (small ? NARROW_TILE : NARROW);
    this.instance = echarts.init(this.canvas, null, { renderer: "canvas" });
    this.watch.observe(this.canvas);
    if (what.kind === "map") {
      void import("./map").then(({ mapOption }) => {
        this.ready();
        this.instance?.setOption({ ...base(what), ...mapOption(echarts, what, palette(), ink()) });
      });
      return;
    }
    this.ready();
    this.instance.setOption(option(what));
  }

  private ready(): void {
    // Tests, and people's own scripts, wait for this; it may come while the option is set.
    this.instance?.on("finished", () => {
      this.element.dataset.drawn = "true";
    });
  }

  save(): void {
    const name = (this.asked.Title || "chart").replace(/[^\w.-]+/g, "_");
    const paper = getComputedStyle(document.documentElement).getPropertyValue("--paper").trim() || "#fff";
    const source = this.instance?.getDataURL({ type: "png", pixelRatio: 2, backgroundColor: paper });
    if (!source) {
      const canvas = this.element.querySelector("canvas");
      if (!canvas) return;
      canvas.toBlob((blob) => blob && download(`${name}.png`, [blob], "image/png"));
      return;
    }
    const bytes = Uint8Array.from(atob(source.slice(source.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
    download(`${name}.png`, [bytes], "image/png");
  }

  dispose(): void {
    document.removeEventListener("tidewater-theme", this.redraw);
    this.watch.disconnect();
    this.instance?.dispose();
    this.instance = null;
  }
}

/** Whether the drawing at hand has no room beside it. */
let narrow = false;
/** Whether it is a tile's. */
let small = false;

function isDark(): boolean {
  return document.documentElement.dataset.theme === "dark";
}

function palette(): string[] {
  return isDark() ? DARK : LIGHT;
}

function ink(): { text: string; line: string; paper: string } {
  return isDark() ? { text: "#c9d1d9", line: "#39424e", paper: "#161b22" } : { text: "#30363d", line: "#d8dee4", paper: "#ffffff" };
}

function describe(what: Chart, asked: Visualization): string {
  const kind = asked.Visualization ?? "chart";
  const series = what.kind === "xy" ? `, series: ${what.series.slice(0, 10).map((one) => one.name).join(", ")}` : "";
  return `${what.title ? `${what.title}: ` : ""}${kind}${series}. The table beside it holds the values.`;
}

function titleOf(what: Chart): HTMLElement | null {
  return what.title ? h("h2", { class: "chart-title", text: what.title }) : null;
}

function cards(what: Extract<Chart, { kind: "card" }>): HTMLElement {
  return h("div", { class: "cards" }, ...what.cards.map((card) =>
    h("div", { class: "card" }, h("div", { class: "card-value", text: card.value || "null" }), h("div", { class: "card-name", text: card.name }))));
}

function base(what: Chart): EChartsCoreOption {
  const { text } = ink();
  return {
    animation: !matchMedia("(prefers-reduced-motion: reduce)").matches && !navigator.webdriver,
    color: palette(),
    textStyle: { color: text, fontFamily: "system-ui, sans-serif" },
    title: what.title ? { text: what.title, left: "center", top: 6, textStyle: { color: text, fontSize: 15 } } : undefined,
  };
}

function tooltip(extra: object = {}): object {
  const { text, line, paper } = ink();
  return {
    // Painted, not HTML: names in data stay text.
    renderMode: "richText", confine: true, backgroundColor: paper, borderColor: line, textStyle: { color: text, fontSize: 12 }, ...extra,
  };
}

function option(what: Exclude<Chart, { kind: "none" | "card" | "pivot" | "plotly" | "map" }>): EChartsCoreOption {
  switch (what.kind) {
    case "xy": return what.split === "panels" && !what.horizontal ? panels(what) : single(what);
    case "pie": return pie(what);
    case "treemap": return treemap(what);
    case "ladder": return ladder(what);
  }
}

function legend(what: Chart, names: string[]): object {
  const { text } = ink();
  const many = names.length > 1 && what.legend;
  return {
    show: many, type: "scroll", data: names,
    ...(narrow ? { bottom: small ? 2 : 28, left: "center" } : { orient: "vertical", right: 8, top: what.title ? 36 : 12, bottom: 40 }),
    textStyle: { color: text, width: small ? 90 : 150, overflow: "truncate" }, pageTextStyle: { color: text }, pageIconColor: text,
    selector: names.length > 2 && !narrow && !small ? [{ type: "all", title: "all" }, { type: "inverse", title: "invert" }] : false,
    selectorLabel: { color: text },
  };
}

function axis(kind: XY["x"], categories: string[], title: string, log: boolean, min: number | null, max: number | null, vertical: boolean): object {
  const { text, line } = ink();
  return {
    type: kind === "category" ? "category" : kind === "time" ? "time" : log ? "log" : "value",
    ...(kind === "category" ? { data: categories } : { scale: !vertical }),
    ...(min === null ? {} : { min }), ...(max === null ? {} : { max }),
    name: title, nameLocation: "middle", nameGap: vertical ? 52 : 28, nameTextStyle: { color: text },
    axisLabel: { color: text, hideOverlap: true, ...(kind === "category" ? { width: 120, overflow: "truncate" } : {}) },
    axisLine: { lineStyle: { color: line } }, splitLine: { lineStyle: { color: line, opacity: 0.6 }, show: vertical },
    // Times are UTC, as everywhere in KQL.
    ...(kind === "time" ? { useUTC: true } : {}),
  };
}

function totals(what: XY): Map<number, number> {
  const sums = new Map<number, number>();
  for (const series of what.series) {
    for (const [at, value] of series.points) sums.set(at, (sums.get(at) ?? 0) + Math.abs(value ?? 0));
  }
  return sums;
}

function marks(what: XY, series: Series, index: number, sums: Map<number, number> | null): object[] {
  const flip = (point: [number, number | null]): (number | null)[] => {
    const value = sums && point[1] !== null ? (100 * point[1]) / (sums.get(point[0]) || 1) : point[1];
    // A logarithm has no zero.
    const drawn = what.axes.yLog && value !== null && value <= 0 ? null : value;
    return what.horizontal ? [drawn, point[0]] : [point[0], drawn];
  };
  const points = series.points;
  const at = what.split === "none" ? 0 : index;
  const placed = what.split === "axes" ? { yAxisIndex: at } : what.split === "panels" ? { xAxisIndex: at, yAxisIndex: at } : {};
  const common = {
    name: series.name, data: points.map(flip), ...placed, emphasis: { focus: "series" },
    ...(what.stack !== "none" ? { stack: `s${at}` } : {}),
  };
  const drawn: object[] = [];
  if (what.mark === "bar") drawn.push({ ...common, type: "bar", barMaxWidth: 60, large: points.length > 2000 });
  else if (what.mark === "scatter") drawn.push({ ...common, type: "scatter", symbolSize: 7, large: points.length > 2000 });
  else {
    drawn.push({
      ...common, type: "line", showSymbol: points.length < 60, symbolSize: 5, connectNulls: false,
      sampling: points.length > THIN ? "lttb" : undefined, lineStyle: { width: 1.8 },
      ...(what.mark === "area" ? { areaStyle: { opacity: what.stack === "none" ? 0.3 : 0.75 } } : {}),
    });
  }
  if (series.anomalies.length) {
    drawn.push({
      ...placed, type: "scatter", name: `${series.name} (anomalies)`, data: series.anomalies.map(flip), symbolSize: 9,
      itemStyle: { color: isDark() ? "#ff6b6b" : "#c92a2a" }, z: 5,
    });
  }
  return drawn;
}

function zoom(what: XY, count: number): object[] {
  const indexes = Array.from({ length: count }, (_, at) => at);
  const target = what.horizontal ? { yAxisIndex: indexes } : { xAxisIndex: indexes };
  const { line, text } = ink();
  const slider = { type: "slider", ...target, borderColor: line, textStyle: { color: text }, filterMode: "none" };
  const inside = { type: "inside", ...target, filterMode: "none" };
  // The wheel is for the page that the tiles are on.
  if (small) return [{ ...inside, zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false }];
  return [
    inside,
    what.horizontal ? { ...slider, width: 14, left: 4 } : { ...slider, height: 16, bottom: 8, brushSelect: false },
  ];
}

/** Which y axis or panel a series has: its column's place. */
function places(what: XY): string[] {
  return what.split === "none" ? [what.axes.yTitle] : [...new Set(what.series.map((series) => series.column))];
}

function single(what: XY): EChartsCoreOption {
  const { axes } = what;
  const names = what.series.map((series) => series.name);
  const sums = what.stack === "stacked100" ? totals(what) : null;
  const columns = places(what);
  const value = (title: string, at: number): object => ({
    ...axis("number", [], title, axes.yLog, axes.yMin, sums ? 100 : axes.yMax, true), scale: false,
    ...(at > 0 ? { position: "right", offset: (at - 1) * 64, splitLine: { show: false } } : {}),
  });
  const key = axis(what.x, what.categories, axes.xTitle, axes.xLog, axes.xMin, axes.xMax, false);
  const room = names.length > 1 && what.legend && !narrow ? (small ? 140 : 200) : 24;
  const extra = Math.max(0, columns.length - 1) * 64;
  const below = small ? (narrow && names.length > 1 && what.legend ? 64 : 42) : narrow ? 96 : 72;
  const box = { left: what.horizontal ? (small ? 12 : 48) : 76, right: room + extra, top: what.title ? 44 : small ? 14 : 24, bottom: what.horizontal && small ? below - 22 : below, containLabel: what.horizontal };
  const x = what.horizontal ? { ...value(axes.yTitle, 0), nameGap: 28, ...(small ? { name: "" } : {}) } : key;
  const y = what.horizontal ? { ...key, inverse: true, nameGap: 110, ...(small ? { name: "" } : {}) } : columns.map((title, at) => value(title, at));
  return {
    ...base(what), aria: { enabled: false }, useUTC: true, legend: legend(what, names), grid: box, xAxis: x, yAxis: y,
    tooltip: tooltip({ trigger: what.mark === "scatter" ? "item" : "axis", order: "valueDesc", axisPointer: { type: what.mark === "bar" ? "shadow" : "line" } }),
    dataZoom: zoom(what, 1),
    series: what.series.flatMap((series) => marks(what, series, Math.max(0, columns.indexOf(series.column)), sums)),
  };
}

function panels(what: XY): EChartsCoreOption {
  const { axes } = what;
  const columns = places(what);
  const names = [...new Set(what.series.map((series) => series.name))];
  const sums = what.stack === "stacked100" ? totals(what) : null;
  const height = 92 / columns.length;
  const room = names.length > 1 && what.legend && !narrow ? 200 : 24;
  return {
    ...base(what), useUTC: true, legend: legend(what, names),
    grid: columns.map((_, at) => ({ left: 76, right: room, top: `${at * height + 6}%`, height: `${height - 14}%` })),
    xAxis: columns.map((_, at) => ({
      ...axis(what.x, what.categories, at === columns.length - 1 ? axes.xTitle : "", axes.xLog, axes.xMin, axes.xMax, false), gridIndex: at,
    })),
    yAxis: columns.map((title, at) => ({
      ...axis("number", [], title, axes.yLog, axes.yMin, axes.yMax, true), scale: false, gridIndex: at,
    })),
    tooltip: tooltip({ trigger: what.mark === "scatter" ? "item" : "axis", order: "valueDesc" }),
    axisPointer: { link: [{ xAxisIndex: "all" }] },
    dataZoom: zoom(what, columns.length),
    series: what.series.flatMap((series) => marks(what, series, columns.indexOf(series.column), sums)),
  };
}

function pie(what: Extract<Chart, { kind: "pie" }>): EChartsCoreOption {
  const { text } = ink();
  return {
    ...base(what), legend: legend(what, what.slices.map((slice) => slice.name)),
    tooltip: tooltip({ trigger: "item", formatter: "{b}: {c} ({d}%)" }),
    series: [{
      type: "pie", radius: ["0%", "68%"], center: [what.legend && !narrow ? "42%" : "50%", narrow ? "46%" : "54%"], data: what.slices,
      label: { color: text, formatter: "{b}: {d}%" }, itemStyle: { borderColor: ink().paper, borderWidth: 1 },
    }],
  };
}

function treemap(what: Extract<Chart, { kind: "treemap" }>): EChartsCoreOption {
  return {
    ...base(what), tooltip: tooltip({ trigger: "item", formatter: "{b}: {c}" }),
    series: [{
      type: "treemap", data: what.nodes, top: what.title ? 40 : 10, left: 10, right: 10, bottom: 40, roam: false,
      leafDepth: what.nodes.some((node) => node.children) ? 2 : undefined,
      label: { formatter: "{b}\n{c}" }, breadcrumb: { show: what.nodes.some((node) => node.children) },
      upperLabel: { show: true, height: 20 }, itemStyle: { borderColor: ink().paper },
    }],
  };
}

function ladder(what: Extract<Chart, { kind: "ladder" }>): EChartsCoreOption {
  const axes: Axes = what.axes;
  const colours = palette();
  return {
    ...base(what), useUTC: true,
    tooltip: tooltip({
      trigger: "item",
      formatter: (item: { data: { name: string; value: number[] } }) => {
        const show = (value: number): string => (what.time ? new Date(value).toISOString().replace(".000Z", "Z") : String(value));
        return `${item.data.name}\n${show(item.data.value[1]!)} – ${show(item.data.value[2]!)}`;
      },
    }),
    grid: { left: 24, right: 30, top: what.title ? 44 : 20, bottom: 60, containLabel: true },
    xAxis: axis(what.time ? "time" : "number", [], axes.xTitle, axes.xLog, axes.xMin, axes.xMax, false),
    yAxis: { ...axis("category", what.lanes, "", false, null, null, false), inverse: true },
    dataZoom: [{ type: "inside", filterMode: "none" }, { type: "inside", yAxisIndex: 0, filterMode: "none", zoomOnMouseWheel: false }],
    series: [{
      type: "custom", encode: { x: [1, 2], y: 0 },
      data: what.spans.map((span) => ({ name: span.name, value: [span.lane, span.from, span.to] })),
      renderItem: (_: unknown, api: {
        value(at: number): number; coord(point: number[]): number[]; size(point: number[]): number[];
      }) => {
        const [start, end] = [api.coord([api.value(1), api.value(0)]), api.coord([api.value(2), api.value(0)])];
        const tall = Math.max(3, Math.min(26, api.size([0, 1])[1]! * 0.6));
        return {
          type: "rect", style: { fill: colours[api.value(0) % colours.length] },
          shape: { x: start[0]!, y: start[1]! - tall / 2, width: Math.max(2, end[0]! - start[0]!), height: tall, r: 2 },
        };
      },
    }],
  };
}

