/**
 * The whole pipeline over the full recorded day at full speed: messages per CPU-second of ws and of ta, rows per second into
 * ClickHouse, resident memory of each process. The reference of the same run is a bare loop that only parses the same bytes.
 *   TORGHUT_DATA=… node bench/pipeline.ts [--from HH:MM] [--to HH:MM] [--speed N]
 */
import { execFileSync, spawn } from 'node:child_process';
import { createReadStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createGunzip } from 'node:zlib';

const { values } = parseArgs({
  options: { from: { type: 'string' }, to: { type: 'string' }, speed: { type: 'string', default: '1000' } },
});
const data = process.env.TORGHUT_DATA;
if (!data) throw new Error('set TORGHUT_DATA to the folder of recorded market data');
const files = ['trades', 'quotes'].map((name) => join(data, 'us-equities-2013-10-08', `${name}.ndjson.gz`));
const entry = process.env.TORGHUT_CLI_ENTRY ?? resolve('dist/current/cli.js');
const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
const names = ['simulator', 'ws', 'ta', 'sink', 'trade', 'clickhouse', 'postgres'] as const;

interface Usage {
  cpuSeconds: number;
  residentBytes: number;
}

/** CPU seconds (with children that ended) and resident bytes of a process. */
function usageOf(pid: number): Usage | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const resident = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
    return {
      cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
      residentBytes: Number(resident) * 1024,
    };
  } catch {
    return undefined;
  }
}

const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** The reference: gunzip, lines, JSON.parse, nothing else. */
async function parseLoop(): Promise<number> {
  const started = cpuSeconds();
  let messages = 0;
  for (const file of files) {
    for await (const line of createInterface({ input: createReadStream(file).pipe(createGunzip()) })) {
      if ((JSON.parse(line) as { T?: string }).T) messages += 1;
    }
  }
  return messages / (cpuSeconds() - started);
}

const home = join(mkdtempSync(join(tmpdir(), 'torghut-bench-')), 'run');
const args = [
  'up',
  ...files.flatMap((file) => ['--data', file]),
  '--speed',
  values.speed,
  '--exit-at-end',
  '-o',
  'json',
  '--home',
  home,
];
if (values.from) args.push('--from', values.from);
if (values.to) args.push('--to', values.to);
const up = spawn(process.execPath, [entry, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
let stdout = '';
up.stdout.setEncoding('utf8').on('data', (text: string) => {
  stdout += text;
});
const peak = new Map<string, number>();
const used = new Map<string, number>();
let isRunning = true;
const ended = new Promise<number | null>((done) => up.once('close', done)).finally(() => {
  isRunning = false;
});
while (isRunning) {
  await delay(250);
  for (const name of names) {
    try {
      const { pid } = JSON.parse(readFileSync(join(home, 'services', `${name}.json`), 'utf8')) as { pid: number };
      const usage = usageOf(pid);
      if (!usage) continue;
      used.set(name, usage.cpuSeconds);
      peak.set(name, Math.max(peak.get(name) ?? 0, usage.residentBytes));
    } catch {
      // Not there yet, or not any more.
    }
  }
}
const code = await ended;
if (code !== 0) throw new Error(`up ended with ${code}: ${stdout}`);
interface Summary {
  input: { trades: number; quotes: number };
  micro_bars: { rows: number };
  signals: number;
  wall_seconds: number;
  speed_reached: number;
  latency_ms: Record<string, number>;
}
const summary = JSON.parse(stdout) as Summary;
const messages = summary.input.trades + summary.input.quotes;
const reference = await parseLoop();
const rows = summary.micro_bars.rows + 2 * summary.signals;
const perSecond = (name: string, count: number) => count / (used.get(name) ?? Number.NaN);
const line = (label: string, value: string) => console.log(`${label.padEnd(44)} ${value}`);
line('messages', String(messages));
line('reference: parse loop, messages per CPU-second', reference.toFixed(0));
for (const name of ['ws', 'ta']) {
  const rate = perSecond(name, messages);
  line(
    `${name}: messages per CPU-second`,
    `${rate.toFixed(0)} (${((100 * rate) / reference).toFixed(0)} % of the reference)`,
  );
}
line('sink: rows per CPU-second', perSecond('sink', rows).toFixed(0));
line('rows into ClickHouse per second of the run', (rows / summary.wall_seconds).toFixed(0));
line('speed reached', String(summary.speed_reached));
line('latency, market ms from window end to row', JSON.stringify(summary.latency_ms));
for (const name of names)
  line(`${name}: peak resident MB, CPU seconds`, `${((peak.get(name) ?? 0) / 1e6).toFixed(0)}, ${used.get(name)}`);
rmSync(home, { recursive: true, force: true });
