/** Many decisions in few statements: the same rows, events and refusals as one by one. */
import { Decimal } from 'decimal.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Leadership } from '../../src/lib/ledger/contract.ts';
import { toJsonb } from '../../src/lib/ledger/jsonb.ts';
import { type OrderLedger, openLedger } from '../../src/lib/ledger/open.ts';
import { fitsNumeric } from '../../src/lib/ledger/values.ts';
import { addStrategy, decisionOf, sessionMs, testClock } from './support/fixtures.ts';
import { query, startTestPostgres, type TestPostgres } from './support/postgres.ts';

let postgres: TestPostgres;
let dsn: string;
let ledger: OrderLedger;
let leadership: Leadership;
let strategyId: string;

beforeAll(async () => {
  postgres = await startTestPostgres();
  dsn = await postgres.newLedgerDatabase();
  ledger = openLedger({ dsn, clock: testClock() });
  leadership = await ledger.acquireLeadership({ accountLabel: 'paper' });
  strategyId = await addStrategy(ledger, leadership);
});

afterAll(async () => {
  await leadership?.release();
  await ledger?.close();
  await postgres?.close();
});

const detail = toJsonb({ from: 'test' });
const newRow = (eventTsMs: number) => ({
  decision: decisionOf(strategyId, { eventTsMs }),
  decidedAtMs: sessionMs,
  detail,
});
const refusal = { reasons: ['shorts_not_allowed', 'cooldown_active'], atMs: sessionMs + 5, detail };

describe('a batch of decisions', () => {
  it('holds exactly the numbers that fitsNumeric says: one beyond breaks the whole transaction', async () => {
    let at = sessionMs - 60_000;
    for (const text of ['999999999999.99999999', '0.000000001', '999999999999.999999995', '1000000000000', '1e308']) {
      const quantity = new Decimal(text);
      at -= 1_000;
      const row = newRow(at);
      const written = ledger.write(leadership, (tx) =>
        tx.decisions.insertMany([{ ...row, decision: { ...row.decision, quantity } }]),
      );
      const isWritten = await written.then(
        () => true,
        () => false,
      );
      expect(isWritten, text).toBe(fitsNumeric(quantity));
    }
  });

  it('is inserted planned, rejected and blocked, with its events, and a known hash is left out', async () => {
    const known = newRow(sessionMs - 1_000);
    await ledger.write(leadership, (tx) => tx.decisions.insert(known));
    const planned = newRow(sessionMs - 2_000);
    const rejected = {
      ...newRow(sessionMs - 3_000),
      refusal: { ...refusal, status: 'rejected' as const, origin: 'risk' as const },
    };
    const blocked = { ...newRow(sessionMs - 4_000), refusal: { ...refusal, status: 'blocked' as const } };
    const again = { ...known, decision: { ...known.decision, id: decisionOf(strategyId).id } };
    const inserted = await ledger.write(leadership, (tx) =>
      tx.decisions.insertMany([planned, rejected, again, blocked]),
    );
    expect(inserted).toEqual(new Set([planned, rejected, blocked].map((row) => row.decision.id)));
    const row = await ledger.read.decisions.byId(rejected.decision.id);
    expect(row).toMatchObject({ status: 'rejected', reasons: refusal.reasons, rejectOrigin: 'risk' });
    expect((await ledger.read.decisions.byId(blocked.decision.id))?.status).toBe('blocked');
    expect((await ledger.read.decisions.byId(planned.decision.id))?.status).toBe('planned');
    const events = await query<{ decision_id: string; stage: string }>(
      dsn,
      'select decision_id, stage from decision_events order by id',
    );
    const stagesOf = (id: string) => events.filter((event) => event.decision_id === id).map((event) => event.stage);
    expect(stagesOf(rejected.decision.id)).toEqual(['planned', 'rejected']);
    expect(stagesOf(planned.decision.id)).toEqual(['planned']);
  });

  it('is refused together, but only what is still planned', async () => {
    const [a, b] = [newRow(sessionMs - 10_000), newRow(sessionMs - 11_000)];
    await ledger.write(leadership, (tx) => tx.decisions.insertMany([a, b]));
    const refuse = (id: string, status: 'rejected' | 'blocked') => ({
      id,
      status,
      ...refusal,
      origin: 'handler' as const,
    });
    await ledger.write(leadership, (tx) => tx.decisions.refuseMany([refuse(a.decision.id, 'blocked')]));
    const changed = await ledger.write(leadership, (tx) =>
      tx.decisions.refuseMany([refuse(a.decision.id, 'rejected'), refuse(b.decision.id, 'rejected')]),
    );
    expect(changed).toEqual(new Set([b.decision.id]));
    expect((await ledger.read.decisions.byId(a.decision.id))?.status).toBe('blocked');
    expect(await ledger.read.decisions.byId(b.decision.id)).toMatchObject({
      status: 'rejected',
      reasons: refusal.reasons,
      rejectOrigin: 'handler',
    });
  });

  it('may be empty', async () => {
    expect(await ledger.write(leadership, (tx) => tx.decisions.insertMany([]))).toEqual(new Set());
    expect(await ledger.write(leadership, (tx) => tx.decisions.refuseMany([]))).toEqual(new Set());
  });
});
