/**
 * What a restart finds and finishes: the journal as a kill may leave it, and a market that went on meanwhile.
 */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseOrderRequest, parseReplaceRequest } from '../../../src/simulator/trading/order-request.ts';
import { FakeTape, ns } from './fake-tape.ts';
import { type BareBroker, bareBroker, temporaryFolder } from './test-exchange.ts';

let folder: ReturnType<typeof temporaryFolder>;
let tape: FakeTape;
let bare: BareBroker;
const path = () => join(folder.path, 'trading.ndjson');

beforeEach(() => {
  folder = temporaryFolder();
  tape = new FakeTape(['AIG', 'IBM']);
  bare = bareBroker(folder.path, tape);
});
afterEach(() => {
  bare.journal.close();
  folder.remove();
});

const submit = (given: Record<string, unknown>) =>
  bare.broker.submit(
    parseOrderRequest({ symbol: 'IBM', side: 'buy', type: 'market', time_in_force: 'day', qty: '10', ...given }),
  ).id;
const order = (id: string) => bare.state.order(id);

/** The process dies; meanwhile something happens to the journal or the market. */
function restart(meanwhile: () => void = () => undefined): void {
  bare.journal.close();
  tape.detach();
  meanwhile();
  bare = bareBroker(folder.path, tape);
}

/** Cuts the journal behind the last entry of a kind, as a kill right after it leaves it. */
function cutAfter(kind: string): void {
  const lines = readFileSync(path(), 'utf8').split('\n');
  const last = lines.findLastIndex((line) => line.includes(`"kind":"${kind}"`));
  writeFileSync(path(), `${lines.slice(0, last + 1).join('\n')}\n`);
}

describe('the journal', () => {
  it('a last line torn by the kill is cut off and its sequence is used again', () => {
    const id = submit({ type: 'limit', limit_price: '100' });
    const { last } = bare.journal;
    restart(() => appendFileSync(path(), '{"seq":99,"at":"2013-10-08T13:40'));
    expect(order(id)?.status).toBe('new');
    bare.broker.cancel(id);
    expect(bare.journal.read(last, 10).map((entry) => [entry.seq, entry.kind])).toEqual([
      [last + 1, 'pending_cancel'],
      [last + 2, 'canceled'],
    ]);
  });

  it('damage in the middle is an error that names the entry', () => {
    submit({ type: 'limit', limit_price: '100' });
    bare.journal.close();
    const lines = readFileSync(path(), 'utf8').split('\n');
    writeFileSync(path(), [lines[0], 'x', ...lines.slice(2)].join('\n'));
    expect(() => bareBroker(folder.path, tape)).toThrow(expect.objectContaining({ code: 'journal_damaged' }));
    writeFileSync(path(), lines.join('\n'));
    bare = bareBroker(folder.path, tape);
  });

  it('pages from any place', () => {
    for (let at = 0; at < 400; at++) submit({ type: 'limit', limit_price: '100', qty: '1' });
    const { last } = bare.journal;
    expect(last).toBeGreaterThan(600);
    for (const after of [0, 1, 255, 256, 257, 511, 512, last - 1]) {
      expect(bare.journal.read(after, 3).map((entry) => entry.seq)).toEqual(
        [1, 2, 3].map((step) => after + step).filter((seq) => seq <= last),
      );
    }
    expect(bare.journal.read(last, 3)).toEqual([]);
  });
});

