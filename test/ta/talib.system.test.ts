/**
 * The core's indicators against TA-Lib, a library of somebody else. TA-Lib seeds its averages otherwise (by the mean of the
 * first bars), so they are compared once every seed has faded.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { IndicatorValues } from '../../src/lib/ta/index.ts';
import { minutesMonth, type Series, secondsWalk, signalsOf } from './series.ts';

const version = '0.8.2';
const seed = Number(process.env.TORGHUT_TEST_SEED ?? 20_131_008);
/** (25/27)^600 is 1e-20: nothing is left of any seed. */
const faded = 600;

/** A Python with TA-Lib, made once in the cache of the launcher. @throws naming the command that installs what is missing */
function pythonWithTaLib(): string {
  const cache = process.env.TORGHUT_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'torghut');
  const folder = join(cache, `talib-${version}`);
  const python = join(folder, 'bin', 'python');
  if (existsSync(join(folder, '.complete'))) return python;
  try {
    execFileSync('python3', ['-c', 'import venv, ensurepip'], { stdio: 'ignore' });
  } catch (error) {
    throw new Error('TA-Lib needs python3 with venv; run: apt-get install python3 python3-venv', { cause: error });
  }
  // A venv holds its own path, so it is made in place; one that was left half made is made anew.
  const lock = `${folder}.${process.pid}`;
  mkdirSync(cache, { recursive: true });
  rmSync(folder, { recursive: true, force: true });
  execFileSync('python3', ['-m', 'venv', folder], { stdio: ['ignore', 'ignore', 'inherit'] });
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--only-binary', ':all:'];
  execFileSync(python, [...pip, `TA-Lib==${version}`], { stdio: ['ignore', 'ignore', 'inherit'] });
  writeFileSync(lock, version);
  renameSync(lock, join(folder, '.complete'));
  return python;
}

let python = '';
beforeAll(() => {
  python = pythonWithTaLib();
});

function taLib(series: Series): Record<string, (number | null)[]> {
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
  const input = JSON.stringify({
    close: series.bars.map((bar) => bar.close),
    notional: series.bars.map(({ trades }) => sum(trades.map(({ price, size }) => price * size))),
    volume: series.bars.map(({ trades }) => sum(trades.map(({ size }) => size))),
    bars_of_5m: 300 / series.windowSeconds,
  });
  const options = { input, encoding: 'utf8', maxBuffer: 1 << 28 } as const;
  return JSON.parse(execFileSync(python, [join(import.meta.dirname, 'indicators.py')], options));
}

const series: (readonly [Series, string[]])[] = [
  [secondsWalk('seconds', { seed, bars: process.env.TORGHUT_TEST_FULL ? 23_400 : 4_000, price: 48.5 }), []],
  [secondsWalk('a very low price', { seed: seed + 1, bars: 2_000, price: 0.02, tick: 0.0001 }), []],
  // A window of 60 s holds one return of minute bars: too few for a deviation.
  [minutesMonth('a month of minutes', seed + 2), ['volRealizedW60s']],
];

describe(`indicators against TA-Lib (seed ${seed})`, () => {
  it.each(series)('$name: within 1e-9 of the price', (given, absent) => {
    const signals = signalsOf(given);
    const theirs = taLib(given);
    const { bars } = given;
    let compared = 0;
    for (const [name, row] of Object.entries(theirs)) {
      for (let i = faded; i < bars.length; i++) {
        const own = signals[i]?.values[name as keyof IndicatorValues] ?? null;
        if (absent.includes(name)) {
          expect(own, name).toBeNull();
          continue;
        }
        // Their windows count bars: over a night they hold other bars than a window of 300 s.
        const span = (bars[i]?.end as number) - (bars[i - 300 / given.windowSeconds]?.end as number);
        if (name === 'vwapW5m' && span !== 300) continue;
        const unit = name === 'rsi14' ? 100 : name === 'volRealizedW60s' ? 1 : (bars[i]?.close as number);
        const difference = Math.abs((own ?? Number.NaN) - (row[i] ?? Number.NaN)) / unit;
        if (!(difference <= 1e-9)) expect.fail(`${name} of bar ${i} is ${own}, TA-Lib has ${row[i]}`);
        compared += 1;
      }
    }
    expect(compared).toBeGreaterThan((bars.length - faded) * 9.5);
  });

  it('sees a changed price: the comparison can fail', () => {
    const given = secondsWalk('changed', { seed, bars: 700, price: 48.5 });
    const before = taLib(given).ema12?.at(-1);
    (given.bars.at(-1) as { close: number }).close += 1e-6;
    const own = signalsOf(given).at(-1)?.values.ema12 as number;
    expect(Math.abs(own - (before as number)) / 48.5).toBeLessThan(1e-9);
    expect(Math.abs(own - (taLib(given).ema12?.at(-1) as number)) / own).toBeGreaterThan(1e-9);
  });
});
