/**
 * `torghut ta status`, `ta verify` and `ta diff` on real parts: the embedded log, a ta engine and a sink as processes, the
 * embedded ClickHouse engine.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { ClickHouseClient } from '@clickhouse/client';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import * as diffCommand from '../../src/commands/ta-diff.ts';
import * as statusCommand from '../../src/commands/ta-status.ts';
import * as verifyCommand from '../../src/commands/ta-verify.ts';
import { computeFile } from '../../src/daemons/ta/compute.ts';
import { openEventLog } from '../../src/lib/log/open.ts';
import { defaultTopics, topicSpec } from '../../src/lib/log/topics.ts';
import { virtualClock } from '../../src/lib/service/clock.ts';
import { findService, homePaths } from '../../src/lib/service/home.ts';
import { settingsOf } from '../../src/lib/ta/index.ts';
import { clientOf, rowsOf, type StoreProcess, startStore, until } from '../embedded/rig.ts';
import { envelopeOf, type Feed, type FeedRecord, feedRecords, openFeed, progressRecords } from './feed.ts';
import { OPEN, randomMarket, trade } from './fixtures.ts';

const seed = Number(process.env.TORGHUT_TEST_SEED ?? 20_131_008);
/** A quiet morning, one trade a minute for three hours: more than one slice of the comparison. */
function morning(): FeedRecord[] {
  return Array.from({ length: 180 }, (_, i) => {
    const event = trade(i * 60 - 10_800, 20 + (i % 7) / 100, 100, { symbol: 'MU', id: 500_000 + i, seq: i });
    const atMs = event.sec * 1_000;
    const value = Buffer.from(envelopeOf(event).text);
    const record = { topic: defaultTopics.trades, key: event.symbol, value, timestampMs: atMs };
    return [{ atMs, record }, ...progressRecords(atMs)];
  }).flat();
}
const market = [...morning(), ...feedRecords(randomMarket(seed, 100, 5, ['AIG', 'BAC', 'IBM', 'SPY', 'TSLA']), seed)];

let feed: Feed;
let store: StoreProcess;
let client: ClickHouseClient;
const children = new Set<ChildProcess>();

function start(script: string): ChildProcess {
  const child = spawn(process.execPath, [resolve(script), feed.home], {
    env: { ...feed.env, TORGHUT_PARENT: 'stdin', TA_CLICKHOUSE_FLUSH_MS: '50' },
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  children.add(child);
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  const gone = new Promise((done) => child.once('exit', done));
  child.kill('SIGKILL');
  await gone;
  children.delete(child);
}

/** Runs a command as the CLI does. */
async function run(module: { configure(command: Command): void }, args: readonly string[], home = feed.home) {
  const command = new Command('torghut').exitOverride();
  module.configure(command);
  let stdout = '';
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    stdout += String(text);
    return true;
  });
  try {
    await command.parseAsync(['--home', home, ...args], { from: 'user' });
    return { code: process.exitCode ?? 0, stdout };
  } finally {
    write.mockRestore();
    process.exitCode = undefined;
  }
}

interface Difference {
  verdict: string;
  reason: string | null;
  records_read: number;
  compared: { bars: number; signals_1s: number; signals_1m: number };
  only_left: number;
  only_right: number;
  different: number;
  first_difference: null | {
    kind: string;
    table: string;
    symbol: string;
    window_size: string;
    event_ts: string;
    columns: Record<string, { left: unknown; right: unknown }>;
  };
  input_of_first: null | { total: number; events: { kind: string; price: number; place: string }[] };
}

async function json<T = Difference>(...args: Parameters<typeof run>): Promise<{ code: unknown; value: T }> {
  const { code, stdout } = await run(args[0], [...args[1], '-o', 'json'], args[2]);
  return { code, value: JSON.parse(stdout) as T };
}

interface TradeValue {
  channel: string;
  symbol: string;
  event_ts: string;
  payload: { t: string; s: number; i: number; x: string };
}

