/**
 * What is never changed stays, whoever asks: the app role, the owner, TRUNCATE (spec 5.4); and `db check` sees when a fence
 * is down. On a real Postgres, the desk's own protocol working as the app role.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkLedger } from '../../src/lib/ledger/check.ts';
import { toJsonb } from '../../src/lib/ledger/jsonb.ts';
import { openLedger } from '../../src/lib/ledger/open.ts';
import { keptTables } from '../../src/lib/ledger/roles.ts';
import { addStrategy, decisionOf, sessionMs, testClock } from './support/fixtures.ts';
import { query, startTestPostgres, type TestPostgres } from './support/postgres.ts';

let postgres: TestPostgres;
let dsn: string;
let appDsn: string;

beforeAll(async () => {
  postgres = await startTestPostgres();
  dsn = await postgres.newLedgerDatabase();
  const password = randomBytes(8).toString('hex');
  const as = async (role: string) => {
    const login = `login_${role}_${randomBytes(3).toString('hex')}`;
    await query(dsn, `create role ${login} login password '${password}' in role ${role}`);
    const url = new URL(dsn);
    url.username = login;
    url.password = password;
    return url.toString();
  };
  appDsn = await as('torghut_app');
  readerDsn = await as('torghut_readonly');
});
let readerDsn: string;
afterAll(async () => postgres?.close());

/** SQLSTATE of a statement, or `ok`. */
async function stateOf(connection: string, statement: string): Promise<string> {
  try {
    await query(connection, statement);
    return 'ok';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

const denied = '42501';
const restricted = '23001';

describe('what is kept', () => {
  it('is written by the app role: leadership, catalog, decisions, refusals, audit', async () => {
    const ledger = openLedger({ dsn: appDsn, clock: testClock(), lease: { leaseMs: 400, renewMs: 100, retryMs: 20 } });
    await ledger.check();
    const first = await ledger.acquireLeadership({ accountLabel: 'paper' });
    const strategyId = await addStrategy(ledger, first);
    const decision = decisionOf(strategyId);
    await ledger.write(first, async (tx) => {
      await tx.decisions.insert({ decision, decidedAtMs: sessionMs, detail: toJsonb({ kept: true }) });
      await tx.account.setControls('paper', { paused: true }, { reason: 'r', actor: 'a', atMs: sessionMs });
      await tx.decisions.reject(decision.id, { reasons: ['stale_price'], origin: 'risk', atMs: sessionMs });
    });
    await first.release();
    expect((await ledger.read.decisions.byId(decision.id))?.status).toBe('rejected');
    await ledger.close();
  });

  it.each(Object.keys(keptTables))('%s: neither role nor owner can delete, truncate or rewrite it', async (table) => {
    for (const statement of [`delete from ${table}`, `truncate ${table} cascade`]) {
      expect(await stateOf(appDsn, statement), `app: ${statement}`).toBe(denied);
      if (table !== 'reconcile_runs') {
        // A row trigger fires on rows: the tables that have none yet are covered by TRUNCATE.
        const rows = await query(dsn, `select 1 from ${table} limit 1`);
        const expected = rows.length > 0 || statement.startsWith('truncate') ? restricted : 'ok';
        expect(await stateOf(dsn, statement), `owner: ${statement}`).toBe(expected);
      }
    }
    const [column] = await query<{ name: string }>(
      dsn,
      `select column_name as name from information_schema.columns where table_name = '${table}' and is_identity = 'NO'
       and column_name <> all ('{${(keptTables[table] ?? []).join()}}') order by ordinal_position limit 1`,
    );
    expect(await stateOf(appDsn, `update ${table} set ${column?.name} = ${column?.name}`)).toBe(denied);
  });

  it('a decision changes in its outcome alone, and a refusal is an end', async () => {
    expect(await stateOf(dsn, `update trade_decisions set qty = qty + 1`)).toBe(restricted);
    expect(await stateOf(dsn, `update trade_decisions set decision_json = '{}'`)).toBe(restricted);
    expect(await stateOf(dsn, `update trade_decisions set status = 'filled' where status = 'rejected'`)).toBe(
      restricted,
    );
    expect(await stateOf(appDsn, `update trade_decisions set resolved_at = resolved_at`)).toBe('ok');
  });

  it('the read-only role reads everything and writes nothing', async () => {
    expect(await stateOf(readerDsn, 'select count(*) from trade_decisions')).toBe('ok');
    expect(await stateOf(readerDsn, `update trading_controls set paused = false`)).toBe(denied);
    expect(await stateOf(readerDsn, `insert into signal_notes default values`)).toBe(denied);
  });
});

describe('torghut db check', () => {
  it('finds a whole ledger well', async () => {
    expect(await checkLedger(dsn)).toMatchObject({ ok: true, lineageReady: true, branchCount: 1, warnings: [] });
  });

  it('names a lost trigger, a grant too many, a lost unique, an edited and a newer migration', async () => {
    const broken = await postgres.newLedgerDatabase();
    await query(broken, 'alter table decision_events disable trigger user');
    await query(broken, 'grant delete on audit_events to torghut_app');
    await query(broken, 'alter table order_claims drop constraint order_claims_account_label_client_order_id_key');
    const found = await checkLedger(broken);
    expect(found.ok).toBe(false);
    expect(found.accountScope.errors).toEqual(['order_claims (account_label, client_order_id) is not unique']);
    expect(found.warnings.join('\n')).toMatch(/decision_events can be deleted[\s\S]*may DELETE on audit_events/);
    await query(broken, `update schema_migration_checksums set checksum = repeat('0', 64) where name = '0002_orders'`);
    expect(await checkLedger(broken)).toMatchObject({ ok: false, edited: ['0002_orders'], lineageReady: false });
    await query(broken, `insert into schema_migrations (name, "timestamp") values ('9999_future', now()::text)`);
    expect(await checkLedger(broken)).toMatchObject({ newer: ['9999_future'], schemaCurrent: false });
  });

  it('names what is pending in an empty database', async () => {
    const empty = await postgres.newDatabase();
    const found = await checkLedger(empty);
    expect(found).toMatchObject({ ok: false, currentHeads: [], lineageReady: true });
    expect(found.pending).toContain('0001_decisions');
  });
});
