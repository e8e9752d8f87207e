/**
 * `ws backfill` over its life: settings, plan, consent, writing, announcement. On Kafka it writes by a transaction of its own,
 * which fences nobody; the embedded log has one writing process, so there ws has to rest meanwhile.
 */
import { randomInt } from 'node:crypto';
import { createMarketRest } from '../../lib/alpaca/market-rest.ts';
import { openEventLog } from '../../lib/log/open.ts';
import { createEnvelopeWriter } from '../../lib/market/envelope-text.ts';
import { askConsent } from '../../lib/runbook/confirm.ts';
import { type Clock, openClock } from '../../lib/service/clock.ts';
import { codeOf, refusedError, type TorghutError, usageError } from '../../lib/service/errors.ts';
import { findService } from '../../lib/service/home.ts';
import {
  type BackfillContext,
  type BackfillQuestion,
  type BackfillRow,
  backfillPlanId,
  compareStretch,
  repairRecords,
} from './backfill.ts';
import { BACKFILL_COMPONENT } from './gaps.ts';
import { Publisher } from './publisher.ts';
import { RecordMaker, Slots } from './records.ts';
import { createStatusReporter } from './status-reporter.ts';
import { readLast } from './tail.ts';
import { clockOfHome } from './topic-plan.ts';
import { ingestTopics } from './topics.ts';
import { loadWsConfig, type WsConfig } from './variables.ts';

export interface BackfillOptions extends Omit<BackfillQuestion, 'symbols'> {
  home: string;
  env: NodeJS.ProcessEnv;
  /** undefined: the symbols of the configuration. */
  symbols: readonly string[] | undefined;
  dryRun: boolean;
  yes: boolean;
  confirm: string | undefined;
  signal: AbortSignal;
  tell(line: string): void;
}

export interface BackfillResult extends Record<string, unknown> {
  plan_id: string;
  missing: number;
  written: number;
  rows: BackfillRow[];
}

const COMMIT_RECORDS = 2_000;
const NOTE =
  'live bars do not change: `torghut ta replay` reads the repair topic together with the others and computes the stretch anew';

/** Under `up` the simulator is the provider; its address and keys are those of the run, not of the environment. */
function settingsOf(options: BackfillOptions, clock: Clock): WsConfig {
  const { env, home } = options;
  const symbols = options.symbols === undefined ? {} : { SYMBOLS: options.symbols.join(','), SYMBOLS_ALLOWLIST: '' };
  // What is asked for by REST needs no place in the subscription.
  const base = { ...env, ...symbols, ALPACA_SYMBOL_LIMIT: '0', SHARD_COUNT: '1', SHARD_INDEX: '0' };
  const simulator = findService(home, 'simulator');
  const hasKeys = [env.ALPACA_KEY_ID, env.APCA_API_KEY_ID].some((key) => (key ?? '') !== '');
  if (simulator === undefined || hasKeys) return loadWsConfig(base, clock.kind);
  return loadWsConfig(
    {
      ...base,
      APCA_API_KEY_ID: 'SIM-BACKFILL',
      APCA_API_SECRET_KEY: 'SIM-BACKFILL-LOCAL',
      ALPACA_BASE_URL: simulator.url,
      ALPACA_STREAM_URL: simulator.url.replace(/^http/, 'ws'),
      ALPACA_FEED: 'sip',
    },
    clock.kind,
  );
}

function checkStretch({ fromNs, toNs }: BackfillOptions, clock: Clock): void {
  const why =
    fromNs >= toNs ? '--from is not before --to' : toNs > clock.nowNs() ? '--to lies in the future' : undefined;
  if (why === undefined) return;
  throw usageError({
    code: 'backfill_range',
    what: 'there is nothing to fill',
    why,
    next: 'for example --from 2013-10-08T13:30:00Z --to 2013-10-08T14:00:00Z',
  });
}