/** A trade in the middle of the stretch that counts for everything and that no correction or cancel names. */
function plainTrade(symbol: string): { record: FeedRecord['record']; value: TradeValue } {
  const texts = market.map(({ record }) => String(record.value));
  const amended = new Set(
    texts
      .filter((text) => /"channel":"(corrections|cancelErrors)"/.test(text) && text.includes(`"symbol":"${symbol}"`))
      .map((text) => JSON.parse(text) as { payload: { oi?: number; i?: number } })
      .map(({ payload }) => payload.oi ?? payload.i),
  );
  for (const { record, atMs } of market) {
    const text = String(record.value);
    if (record.key !== symbol || atMs < (OPEN + 40) * 1_000 || !/"channel":"trades"[\s\S]*"c":\[" "\]/.test(text))
      continue;
    const value = JSON.parse(text) as TradeValue;
    if (!amended.has(value.payload.i)) return { record, value };
  }
  throw new Error(`no trade of ${symbol}`);
}

async function write(to: Feed, records: readonly FeedRecord[]): Promise<void> {
  await to.writer.commit({ records: records.map(({ record }) => record) });
}

async function status() {
  return (await json<{ state: string; lag: number; findings: { code: string }[] }>(statusCommand, [])).value;
}

/** Nothing is left to compute or to store, and what is stored is right. */
async function isAllEqual(): Promise<boolean> {
  const { value } = await json<Difference & { compared_until: string | null }>(verifyCommand, []).catch(() => ({
    value: undefined,
  }));
  return value?.verdict === 'equal' && value.compared_until === null;
}

let engine: ChildProcess;
let sink: ChildProcess;

beforeAll(async () => {
  feed = await openFeed();
  vi.stubEnv('TORGHUT_RUN_ID', 'test');
  vi.stubEnv('KAFKA_BOOTSTRAP', '');
  store = await startStore('clickhouse', feed.home);
  client = clientOf(store.endpoint);
  await write(feed, market);
  engine = start('test/ta/engine-process.ts');
  sink = start('test/sink/child.ts');
  await until('ta serves', () => findService(feed.home, 'ta') && findService(feed.home, 'sink'), 60_000);
  await until('everything is computed and stored', isAllEqual, 120_000);
});

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await client.close();
  await store.kill();
  await feed.close();
  rmSync(feed.home, { recursive: true, force: true });
  vi.unstubAllEnvs();
});

/** A bar in the middle of the stretch. */
async function someBar() {
  const [row] = await rowsOf<{ symbol: string; event_ts: string; c: number }>(
    client,
    "SELECT symbol, toString(event_ts) AS event_ts, c FROM ta_microbars FINAL WHERE symbol = 'IBM' ORDER BY event_ts LIMIT 1 OFFSET 40",
  );
  return row as { symbol: string; event_ts: string; c: number };
}

const alter = (query: string) => client.command({ query, clickhouse_settings: { mutations_sync: '2' } });

