import { defineConfig } from "vitest/config";

/** Tests in Chromium: one browser at a time, and the tests of a file in their order. */
export default defineConfig({
  test: {
    include: ["browser/**/*.test.ts"],
    fileParallelism: false,
    testTimeout: 900_000,
    hookTimeout: 300_000,
  },
});