/** @throws `backfill_range`, `config_invalid` (exit 2), `ws_holds_log` (exit 4), market-data, log and consent errors */
export async function backfill(options: BackfillOptions): Promise<BackfillResult> {
  const { home, env, signal, tell } = options;
  const clock = openClock(clockOfHome(home, env));
  checkStretch(options, clock);
  const config = settingsOf(options, clock);
  const names = ingestTopics(config);
  const slots = new Slots(names, config.TORGHUT_PARTITIONS);
  const random = () => randomInt(1_000_000) / 1_000_000;
  const log = await openEventLog({ home, env, clock });
  try {
    const rest = createMarketRest({
      baseUrl: config.ALPACA_BASE_URL,
      key: config.key,
      secret: config.secret,
      feed: config.ALPACA_FEED,
      random,
      requestTimeoutMs: 15_000,
    });
    const question: BackfillQuestion = {
      fromNs: options.fromNs,
      toNs: options.toNs,
      symbols: config.symbols,
      channels: options.channels,
    };
    const context: BackfillContext = { log, names, slots, rest, batchSize: config.SUBSCRIBE_BATCH_SIZE, signal, tell };
    const rows = await compareStretch(context, question, async () => undefined);
    const missing = rows.reduce((sum, row) => sum + row.missing, 0);
    const planId = backfillPlanId(question, rows);
    const result: BackfillResult = { plan_id: planId, missing, written: 0, rows };
    if (missing === 0) return result;
    const what = `write ${missing} missing messages to ${names.repair}`;
    tell(`plan ${planId}: ${what}`);
    tell(NOTE);
    if (!(await askConsent({ ...options, what, planId, isDestructive: false }))) return result;
    if (log.kind === 'embedded' && findService(home, 'ws') !== undefined) throw wsHoldsLog();

    const writer = await log.openWriter({ owner: log.kind === 'embedded' ? 'ws' : 'ws-backfill' });
    try {
      let lastSeq = 0;
      for (let partition = 0; partition < slots.partitions; partition++) {
        const last = (await readLast(log, { topic: names.repair, partition }, 1)).at(-1)?.value;
        lastSeq = Math.max(lastSeq, last?.seq ?? 0);
      }
      const envelopes = createEnvelopeWriter({ feed: config.ALPACA_FEED, clock, lastSeq });
      const records = new RecordMaker(slots, envelopes, clock);
      let failure: TorghutError | undefined;
      const publisher = new Publisher({
        writer,
        headers: { schema: 'torghut.envelope.v2', producer: 'torghut-ws-backfill' },
        commitMs: config.INGEST_COMMIT_MS,
        commitRecords: COMMIT_RECORDS,
        maxBytes: config.INGEST_QUEUE_BYTES,
        random,
        onCommit: ({ error }) => {
          if (error !== undefined) tell(`a commit failed (${codeOf(error) ?? 'unknown'}); it is tried again`);
        },
        onFatal: (error) => {
          failure = error;
        },
      });
      const written = await compareStretch(context, question, async (found) => {
        for (const record of repairRecords(records, found)) publisher.enqueue(record);
        await publisher.flush();
        if (failure !== undefined) throw failure;
        result.written += found.length;
      });
      announce(written);
      await publisher.flush();

      function announce(list: readonly BackfillRow[]): void {
        const status = createStatusReporter({
          feed: config.ALPACA_FEED,
          clock,
          slots,
          envelopes,
          publisher,
          facts: () => ({
            authOk: true, subscriptionOk: false, kafkaReady: true, subscribedSymbols: 0, lagMs: undefined, lastEventTs: undefined,
          }), // biome-ignore format: one list
        });
        for (const { channel, symbol, missing: count } of list) {
          if (count === 0) continue;
          const gap = { channel, symbol, fromNs: question.fromNs, toNs: question.toNs, count, repaired: false };
          status.gap(BACKFILL_COMPONENT, gap, 'in the repair topic, not in the bars');
        }
      }
    } finally {
      await writer.close();
    }
    tell(NOTE);
    return result;
  } finally {
    await log.close();
  }
}

function wsHoldsLog(): Error {
  return refusedError({
    code: 'ws_holds_log',
    what: 'the embedded log of this home is written by its ws',
    why: 'it has one writing process, and to take it over would end ws',
    next: 'end the run (or `torghut ws`), then give the same command again: it takes up where the topics stand',
  });
}
