declare module "plotly.js-strict-dist-min" {
  const Plotly: { newPlot(place: HTMLElement, data: unknown[], layout?: object, config?: object): Promise<unknown> };
  export default Plotly;
}
declare module "world-atlas/countries-110m.json" {
  const topology: unknown;
  export default topology;
}
