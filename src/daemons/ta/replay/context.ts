/** What every step of a replay works with: log, store, settings, clock of the home, and who is told. */
import { type SignalStoreSource, signalStoreSource } from '../../../embedded/connect.ts';
import { storeVariables } from '../../../embedded/variables.ts';
import { openEventLog } from '../../../lib/log/open.ts';
import type { EventLog } from '../../../lib/log/port.ts';
import { logVariables } from '../../../lib/log/variables.ts';
import { openJournal, type RunbookJournal } from '../../../lib/runbook/journal.ts';
import type { Clock } from '../../../lib/service/clock.ts';
import { type ConfigOf, loadConfig } from '../../../lib/service/config.ts';
import { settingsOf, type TaSettings } from '../../../lib/ta/index.ts';
import { sinkVariables } from '../../sink/variables.ts';
import { readRunFile } from '../../up/run-file.ts';
import { clockOfHome } from '../home-clock.ts';
import type { TaskTopics } from '../task.ts';
import { taVariables } from '../variables.ts';

export interface ReplayContext {
  home: string;
  env: NodeJS.ProcessEnv;
  clock: Clock;
  log: EventLog;
  store: SignalStoreSource;
  config: ConfigOf<typeof taVariables>;
  /** Topics of the live run. */
  topics: TaskTopics;
  repairTopic: string;
  /** The live run and its sink's group. */
  runId: string;
  sinkGroupId: string;
  settings: TaSettings;
  /** Rows of a batch of the sink. */
  sinkBatch: number;
  journal: RunbookJournal;
  signal: AbortSignal;
  tell(line: string): void;
  close(): Promise<void>;
}

export async function openReplayContext(options: {
  home: string;
  env?: NodeJS.ProcessEnv | undefined;
  signal: AbortSignal;
  tell(line: string): void;
}): Promise<ReplayContext> {
  const { home, signal, tell } = options;
  const env = options.env ?? process.env;
  const names = [...Object.keys(sinkVariables), ...Object.keys(storeVariables), ...Object.keys(logVariables)];
  const { values: config } = loadConfig(taVariables, env, names);
  const { TA_SINK_GROUP_ID, TA_CLICKHOUSE_BATCH_SIZE } = loadConfig(sinkVariables, env, [
    ...Object.keys(taVariables),
    ...names,
  ]).values;
  const clock = clockOfHome(home, env);
  const runId = env.TORGHUT_RUN_ID || readRunFile(home)?.run_id || config.TORGHUT_RUN_ID;
  const log = await openEventLog({ home, env, clock, signal });
  const store = signalStoreSource({ home, env, signal });
  return {
    home,
    env,
    clock,
    log,
    store,
    config,
    topics: {
      trades: config.TA_TRADES_TOPIC,
      quotes: config.TA_QUOTES_TOPIC,
      bars: config.TA_BARS1M_TOPIC,
      taBars: config.TA_MICROBARS_TOPIC,
      taSignals: config.TA_SIGNALS_TOPIC,
      taLate: config.TA_LATE_TOPIC,
      taState: config.TA_STATE_TOPIC,
      taStatus: config.TA_STATUS_TOPIC,
    },
    repairTopic: env.INGEST_REPAIR_TOPIC || 'torghut.ingest.repair.v1',
    runId,
    sinkGroupId: TA_SINK_GROUP_ID ?? `torghut-ta-sink-${runId}`,
    settings: settingsOf(config.TA_PROFILE, {
      quoteStaleAfterMs: config.TA_QUOTE_STALE_AFTER_MS,
      vwapWindowSeconds: config.TA_VWAP_WINDOW_SECONDS,
      realizedVolWindowSeconds: config.TA_REALIZED_VOL_WINDOW,
      ...(config.TA_MAX_OUT_OF_ORDER_MS === undefined ? {} : { maxOutOfOrderMs: config.TA_MAX_OUT_OF_ORDER_MS }),
    }),
    sinkBatch: TA_CLICKHOUSE_BATCH_SIZE,
    journal: openJournal(home, 'ta-replay'),
    signal,
    tell,
    close: async () => {
      await store.close();
      await log.close();
    },
  };
}

/** The store with another database on the same server. */
export function storeOf(context: ReplayContext, database: string): SignalStoreSource {
  const { store } = context;
  return {
    isEmbedded: store.isEmbedded,
    database,
    client: () => store.client(),
    createDatabase: async () => {
      const client = await store.client();
      await client.command({ query: `CREATE DATABASE IF NOT EXISTS ${database}` });
    },
    close: async () => undefined,
  };
}
