import { defineConfig, type Plugin } from "vite";

// `npm run dev` serves the page from its sources and sends everything else to a running server.
const server = process.env.TIDEWATER_URL ?? "http://127.0.0.1:8080";

// Kusto's language libraries are scripts that hang themselves on the global object, or on Node's when they see a
// `module`. In a worker of modules they must be told which of the two it is.
function classicScripts(): Plugin {
  const ours = /@kusto\/language-service(-next)?\/[^/]+\.js$/;
  return {
    name: "classic-scripts",
    transform: {
      filter: { id: ours },
      handler: (code) => ({
        code: `(function (module, exports, define, require, global) {${code}\n}).call(globalThis, void 0, void 0, void 0, void 0, globalThis);\nexport {};`,
        map: null,
      }),
    },
  };
}

export default defineConfig({
  // The server says where the page stands when it serves the first file.
  base: "./",
  build: {
    outDir: process.env.WEB_OUT ?? "dist",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 10_000,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  worker: { format: "es", plugins: () => [classicScripts()] },
  server: { proxy: { "/v1": server, "/v2": server, "/queries": server, "/auth": server, "/ui/settings.json": server } },
});
