import { fork } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Leadership } from '../../src/lib/ledger/contract.ts';
import { type OrderLedger, openLedger } from '../../src/lib/ledger/open.ts';
import { TorghutError } from '../../src/lib/service/errors.ts';
import { machineMs, sleep } from '../../src/lib/service/machine.ts';
import { testClock } from './support/fixtures.ts';
import { query, startTestPostgres, type TestPostgres } from './support/postgres.ts';

const lease = { leaseMs: 1_500, renewMs: 300, retryMs: 50 };
const contender = new URL('./support/contender.ts', import.meta.url);

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => postgres?.close());

const open: { close(): Promise<void> }[] = [];
function ledgerOf(dsn: string): OrderLedger {
  const ledger = openLedger({ dsn, clock: testClock(), lease });
  open.push(ledger);
  return ledger;
}
afterAll(async () => {
  await Promise.all(open.map((ledger) => ledger.close()));
});

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'no error';
  } catch (error) {
    if (error instanceof TorghutError) return error.code;
    throw error;
  }
}

async function waitUntil(what: string, condition: () => boolean | Promise<boolean>, limitMs = 20_000): Promise<void> {
  const until = machineMs() + limitMs;
  while (!(await condition())) {
    if (machineMs() > until) throw new Error(`did not happen: ${what}`);
    await sleep(20);
  }
}

const audit = { actor: 'test', action: 'write', atMs: 0 };

describe('one leader per account', () => {
  it('a second one waits until the first gives up, and the epoch rises', async () => {
    const dsn = await postgres.newLedgerDatabase();
    const [a, b] = [ledgerOf(dsn), ledgerOf(dsn)];
    const first = await a.acquireLeadership({ accountLabel: 'paper' });
    let second: Leadership | undefined;
    const holders: bigint[] = [];
    const waiting = b
      .acquireLeadership({ accountLabel: 'paper', onWaiting: (holder) => void holders.push(holder.epoch) })
      .then((got) => {
        second = got;
      });
    await sleep(lease.leaseMs * 2);
    // Longer than a lease: the renewals keep it.
    expect(second).toBeUndefined();
    expect(first.isHeld()).toBe(true);
    expect(holders[0]).toBe(1n);
    await first.release();
    await waiting;
    expect([first.epoch, second?.epoch]).toEqual([1n, 2n]);
    expect(first.isHeld()).toBe(false);
    expect(await codeOf(a.write(first, (tx) => tx.account.audit(audit)))).toBe('leadership_lost');
    await b.write(second as Leadership, (tx) => tx.account.audit(audit));
    await second?.release();
  });

  it('accounts do not hinder each other', async () => {
    const ledger = ledgerOf(await postgres.newLedgerDatabase());
    const both = await Promise.all(['one', 'two'].map((accountLabel) => ledger.acquireLeadership({ accountLabel })));
    expect(both.every((leadership) => leadership.isHeld())).toBe(true);
    await Promise.all(both.map((leadership) => leadership.release()));
  });

  it('waiting can be given up', async () => {
    const dsn = await postgres.newLedgerDatabase();
    const ledger = ledgerOf(dsn);
    const first = await ledger.acquireLeadership({ accountLabel: 'paper' });
    expect(await codeOf(ledger.acquireLeadership({ accountLabel: 'paper', signal: AbortSignal.timeout(200) }))).toBe(
      'leadership_wait_aborted',
    );
    await first.release();
  });

  it('a leader whose connection is cut knows it at once', async () => {
    const dsn = await postgres.newLedgerDatabase();
    const ledger = ledgerOf(dsn);
    const leadership = await ledger.acquireLeadership({ accountLabel: 'paper' });
    const reasons: string[] = [];
    leadership.onLost((reason) => void reasons.push(reason));
    await query(dsn, 'select pg_terminate_backend(backend_pid) from trading_leader');
    await waitUntil('the loss is noticed', () => reasons.length > 0, 2_000);
    expect(leadership.isHeld()).toBe(false);
    expect(await codeOf(ledger.write(leadership, (tx) => tx.account.audit(audit)))).toBe('leadership_lost');
    leadership.onLost((reason) => void reasons.push(reason));
    expect(reasons).toHaveLength(2);
  });

  it('a write that began before the epoch rose holds the new leader back until it is done', async () => {
    const dsn = await postgres.newLedgerDatabase();
    const [a, b] = [ledgerOf(dsn), ledgerOf(dsn)];
    const first = await a.acquireLeadership({ accountLabel: 'paper' });
    const order: string[] = [];
    let finish: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const slow = a.write(first, async (tx) => {
      await tx.account.audit(audit);
      await held;
      await tx.account.audit(audit);
      order.push('write');
    });
    await sleep(200);
    await query(dsn, 'select pg_terminate_backend(backend_pid) from trading_leader');
    const second = b.acquireLeadership({ accountLabel: 'paper' }).then((got) => {
      order.push('leader');
      return got;
    });
    // Longer than a lease, shorter than Postgres lets a silent transaction live.
    await sleep(lease.leaseMs + 500);
    finish();
    await slow;
    const next = await second;
    expect(next.epoch).toBe(2n);
    expect(order).toEqual(['write', 'leader']);
    // The wait is not taken off its lease.
    expect(next.isHeld()).toBe(true);
    await b.write(next, (tx) => tx.account.audit(audit));
    await next.release();
  });

  it('a frozen leader is replaced when its lease runs out, and whatever it still does is refused', async () => {
    const dsn = await postgres.newLedgerDatabase();
    const ledger = ledgerOf(dsn);
    const child = fork(contender, [dsn, JSON.stringify(lease)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    try {
      const [acquired] = (await once(child, 'message')) as [{ kind: string; epoch: string }];
      expect(acquired).toEqual({ kind: 'leader', epoch: '1' });
      process.kill(child.pid as number, 'SIGSTOP');
      const startedAt = machineMs();
      const second = await ledger.acquireLeadership({ accountLabel: 'paper' });
      expect(second.epoch).toBe(2n);
      expect(machineMs() - startedAt).toBeGreaterThan(lease.leaseMs - lease.renewMs - 100);
      await ledger.write(second, (tx) => tx.account.audit({ ...audit, actor: 'second' }));
      const messages: { kind: string; code?: string }[] = [];
      child.on('message', (message) => void messages.push(message as { kind: string }));
      process.kill(child.pid as number, 'SIGCONT');
      const isOver = () => messages.some((message) => message.code === 'leadership_lost');
      await waitUntil('the woken leader knows that it leads no more', isOver);
      // A transaction that was open when it froze: Postgres may have ended it before anybody took over.
      expect(messages.every(({ code }) => code === 'leadership_lost' || code === 'ledger_unreachable')).toBe(true);
      const writers = await query<{ actor: string; id: string }>(dsn, 'select actor, id from audit_events order by id');
      // Nothing of the first after the first of the second.
      const firstOfSecond = writers.findIndex((row) => row.actor === 'second');
      expect(writers.slice(firstOfSecond).every((row) => row.actor === 'second')).toBe(true);
      expect(firstOfSecond).toBeGreaterThan(0);
      await second.release();
    } finally {
      child.kill('SIGKILL');
    }
  });
});
