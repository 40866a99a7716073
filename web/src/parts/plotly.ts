// Figures of the plotly visualization, drawn by Plotly itself (its build without eval). The file is large, so it comes
// only when a figure does.

import Plotly from "plotly.js-strict-dist-min";
import type { Json } from "../lib/columns";

export async function plotly(place: HTMLElement, figure: Json): Promise<void> {
  const { data, layout } = figure as { data?: unknown; layout?: Record<string, unknown> };
  if (!Array.isArray(data)) throw new Error("'data' must be an array of traces");
  const dark = document.documentElement.dataset.theme === "dark";
  const ours = { autosize: true, ...(dark ? { paper_bgcolor: "#161b22", plot_bgcolor: "#161b22", font: { color: "#c9d1d9" } } : {}) };
  await Plotly.newPlot(place, data, { ...ours, ...layout, width: undefined, height: undefined }, {
    responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
  });
  place.parentElement!.dataset.drawn = "true";
}
