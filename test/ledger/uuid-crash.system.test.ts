/**
 * The UUID crash (spec 5.3): whatever is fed to the JSON boundary is either refused there, with its path, or stored by every
 * JSON column that the ledger has. Nothing raises at commit. The columns are Postgres' own list, not ours.
 */
import { randomUUID } from 'node:crypto';
import { Decimal } from 'decimal.js';
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Jsonb, toJsonb } from '../../src/lib/ledger/jsonb.ts';
import { openLedger } from '../../src/lib/ledger/open.ts';
import { TorghutError } from '../../src/lib/service/errors.ts';
import { addStrategy, decisionOf, sessionMs, testClock } from './support/fixtures.ts';
import { startTestPostgres, type TestPostgres } from './support/postgres.ts';

let postgres: TestPostgres;
let client: pg.Client;
let strategyId: string;
let decisionId: string;

beforeAll(async () => {
  postgres = await startTestPostgres();
  const dsn = await postgres.newLedgerDatabase();
  const ledger = openLedger({ dsn, clock: testClock() });
  const leadership = await ledger.acquireLeadership({ accountLabel: 'paper' });
  strategyId = await addStrategy(ledger, leadership);
  const decision = decisionOf(strategyId);
  decisionId = decision.id;
  await ledger.write(leadership, (tx) =>
    tx.decisions.insert({ decision, decidedAtMs: sessionMs, detail: toJsonb({}) }),
  );
  await leadership.release();
  await ledger.close();
  client = new pg.Client({ connectionString: dsn });
  await client.connect();
});
afterAll(async () => {
  await client?.end();
  await postgres?.close();
});

const at = new Date(sessionMs);
let serial = 0;
const insert = (text: string) => (json: Jsonb) =>
  client.query(
    text
      .replaceAll('$id', `'${randomUUID()}'`)
      .replaceAll('$n', String(++serial))
      .replaceAll('$at', `'${at.toISOString()}'`),
    [json],
  );

/** One statement for each JSON column of the ledger; each is its own transaction and commits. */
const writers: Record<string, (json: Jsonb) => Promise<unknown>> = {
  'strategies.universe_symbols': insert(`update strategies set universe_symbols = $1::jsonb`),
  'strategies.catalog_meta': insert(`update strategies set catalog_meta = $1::jsonb`),
  'strategy_catalogs.strategies': insert(
    `insert into strategy_catalogs (version, digest, content, mode, strategies, inserted, updated, disabled, cause, actor,
       epoch, applied_at) values ($n, 'd', '', 'sync', $1::jsonb, 0, 0, 0, 'file', 'test', 1, $at)`,
  ),
  'trade_decisions.decision_json': (json) =>
    client.query(
      `insert into trade_decisions (id, strategy_id, strategy_name, symbol, timeframe, event_ts, action, intent, qty,
         order_type, time_in_force, rationale, run_id, window_size, signal_revision, source_partition, source_offset,
         decision_json, decision_hash, decided_at)
       values ($2, $3, 's', 'IBM', '1Sec', $4, 'buy', 'entry', 1, 'market', 'day', '', 'r', 'PT1S', 0, 0, 0, $1::jsonb, $5, $4)`,
      [json, randomUUID(), strategyId, at, String(++serial).padStart(64, '0')],
    ),
  'decision_events.detail': (json) =>
    client.query(
      `insert into decision_events (decision_id, stage, at, epoch, detail) values ($2, 'json', $3, 1, $1::jsonb)`,
      [json, decisionId, at],
    ),
  'signal_notes.detail': insert(
    `insert into signal_notes (account_label, run_id, window_size, source_partition, source_offset, kind, symbol, event_ts,
       revision, noted_at, detail) values ('paper', 'r', 'PT1S', 0, $n, 'signal_late', 'IBM', $at, 0, $at, $1::jsonb)`,
  ),
  'executions.raw_order': insert(
    `insert into executions (id, alpaca_order_id, client_order_id, symbol, side, order_type, time_in_force, submitted_qty,
       status, broker_status, last_update_at, raw_order, fencing_epoch)
     values ($id, 'o$n', 'c$n', 'IBM', 'buy', 'market', 'day', 1, 'open', 'new', $at, $1::jsonb, 1)`,
  ),
  'execution_order_events.raw_event': insert(
    `insert into execution_order_events (id, event_fingerprint, run_id, source_topic, source_partition, source_offset,
       alpaca_account_label, event_ts, symbol, alpaca_order_id, client_order_id, event_type, status, filled_qty, raw_event)
     values ($id, 'f$n', 'r', 't', 0, $n, 'paper', $at, 'IBM', 'o', 'c', 'new', 'new', 0, $1::jsonb)`,
  ),
  'position_snapshots.positions': insert(
    `insert into position_snapshots (id, alpaca_account_label, as_of, equity, cash, buying_power, positions)
     values ($id, 'paper', $at, 1, 1, 1, $1::jsonb)`,
  ),
  'audit_events.before': insert(
    `insert into audit_events (actor, action, before, at) values ('t', 'json', $1::jsonb, $at)`,
  ),
  'audit_events.after': insert(
    `insert into audit_events (actor, action, after, at) values ('t', 'json', $1::jsonb, $at)`,
  ),
  'reconcile_runs.summary': insert(
    `insert into reconcile_runs (id, account_label, at, epoch, changes, summary) values ($id, 'paper', $at, 1, 0, $1::jsonb)`,
  ),
  'flatten_requests.plan': insert(
    `insert into flatten_requests (id, account_label, cause, state, plan, reason, actor, requested_at, expires_at)
     values ($id, 'f$n', 'operator', 'requested', $1::jsonb, 'r', 'a', $at, $at::timestamptz + interval '1 minute')`,
  ),
  'reconcile_findings.detail': insert(
    `insert into reconcile_findings (id, account_label, kind, subject, is_paging, detail, first_seen_at, last_seen_at)
     values ($id, 'paper', 'k', 's$n', false, $1::jsonb, $at, $at)`,
  ),
};

