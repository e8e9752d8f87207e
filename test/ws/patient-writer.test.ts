/** The writer that outlives lost transactions, against the real embedded log that fails as Kafka does. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { COMMIT_HEADER, openPatientWriter } from '../../src/daemons/ws/patient-writer.ts';
import { openEventLog } from '../../src/lib/log/open.ts';
import type { Commit, EventLog, LogWriter } from '../../src/lib/log/port.ts';
import { allTopicSpecs, defaultTopics } from '../../src/lib/log/topics.ts';
import { systemClock } from '../../src/lib/service/clock.ts';
import { fencedError, TorghutError, unreachableError } from '../../src/lib/service/errors.ts';

let home = '';
let real: EventLog;
let fault: 'none' | 'lost' | 'unknown' | 'fenced' = 'none';
let opened = 0;
let reopened: { wasDurable: boolean }[] = [];
const status = { topic: defaultTopics.status, partition: 0 };

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'torghut-patient-'));
  real = await openEventLog({ home, env: {}, clock: systemClock() });
  await real.ensureTopics(allTopicSpecs({ clock: 'system' }));
  [fault, opened, reopened] = ['none', 0, []];
});
afterEach(async () => {
  await real.close();
  rmSync(home, { recursive: true, force: true });
});

/** The log of a broker: the first commit after a fault was set fails in that way, `unknown` after it has been written. */
const log = (): EventLog =>
  new Proxy(real, {
    get: (target, name) => {
      if (name === 'kind') return 'kafka';
      if (name === 'openWriter') return openFailing;
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });

async function openFailing(options: { owner: string }): Promise<LogWriter> {
  opened += 1;
  const writer = await real.openWriter(options);
  return {
    owner: writer.owner,
    close: () => writer.close(),
    commit: async (commit: Commit) => {
      const now = fault;
      fault = 'none';
      if (now === 'fenced') throw fencedError(options.owner);
      if (now === 'lost') throw unreachableError({ code: 'writer_lost', what: 'lost', canRetry: false });
      const result = await writer.commit(commit);
      if (now === 'unknown') throw unreachableError({ code: 'commit_unknown', what: 'no answer', canRetry: false });
      return result;
    },
  };
}

const open = (instance: string, transactionMs = 60_000) =>
  openPatientWriter({
    log: log(),
    owner: 'ws',
    instance,
    statusPartition: status,
    transactionMs,
    onReopened: ({ wasDurable }) => reopened.push({ wasDurable }),
  });

const commitOf = (id: string, value: string): Commit => ({
  records: [
    {
      ...status,
      key: 'ws:sip',
      value: Buffer.from(value),
      timestampMs: 1_800_000_000_000,
      headers: { [COMMIT_HEADER]: id },
    },
  ],
});

async function values(): Promise<string[]> {
  const reader = await real.openReader({ partitions: [{ ...status, start: 'earliest' }] });
  const records = await reader.poll({ maxRecords: 100, waitMs: 200 });
  await reader.close();
  return records.map(({ value }) => String(value));
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'ok',
    (error: unknown) => (error instanceof TorghutError ? error.code : 'other'),
  );

describe('patient writer', () => {
  test.each([
    ['lost', false],
    ['unknown', true],
  ] as const)('a transaction that is %s is in the log once', async (kind, wasDurable) => {
    const writer = await open('a');
    const commit = commitOf(writer.nextCommitId(), 'one');
    fault = kind;
    expect(await codeOf(writer.commit(commit))).toBe('log_unreachable');
    expect(await codeOf(writer.commit(commit))).toBe('ok');
    await writer.commit(commitOf(writer.nextCommitId(), 'two'));
    expect(await values()).toEqual(['one', 'two']);
    expect([opened, reopened]).toEqual([2, [{ wasDurable }]]);
    await writer.close();
  });

  test('an epoch refused at once was refused because of a successor: never opened again', async () => {
    const writer = await open('a');
    fault = 'fenced';
    expect(await codeOf(writer.commit(commitOf(writer.nextCommitId(), 'one')))).toBe('fenced');
    expect(opened).toBe(1);
  });

  test('after a lost transaction a successor that has written ends this one, without a word more', async () => {
    const writer = await open('a');
    const commit = commitOf(writer.nextCommitId(), 'mine');
    fault = 'lost';
    await codeOf(writer.commit(commit));
    const successor = await open('b');
    await successor.commit(commitOf(successor.nextCommitId(), 'theirs'));
    expect(await codeOf(writer.commit(commit))).toBe('fenced');
    expect(await values()).toEqual(['theirs']);
    expect(await codeOf(successor.commit(commitOf(successor.nextCommitId(), 'more')))).toBe('ok');
    await successor.close();
  });

  test('an epoch refused after the time-out of a transaction may be our own: it is opened again when nobody else wrote', async () => {
    const writer = await open('a', 0);
    const commit = commitOf(writer.nextCommitId(), 'one');
    fault = 'fenced';
    expect(await codeOf(writer.commit(commit))).toBe('log_unreachable');
    expect(await codeOf(writer.commit(commit))).toBe('ok');
    expect(await values()).toEqual(['one']);
    await writer.close();
  });
});