describe('what a kill cut in two', () => {
  it.each([
    ['accepted', 'filled'],
    ['new', 'filled'],
  ])('after %s the order goes on', (kind, status) => {
    tape.quote('IBM', [184.2, 100], [184.25, 100]);
    const id = submit({});
    restart(() => cutAfter(kind));
    expect(order(id)?.status).toBe(status);
    expect(bare.state.account.positionQty('IBM').toString()).toBe('10');
  });

  it('after pending_cancel the cancel is finished', () => {
    const id = submit({ type: 'limit', limit_price: '100' });
    bare.broker.cancel(id);
    restart(() => cutAfter('pending_cancel'));
    expect(order(id)?.status).toBe('canceled');
  });

  it('after pending_replace the order works on as it was', () => {
    const id = submit({ type: 'limit', limit_price: '100' });
    const next = bare.broker.replace(id, parseReplaceRequest({ limit_price: '101' }));
    restart(() => cutAfter('pending_replace'));
    expect(order(id)?.status).toBe('new');
    expect(order(next.id)).toBeUndefined();
    expect(bare.journal.read(bare.journal.last - 1, 1)[0]?.kind).toBe('order_replace_rejected');
  });

  it('when the new order of a replace is there, the old one is replaced', () => {
    const id = submit({ type: 'limit', limit_price: '100' });
    const next = bare.broker.replace(id, parseReplaceRequest({ limit_price: '101' }));
    restart(() => cutAfter('accepted'));
    expect(order(id)).toMatchObject({ status: 'replaced', replaced_by: next.id });
    expect(order(next.id)?.status).toBe('new');
  });

  it('an ioc order whose end was not written is ended', () => {
    tape.quote('IBM', [184.2, 100], [184.25, 4]);
    const id = submit({ time_in_force: 'ioc' });
    restart(() => cutAfter('partial_fill'));
    expect(order(id)).toMatchObject({ status: 'canceled', filled_qty: '4' });
  });

  it('a late fill that was due comes after the restart', () => {
    const id = submit({ type: 'limit', limit_price: '100' });
    bare.broker.cancel(id, 1_000_000_000n);
    restart();
    expect(order(id)?.status).toBe('pending_cancel');
    restart(() => tape.pass(1000));
    expect(order(id)).toMatchObject({ status: 'filled', filled_avg_price: '100' });
  });
});

describe('a market that went on', () => {
  it('an order that would have filled fills against the quote of now', () => {
    const id = submit({ type: 'limit', limit_price: '184' });
    restart(() => {
      tape.pass(5000);
      tape.quote('IBM', [183, 100], [183.5, 100]);
      tape.quote('IBM', [183.8, 100], [183.9, 100]);
    });
    expect(order(id)).toMatchObject({ status: 'filled', filled_avg_price: '183.9', filled_at: '2013-10-08T13:40:05Z' });
  });

  it('a displayed size that was taken is not taken again within the same quote', () => {
    tape.quote('IBM', [184.2, 100], [184.25, 15]);
    const id = submit({ qty: '20' });
    restart();
    expect(order(id)?.filled_qty).toBe('15');
    tape.quote('IBM', [184.2, 100], [184.25, 16]);
    expect(order(id)?.filled_qty).toBe('20');
  });

  it('day orders end at the closes that passed, at the time of the close', () => {
    const id = submit({ type: 'limit', limit_price: '184' });
    const gtc = submit({ type: 'limit', limit_price: '184', time_in_force: 'gtc' });
    restart(() => {
      tape.now = ns('2013-10-09T14:00:00Z');
      tape.quote('IBM', [183.8, 100], [183.9, 100]);
    });
    expect(order(id)).toMatchObject({ status: 'expired', expired_at: '2013-10-08T20:00:00Z' });
    expect(order(gtc)?.status).toBe('filled');
  });

  it('a stop that a trade reached meanwhile is elected; one that was accepted beyond the last trade is not', () => {
    tape.trade('IBM', 184);
    tape.pass(1);
    const beyond = submit({ type: 'stop', stop_price: '183' });
    const reached = submit({ type: 'stop', stop_price: '185', symbol: 'AIG' });
    restart(() => {
      tape.pass(1000);
      tape.trade('AIG', 185.5);
      tape.quote('AIG', [185, 100], [185.2, 100]);
      tape.quote('IBM', [184, 100], [184.2, 100]);
    });
    expect(order(reached)?.status).toBe('filled');
    expect(order(beyond)?.status).toBe('new');
  });

  it('an elected stop that is fok has its one chance also in a halt', () => {
    tape.quote('IBM', [184.2, 100], [184.25, 100]);
    const id = submit({ type: 'stop', stop_price: '185', time_in_force: 'fok' });
    tape.halt('IBM', true);
    tape.trade('IBM', 185);
    expect(order(id)?.status).toBe('canceled');
  });
});