class UUID {
  readonly #text = '6b1f7f0e-0000-4000-8000-000000000001';
  toString(): string {
    return this.#text;
  }
}
class Instance {
  readonly a = 1;
}
const cycle: Record<string, unknown> = {};
cycle.self = cycle;
const deep = Array.from({ length: 40 }).reduce<unknown>((inner) => ({ inner }), 1);

/** Every input class of the table, by whether the boundary stores it. */
const classes: [string, boolean, unknown][] = [
  ['text', true, 'IBM'], ['boolean', true, true], ['null', true, null], ['number', true, -1.5], ['zero', true, -0],
  ['date', true, new Date(sessionMs)], ['invalid date', false, new Date(Number.NaN)], ['bigint', true, 2n ** 90n],
  ['decimal', true, new Decimal('1e-8')], ['decimal without end', false, new Decimal(Number.POSITIVE_INFINITY)],
  ['UUID object', true, new UUID()], ['UUID inside', true, { decision: { id: new UUID() } }],
  ['URL', true, new URL('https://example.test/')], ['error', true, new TypeError('bad')], ['NaN', false, Number.NaN],
  ['infinity', false, Number.NEGATIVE_INFINITY], ['unsafe integer', false, 2 ** 53], ['undefined', false, undefined],
  ['undefined member', true, { a: undefined }], ['undefined in a list', false, [undefined]],
  ['map', true, new Map([['a', 1]])], ['set', true, new Set([1])], ['buffer', false, Buffer.from('x')],
  ['typed array', false, new Float64Array(2)], ['function', false, () => 1], ['symbol', false, Symbol('s')],
  ['instance', false, new Instance()], ['cycle', false, cycle], ['too deep', false, deep],
  ['too large', false, 'x'.repeat(262_145)], ['__proto__', false, JSON.parse('{"__proto__": 1}')],
  ['lone surrogate', true, 'a\ud800b'], ['NUL', true, { 'k\u0000': 'v\u0000' }], ['no prototype', true, Object.create(null)],
]; // biome-ignore format: a table

it('knows every JSON column of the ledger', async () => {
  const found = await client.query<{ place: string }>(
    `select table_name || '.' || column_name as place from information_schema.columns
     where table_schema = 'public' and data_type in ('jsonb', 'json') order by 1`,
  );
  expect(found.rows.map((row) => row.place)).toEqual(Object.keys(writers).sort());
});

it.each(classes)(
  '%s: is stored by every column, or refused with its path before anything is sent',
  async (_name, isStored, value) => {
    if (!isStored) {
      for (const wrapped of [value, { params: { x: value } }, [[value]]]) {
        if (value === undefined && wrapped !== value && !Array.isArray(wrapped)) continue;
        expect(() => toJsonb(wrapped)).toThrow(TorghutError);
        expect(() => toJsonb(wrapped)).toThrow(/\$/);
      }
      return;
    }
    for (const wrapped of [value, { params: { x: value } }, [[value]]]) {
      const json = toJsonb(wrapped);
      for (const [place, write] of Object.entries(writers)) await expect(write(json), place).resolves.toBeDefined();
    }
  },
);

it('anything at all, into a column at a time: refused at the boundary, or committed', async () => {
  const anything = fc.anything({
    withBigInt: true, withDate: true, withMap: true, withSet: true, withTypedArray: true, withSparseArray: true,
    withNullPrototype: true, withBoxedValues: true, stringUnit: 'binary',
  }); // biome-ignore format: one list
  let stored = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(anything, fc.jsonValue()),
      fc.constantFrom(...Object.keys(writers)),
      async (value, place) => {
        let json: Jsonb;
        try {
          json = toJsonb(value);
        } catch (error) {
          expect(error).toBeInstanceOf(TorghutError);
          return;
        }
        await writers[place]?.(json);
        stored += 1;
      },
    ),
    { numRuns: process.env.TORGHUT_TEST_FULL ? 5_000 : 400 },
  );
  expect(stored).toBeGreaterThan(50);
});
