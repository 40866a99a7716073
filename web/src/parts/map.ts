// Points on a map of the world's coasts, which comes with the page: no tiles are fetched from anywhere.

import type * as Echarts from "echarts/core";
import type { EChartsCoreOption } from "echarts/core";
import type { Topology, GeometryCollection } from "topojson-specification";
import { feature } from "topojson-client";
import land from "world-atlas/countries-110m.json";
import type { Chart } from "../lib/chart";

type Points = Extract<Chart, { kind: "map" }>;
let registered = false;

export function mapOption(
  echarts: typeof Echarts, what: Points, palette: string[], ink: { text: string; line: string; paper: string },
): EChartsCoreOption {
  if (!registered) {
    const world = land as unknown as Topology<{ countries: GeometryCollection }>;
    const shapes = feature(world, world.objects.countries);
    for (const { geometry } of shapes.features) {
      if (geometry?.type === "Polygon") geometry.coordinates.forEach(unwrap);
      else if (geometry?.type === "MultiPolygon") geometry.coordinates.forEach((polygon) => polygon.forEach(unwrap));
    }
    echarts.registerMap("world", shapes as unknown as Parameters<typeof echarts.registerMap>[1]);
    registered = true;
  }
  const names = [...new Set(what.points.map((point) => point.name))];
  // Few names are series, as a legend can hold them; many are labels of points.
  const byName = names.length <= 12;
  const groups = byName ? names : [""];
  const sizes = what.points.map((point) => point.value).filter((value) => value > 0);
  const most = sizes.length ? Math.max(...sizes) : 1;
  const [west, east] = extent(what.points.map((point) => point.lon), 180);
  const [south, north] = extent(what.points.map((point) => point.lat), 85);
  return {
    tooltip: {
      renderMode: "richText", confine: true, backgroundColor: ink.paper, borderColor: ink.line, textStyle: { color: ink.text, fontSize: 12 },
      formatter: (item: { name: string; value: number[] }) =>
        `${item.name}\n${item.value[0]}, ${item.value[1]}${Number.isNaN(item.value[2]) ? "" : `: ${item.value[2]}`}`,
    },
    legend: { show: byName && names.length > 1 && what.legend, bottom: 6, textStyle: { color: ink.text } },
    geo: {
      map: "world", roam: true, boundingCoords: [[west, north], [east, south]], silent: true,
      itemStyle: { areaColor: ink.line, borderColor: ink.paper }, top: what.title ? 40 : 8, bottom: 36,
    },
    series: groups.map((group, at) => ({
      type: "scatter", coordinateSystem: "geo", name: group || "points", color: palette[at % palette.length],
      data: what.points.filter((point) => !byName || point.name === group)
        .map((point) => ({ name: point.name, value: [point.lon, point.lat, point.value] })),
      symbolSize: (value: number[]) => (value[2]! > 0 && sizes.length ? 6 + 24 * Math.sqrt(value[2]! / most) : 7),
      itemStyle: { opacity: 0.75 },
    })),
  };
}

/** A coast that crosses the date line goes on beyond 180 degrees instead of back across the whole map. */
function unwrap(ring: number[][]): void {
  let turn = 0;
  for (let at = 1; at < ring.length; at++) {
    const step = ring[at]![0]! + turn - ring[at - 1]![0]!;
    if (step > 180) turn -= 360;
    else if (step < -180) turn += 360;
    ring[at]![0]! += turn;
  }
}

/** The part of the world that the points are in, with a margin. */
function extent(values: number[], limit: number): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return [-limit, limit];
  const margin = Math.max(4, (high - low) * 0.15);
  return [Math.max(-limit, low - margin), Math.min(limit, high + margin)];
}
