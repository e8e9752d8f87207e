/** The opening two minutes of the recorded day through simulator and ws: the topics hold the raw file, no more, no less. */
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { partitionOfKey } from '../../src/lib/log/partition.ts';
import { difference, payloads, type RawMessage, readRaw, Rig } from './rig.ts';

const folder = process.env.TORGHUT_DATA;
const smoke = join(folder ?? '', 'us-equities-2013-10-08', 'smoke.ndjson.gz');
const startNs = BigInt(Date.parse('2013-10-08T13:30:00Z')) * 1_000_000n;
const endNs = BigInt(Date.parse('2013-10-08T13:32:00Z')) * 1_000_000n;

let rig: Rig | undefined;
afterEach(async () => {
  await rig?.close();
  rig = undefined;
});

const newRig = (options: Partial<ConstructorParameters<typeof Rig>[0]> = {}) => {
  rig = new Rig({ data: [smoke], startNs, symbols: ['AIG', 'BAC', 'IBM', 'SPY'], speed: 20, ...options });
  return rig;
};

async function expectWhole(of: Rig, raw: RawMessage[]): Promise<void> {
  const trades = raw.filter((message) => message.T === 't');
  const quotes = raw.filter((message) => message.T === 'q');
  const status = await of.until(
    'everything acknowledged',
    ({ acknowledged, gaps }) =>
      (acknowledged.trades ?? 0) >= trades.length && (acknowledged.quotes ?? 0) >= quotes.length && gaps.open === 0,
    30_000,
  ).catch((error: unknown) => error as Error);
  const tradeRecords = await of.records('trades');
  const quoteRecords = await of.records('quotes');
  expect(difference(payloads(tradeRecords, 'trades'), trades)).toEqual({ extra: [], missing: [] });
  expect(difference(payloads(quoteRecords, 'quotes'), quotes)).toEqual({ extra: [], missing: [] });
  expect(status).not.toBeInstanceOf(Error);
  expect(await of.records('repair')).toEqual([]);
  for (const record of [...tradeRecords, ...quoteRecords]) {
    if (record.key !== null) expect(record.partition).toBe(partitionOfKey(record.key, 3));
  }
  // seq grows within a partition whatever died in between.
  const last = new Map<string, number>();
  for (const record of [...tradeRecords, ...quoteRecords]) {
    const { seq } = JSON.parse(String(record.value)) as { seq: number };
    const key = `${record.topic}/${record.partition}`;
    expect(seq).toBeGreaterThan(last.get(key) ?? 0);
    last.set(key, seq);
  }
}

describe.skipIf(!folder)('the recorded opening (set TORGHUT_DATA)', () => {
  test('every trade and quote reaches its topic once, with the provider’s numbers', async () => {
    const of = newRig();
    await of.startSimulator();
    of.run();
    of.startWs();
    await of.untilMarket(endNs);
    await expectWhole(of, readRaw(smoke));
    expect(await of.kill('ws', 'SIGTERM')).toBe(0);
  });
});
