// `make bench-web`: figures of the studio in real Chromium against the real stack, a JSON line each.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    environment: "node",
    include: ["bench/**/*.bench.ts"],
    fileParallelism: false,
    testTimeout: 1_800_000,
    hookTimeout: 300_000,
    disableConsoleIntercept: true,
  },
});
