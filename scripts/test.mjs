// Runs the static checks and the tests, and closes with one line: N passed, N failed, N skipped.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const known = ['--fast', '--full'];
const args = process.argv.slice(2);
const unknown = args.find((arg) => arg.startsWith('-') && !known.includes(arg));
if (unknown) {
  console.error(`bin/test: unknown option ${unknown}; there are ${known.join(', ')}`);
  process.exit(2);
}
const isFast = args.includes('--fast');
const isFull = args.includes('--full');
const names = args.filter((arg) => !arg.startsWith('-'));

const env = { ...process.env, FORCE_COLOR: '0', TORGHUT_CLI_ENTRY: resolve('dist/current/cli.js') };
// A test never meets the caller's own settings.
for (const name of Object.keys(env)) {
  if (/^(TRADING|TA|KAFKA|APCA|ALPACA|LLM|INGEST|DB)_/.test(name)) delete env[name];
}
if (isFull) env.TORGHUT_TEST_FULL = '1';
env.TORGHUT_TEST_SEED ??= String(Math.floor(Date.now() / 1000) % 1_000_000);
console.log(`seed of the rotating samples: ${env.TORGHUT_TEST_SEED} (TORGHUT_TEST_SEED repeats it)`);
if (env.TORGHUT_DATA) {
  env.TORGHUT_DATA = resolve(env.TORGHUT_DATA);
  if (!existsSync(env.TORGHUT_DATA) || !statSync(env.TORGHUT_DATA).isDirectory()) {
    console.error(`bin/test: TORGHUT_DATA names ${env.TORGHUT_DATA}, which is no folder`);
    process.exit(2);
  }
} else {
  console.log('TORGHUT_DATA is not set: tests on recorded market data count as skipped');
}

const counts = { passed: 0, failed: 0, skipped: 0 };

/** One static check counts as one test. */
function check(name, file, checkArgs) {
  const result = spawnSync(file, checkArgs, { stdio: 'inherit', env });
  console.log(`${result.status === 0 ? 'ok' : 'FAILED'}  ${name}`);
  counts[result.status === 0 ? 'passed' : 'failed'] += 1;
}
if (names.length === 0) {
  check('types', 'node_modules/.bin/tsc', ['--noEmit', '-p', 'tsconfig.json']);
  check('types of the pure core', 'node_modules/.bin/tsc', ['--noEmit', '-p', 'src/lib/ta/tsconfig.json']);
  check('format and lint', 'node_modules/.bin/biome', ['check', '--error-on-warnings', '.']);
  check('promises', 'node_modules/.bin/oxlint', [
    '--type-aware',
    '-A',
    'all',
    '-D',
    'typescript/no-floating-promises',
    '-D',
    'typescript/no-misused-promises',
    'src',
  ]);
  check('import arrows', process.execPath, ['scripts/check-imports.mjs']);
  check('error page', process.execPath, ['scripts/error-page.mjs', '--check']);
  check('lock file', process.execPath, ['scripts/lock-platforms.mjs', '--check']);
}

const folder = mkdtempSync(join(tmpdir(), 'torghut-test-'));
const report = join(folder, 'vitest.json');
const child = spawn(
  process.execPath,
  [
    'node_modules/vitest/vitest.mjs',
    'run',
    ...names,
    '--reporter=verbose',
    '--reporter=json',
    `--outputFile.json=${report}`,
    ...(isFast ? ['--project', 'fast'] : []),
  ],
  { stdio: ['ignore', 'inherit', 'inherit'], env },
);
const status = await new Promise((done) => child.on('close', done));
let total = 0;
try {
  const result = JSON.parse(readFileSync(report, 'utf8'));
  counts.passed += result.numPassedTests;
  counts.failed += result.numFailedTests;
  counts.skipped += result.numPendingTests + (result.numTodoTests ?? 0);
  total = result.numTotalTests;
  // A file that does not load has no test of its own to fail.
  counts.failed += result.testResults.filter(
    (file) => file.status === 'failed' && file.assertionResults.length === 0,
  ).length;
} catch (error) {
  console.error(`bin/test: no report of the tests: ${error.message}`);
  counts.failed += 1;
}
rmSync(folder, { recursive: true, force: true });
if (status !== 0 && counts.failed === 0) counts.failed += 1;
if (total === 0 && names.length === 0) counts.failed += 1;
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed === 0 ? 0 : 1);