describe(`ta commands (seed ${seed})`, () => {
  it('verify: the stored rows equal what the log gives, all of them or of a range', async () => {
    const { code, value } = await json(verifyCommand, []);
    expect(code).toBe(0);
    expect(value).toMatchObject({
      verdict: 'equal',
      only_left: 0,
      only_right: 0,
      different: 0,
      first_difference: null,
    });
    const [stored] = await rowsOf<{ bars: string; revised: string }>(
      client,
      'SELECT count() AS bars, countIf(revision > 0) AS revised FROM ta_microbars FINAL',
    );
    expect(value.compared.bars).toBe(Number(stored?.bars));
    expect(value.compared.bars).toBeGreaterThan(400);
    expect(value.compared.signals_1s).toBeGreaterThan(400);
    expect(value.compared.signals_1m).toBe(5);
    expect(Number(stored?.revised)).toBeGreaterThan(value.compared.bars * 0.01);
    expect(value.records_read).toBeGreaterThan(market.length * 0.95);

    const range = ['--from', '2013-10-08T13:30:10Z', '--to', '2013-10-08T13:30:20Z'];
    const part = await json(verifyCommand, range);
    expect(part.code).toBe(0);
    expect(part.value.compared.bars).toBeGreaterThan(40);
    expect(part.value.compared.bars).toBeLessThanOrEqual(50);
    const nothing = await json(verifyCommand, ['--from', '2013-10-09T13:30:00Z']);
    expect(nothing.code).toBe(11);
    expect(nothing.value.reason).toContain('no row in this range');
  });

  it('verify: one changed price, one missing row and one row too many exit 10, with the trades of that second', async () => {
    const { symbol, event_ts, c } = await someBar();
    const where = `symbol = '${symbol}' AND event_ts = '${event_ts}'`;
    await alter(`ALTER TABLE ta_microbars UPDATE c = c + 0.01 WHERE ${where}`);
    const changed = await json(verifyCommand, []);
    expect(changed.code).toBe(10);
    expect(changed.value).toMatchObject({ verdict: 'different', different: 1, only_left: 0, only_right: 0 });
    const first = changed.value.first_difference;
    expect(first).toMatchObject({ table: 'ta_microbars', symbol, columns: { c: { left: c, right: c + 0.01 } } });
    expect(Object.keys(first?.columns ?? {})).toEqual(['c']);
    const second = Date.parse(`${event_ts.replace(' ', 'T')}Z`) - 1_000;
    const of = (record: FeedRecord) =>
      JSON.parse(String(record.record.value)) as { channel: string; symbol: string; event_ts: string };
    const trades = market.filter((record) => {
      const { channel, symbol: own, event_ts: at } = of(record);
      return channel === 'trades' && own === symbol && Math.floor(Date.parse(at) / 1_000) * 1_000 === second;
    });
    const shown = changed.value.input_of_first?.events.filter(({ kind }) => kind === 'trade') ?? [];
    expect(shown).toHaveLength(trades.length);
    expect(shown.length).toBeGreaterThan(0);
    const text = (await run(verifyCommand, [])).stdout;
    expect(text).toContain('First difference: ta_microbars IBM PT1S');
    expect(text).toContain('torghut.trades.v1/');

    await alter(
      `ALTER TABLE ta_microbars UPDATE c = ${c}, symbol = symbol WHERE ${where}`.replace(', symbol = symbol', ''),
    );
    expect((await json(verifyCommand, [])).code).toBe(0);

    const columns = (
      await rowsOf<{ name: string }>(
        client,
        "SELECT name FROM system.columns WHERE table = 'ta_signals' AND database = 'torghut'",
      )
    ).map(({ name }) => name);
    await client.command({ query: `CREATE TABLE kept AS ta_signals` });
    await client.command({ query: `INSERT INTO kept SELECT * FROM ta_signals WHERE ${where}` });
    await alter(`ALTER TABLE ta_signals DELETE WHERE ${where}`);
    const missing = await json(verifyCommand, []);
    expect(missing).toMatchObject({ code: 10, value: { only_left: 1, only_right: 0, different: 0 } });
    expect(missing.value.first_difference).toMatchObject({ kind: 'only_left', table: 'ta_signals', symbol });
    await client.command({ query: 'INSERT INTO ta_signals SELECT * FROM kept' });

    const later = columns
      .map((name) => (name === 'symbol' ? "'ZZZ'" : name === 'src_partition' ? '7' : name))
      .join(', ');
    await client.command({ query: `INSERT INTO ta_signals (${columns.join(', ')}) SELECT ${later} FROM kept` });
    const extra = await json(verifyCommand, []);
    expect(extra.code).toBe(10);
    expect(extra.value.first_difference).toMatchObject({ kind: 'only_right', symbol: 'ZZZ' });
    await alter("ALTER TABLE ta_signals DELETE WHERE symbol = 'ZZZ'");
    await client.command({ query: 'DROP TABLE kept SYNC' });
    expect((await json(verifyCommand, [])).code).toBe(0);
  });

  it('verify: one changed trade in the log exits 10 at its second', async () => {
    const other = await openFeed();
    try {
      const value = plainTrade('SPY').value;
      // Wherever the same trade stands (some come twice), it is the changed one.
      const same = `"i":${value.payload.i},"x":"${value.payload.x}"`;
      const changed = market.map((one) => {
        const text = String(one.record.value);
        if (one.record.key !== 'SPY' || !text.includes(same)) return one;
        const body = JSON.parse(text) as { channel: string; payload: { s: number } };
        if (body.channel !== 'trades') return one;
        body.payload.s += 1;
        return { ...one, record: { ...one.record, value: Buffer.from(JSON.stringify(body)) } };
      });
      await write(other, changed);
      const clock = virtualClock(homePaths.clock(other.home));
      const log = await openEventLog({ home: other.home, env: {}, clock });
      const inputs = [defaultTopics.trades, defaultTopics.quotes, defaultTopics.bars];
      await log.ensureTopics((['taBars', 'taSignals'] as const).map((role) => topicSpec(role, { clock: 'virtual' })));
      const ends = (await log.describeTopics(inputs)).flatMap(({ name, partitions }) =>
        partitions.map(({ partition, latest }) => ({ topic: name, partition, offset: latest })),
      );
      await log.commitOffsets({ groupId: 'torghut-ta', offsets: ends });
      await log.close();
      mkdirSync(homePaths.services(other.home), { recursive: true });
      const endpoint = (home: string) => join(homePaths.services(home), 'clickhouse.json');
      copyFileSync(endpoint(feed.home), endpoint(other.home));
      const { code, value: found } = await json(verifyCommand, [], other.home);
      expect(code).toBe(10);
      const end = new Date((Math.floor(Date.parse(value.event_ts) / 1_000) + 1) * 1_000).toISOString();
      expect(found.first_difference).toMatchObject({
        kind: 'different',
        table: 'ta_microbars',
        symbol: 'SPY',
        columns: { v: {} },
      });
      expect(Date.parse(found.first_difference?.event_ts ?? '')).toBe(Date.parse(end));
      expect(found.only_left + found.only_right).toBe(0);
    } finally {
      await other.close();
      rmSync(other.home, { recursive: true, force: true });
    }
  });

  it('diff: the store equals the bare core over the same messages; one changed trade is found and shown', async () => {
    const data = join(feed.home, 'messages.ndjson');
    const lines = market.filter(({ record }) => record.key !== null).map(({ record }) => String(record.value));
    writeFileSync(data, lines.join('\n'));
    const compute = async (name: string, content: readonly string[]) => {
      const [from, to] = [join(feed.home, `${name}.in`), join(feed.home, `${name}.ndjson`)];
      writeFileSync(from, content.join('\n'));
      const objects: string[] = [];
      await computeFile({ file: from, settings: settingsOf('default'), write: (object) => void objects.push(object) });
      writeFileSync(to, objects.join('\n'));
      return to;
    };
    const same = await compute('same', lines);
    const equal = await json(diffCommand, ['--left', 'clickhouse', '--right', same, '--values-only']);
    expect(equal).toMatchObject({ code: 0, value: { verdict: 'equal', different: 0, only_left: 0, only_right: 0 } });
    expect(equal.value.compared.bars).toBeGreaterThan(400);
    // The file's order is the arrival of all symbols together: other revision numbers, which count unless told otherwise.
    expect((await json(diffCommand, ['--left', 'clickhouse:torghut', '--right', 'clickhouse'])).code).toBe(0);

    const trade = plainTrade('AIG').value;
    const changed = lines.map((line) => {
      const value = JSON.parse(line) as { channel: string; symbol: string; payload: { s: number; i: number } };
      const isIt = value.channel === 'trades' && value.symbol === trade.symbol && value.payload.i === trade.payload.i;
      if (isIt) value.payload.s += 1;
      return JSON.stringify(value);
    });
    const other = await compute('other', changed);
    const args = ['--left', same, '--right', other, '--data', data];
    const found = await json(diffCommand, args);
    expect(found.code).toBe(10);
    expect(found.value.first_difference).toMatchObject({
      kind: 'different',
      table: 'ta_microbars',
      symbol: trade.symbol,
    });
    const { left, right } = (found.value.first_difference?.columns.v ?? {}) as { left: number; right: number };
    expect(right - left).toBe(1);
    expect(found.value.input_of_first?.events).toContainEqual(
      expect.objectContaining({
        kind: 'trade',
        id: trade.payload.i,
        place: expect.stringContaining('messages.ndjson:'),
      }),
    );

    const empty = join(feed.home, 'empty.ndjson');
    writeFileSync(empty, '');
    expect((await json(diffCommand, ['--left', empty, '--right', empty])).code).toBe(11);
    await expect(run(diffCommand, ['--left', join(feed.home, 'absent'), '--right', empty])).rejects.toMatchObject({
      code: 'diff_side_invalid',
      exitCode: 2,
    });
    writeFileSync(empty, '{"kind":"bar"}');
    await expect(run(diffCommand, ['--left', empty, '--right', empty])).rejects.toMatchObject({
      code: 'ta_file_unreadable',
      exitCode: 2,
    });
  });

  it('status: a watermark that stays behind in the session is a problem, and none when time is told', async () => {
    const behind = await json<{ state: string; session: string; findings: { code: string }[] }>(statusCommand, []);
    expect(behind.code).toBe(10);
    expect(behind.value).toMatchObject({ state: 'problem', session: 'regular' });
    expect(behind.value.findings.map(({ code }) => code)).toContain('input_silent');
    await write(feed, progressRecords((OPEN + 599) * 1_000));
    const waited = await json<{ state: string; tasks: { watermark_age_ms: number }[]; findings: { code: string }[] }>(
      statusCommand,
      ['--wait', '--timeout', '20'],
    );
    // With some seeds more than one event in a thousand comes too late; nothing else may be wrong.
    expect(waited.value.findings.filter(({ code }) => code !== 'events_late')).toEqual([]);
    expect(waited.code).toBe(waited.value.findings.length === 0 ? 0 : 10);
    for (const { watermark_age_ms } of waited.value.tasks) expect(watermark_age_ms).toBeLessThan(3_000);
    expect((await run(statusCommand, [])).stdout).toMatch(/PARTITION\s+SYMBOLS\s+LAG/);
  });

  it('what cannot be told exits 11: a sink that is gone, input that is not computed, no ta at all', async () => {
    await end(sink);
    expect((await status()).findings.map(({ code }) => code)).toContain('sink_absent');
    // One trade a second after everything: the engine computes it, nobody stores it.
    const { record: template, value: body } = plainTrade('SPY');
    body.event_ts = new Date((OPEN + 600) * 1_000).toISOString();
    Object.assign(body.payload, { t: body.event_ts, i: 900_001 });
    const atMs = (OPEN + 600) * 1_000;
    const value = Buffer.from(JSON.stringify(body));
    await write(feed, [
      { atMs, record: { ...template, value, timestampMs: atMs } },
      ...progressRecords((OPEN + 603) * 1_000),
    ]);
    const unstored = async () => {
      const { code, value: found } = await json(verifyCommand, []);
      return code === 11 && found.reason?.includes('the sink has 2 records') ? found : undefined;
    };
    expect(await until('the sink is behind', unstored, 60_000)).toMatchObject({ verdict: 'undetermined' });

    sink = start('test/sink/child.ts');
    await until('stored', isAllEqual, 60_000);
    await end(engine);
    await expect(run(statusCommand, [])).rejects.toMatchObject({ code: 'ta_unreachable', exitCode: 11 });
    await write(feed, progressRecords((OPEN + 604) * 1_000));
    // What is far enough behind the last commit is told all the same.
    const settled = await json(verifyCommand, ['--to', '2013-10-08T12:45:00Z']);
    expect(settled).toMatchObject({ code: 0, value: { verdict: 'equal', compared: { bars: 135 } } });
    expect((await json(verifyCommand, [])).value).toMatchObject({
      verdict: 'equal',
      compared: { bars: expect.any(Number) },
    });
    const open = await json(verifyCommand, ['--to', '2013-10-08T13:31:00Z']);
    expect(open).toMatchObject({
      code: 11,
      value: { verdict: 'undetermined', reason: expect.stringContaining('may still be revised') },
    });
  });
});
