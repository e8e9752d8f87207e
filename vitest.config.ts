import { defineConfig } from 'vitest/config';

// fast: no server, no child process, no port. system: real parts; two files at a time on two cores.
export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: 'fast',
          include: ['test/**/*.test.ts'],
          exclude: ['test/**/*.system.test.ts'],
          testTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'system',
          include: ['test/**/*.system.test.ts'],
          // Real servers on a shared machine: a failure is tried again and shown as `retry x1`, `retry x2`; three in a row fail.
          retry: 2,
          testTimeout: 180_000,
          hookTimeout: 180_000,
          teardownTimeout: 20_000,
        },
      },
    ],
  },
});
