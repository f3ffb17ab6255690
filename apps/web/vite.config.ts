import { defineConfig, type Plugin } from "vite";

/** Writes the names of the page's files into its service worker, which keeps them. */
function kept(): Plugin {
  return {
    name: "kept-files",
    enforce: "post",
    generateBundle(_, bundle) {
      const worker = bundle["service-worker.js"];
      if (worker?.type !== "chunk") throw new Error("there is no service-worker.js");
      const files = Object.keys(bundle).filter((name) => name !== worker.fileName && !name.endsWith(".html"));
      const shell = ["./", ...files.filter((name) => !name.endsWith(".wasm"))];
      worker.code = worker.code.replace("__SHELL__", shell.join(" ")).replace("__FILES__", files.join(" "));
    },
  };
}

export default defineConfig({
  root: "src/page",
  base: "./",
  plugins: [kept()],
  worker: { format: "es" },
  build: {
    outDir: "../../built",
    emptyOutDir: true,
    target: "es2023",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: { index: "src/page/index.html", "service-worker": "src/page/service-worker.ts" },
      output: {
        entryFileNames: ({ name }) => (name === "service-worker" ? "service-worker.js" : "assets/[name]-[hash].js"),
      },
    },
  },
});
