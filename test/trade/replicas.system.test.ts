/**
 * Two and three trade daemons on one account: paused (SIGSTOP) past their lease, woken, and with their connections to Postgres
 * cut. Each has a key of its own, so that the exchange's own journal says who submitted what; the ledger says in which epoch.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { query } from '../ledger/support/postgres.ts';
import { type MatrixAccount, openAccount, type RunningDaemon } from './matrix/account.ts';
import { workUntilDone } from './matrix/run.ts';
import { postsOf, verdictOf } from './matrix/verdict.ts';
import { type MatrixWorld, openMatrixWorld } from './matrix/world.ts';

let world: MatrixWorld;
beforeAll(async () => {
  world = await openMatrixWorld();
});
afterAll(async () => world?.close());

async function until(holds: () => unknown, limitMs: number, what: string): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 25));
  }
}

const posts = async (account: MatrixAccount) => (await postsOf(account)).length;
const leaderOf = async (account: MatrixAccount) =>
  (await query<{ epoch: string; owner: string }>(account.dsn, 'select epoch::text, owner from trading_leader'))[0];

/** Cuts every connection of the processes to this ledger, the leader's lock with them. */
const cutConnections = (account: MatrixAccount) =>
  query(
    account.dsn,
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and application_name like 'torghut%' and pid <> pg_backend_pid()`,
  );

/** Who submitted in which epoch: the journal's key by the claim's epoch. */
async function submitters(account: MatrixAccount): Promise<Map<string, Set<string>>> {
  const claims = await query<{ client_order_id: string; epoch: string }>(
    account.dsn,
    'select client_order_id, fencing_epoch::text as epoch from order_claims',
  );
  const epochs = new Map(claims.map((claim) => [claim.client_order_id, claim.epoch]));
  const found = new Map<string, Set<string>>();
  for (const post of await postsOf(account)) {
    const epoch = epochs.get(post.client_order_id ?? '') ?? 'none';
    found.set(epoch, (found.get(epoch) ?? new Set()).add(post.key_id));
  }
  return found;
}

async function expectOneSubmitterEach(account: MatrixAccount, atLeast: number): Promise<void> {
  const found = await submitters(account);
  expect(found.has('none'), 'every POST has its claim').toBe(false);
  for (const [epoch, keys] of found) expect([...keys], `submitters of epoch ${epoch}`).toHaveLength(1);
  expect(new Set([...found.values()].flatMap((keys) => [...keys])).size).toBeGreaterThanOrEqual(atLeast);
  // Nobody submits again once a later epoch has: only what a woken leader had begun before may still come, as its own claim.
  const sent = await postsOf(account);
  expect(new Set(sent.map((post) => post.client_order_id)).size).toBe(sent.length);
}

/** The replica that leads now, by the pid in the leader's row. */
async function leading(account: MatrixAccount, replicas: readonly RunningDaemon[]): Promise<RunningDaemon | undefined> {
  const owner = (await leaderOf(account))?.owner ?? '';
  return replicas.find(({ pid }) => owner.endsWith(`:${pid}`));
}

describe.each([2, 3])('%i replicas of one account', (count) => {
  it('paused past the lease and woken, cut from Postgres: one submitter in each epoch, and broker and ledger agree', async () => {
    const account = await openAccount(world);
    try {
      const replicas = Array.from({ length: count }, (_, i) => account.start(`r${i}`));
      await until(async () => (await posts(account)) >= 2, 60_000, 'the first orders');

      // The leader stands still in the middle of its work, longer than its lease of 10 s: a standby takes over.
      const first = await leading(account, replicas);
      if (!first) throw new Error('nobody leads');
      const epochBefore = BigInt((await leaderOf(account))?.epoch ?? 0);
      first.child.kill('SIGSTOP');
      await account.feed(4);
      await until(async () => BigInt((await leaderOf(account))?.epoch ?? 0) > epochBefore, 60_000, 'another leader');
      const before = await posts(account);
      await until(async () => (await posts(account)) > before, 60_000, 'orders of the new leader');
      first.child.kill('SIGCONT');
      await account.feed(4);

      // Every connection is cut, and again while they come back: whoever gets the lock next has an epoch of its own.
      for (let round = 0; round < 2; round++) {
        await cutConnections(account);
        const now = await posts(account);
        await account.feed(4);
        await until(async () => (await posts(account)) > now, 60_000, `orders after cut ${round + 1}`);
      }
      for (const { pid, ended, stderr } of replicas) expect(ended(), `${pid} ${stderr()}`).toBe(false);

      const last = await leading(account, replicas);
      if (!last) throw new Error('nobody leads at the end');
      for (const replica of replicas) if (replica !== last) replica.child.kill('SIGTERM');
      // Whoever leads in the end brings it to its end; a lost leadership starts a new one in the same process.
      expect(await workUntilDone(account, last), last.stderr()).toBe('drained');
      await expectOneSubmitterEach(account, 2);
      expect((await verdictOf(account)).wrong).toEqual([]);
      expect(BigInt((await leaderOf(account))?.epoch ?? 0)).toBeGreaterThanOrEqual(epochBefore + 2n);
    } finally {
      await account.close();
    }
  });
});
