/** What every step of a replay works with: log, store, settings, clock of the home, and who is told. */
import { type SignalStoreSource, signalStoreSource } from '../../../embedded/connect.ts';
import { storeVariables } from '../../../embedded/variables.ts';
import { openEventLog } from '../../../lib/log/open.ts';
import type { EventLog } from '../../../lib/log/port.ts';
import { logVariables } from '../../../lib/log/variables.ts';
import { openJournal, type RunbookJournal } from '../../../lib/runbook/journal.ts';
import type { Clock } from '../../../lib/service/clock.ts';
import { loadConfig } from '../../../lib/service/config.ts';
import type { TaSettings } from '../../../lib/ta/index.ts';
import { sinkVariables } from '../../sink/variables.ts';
import { clockOfHome } from '../home-clock.ts';
import { coreSettings, repairTopic, runIdOf, sinkGroupOf, type TaConfig, taskTopics } from '../settings.ts';
import type { TaskTopics } from '../task.ts';
import { taVariables } from '../variables.ts';

export interface ReplayContext {
  home: string;
  env: NodeJS.ProcessEnv;
  clock: Clock;
  log: EventLog;
  store: SignalStoreSource;
  config: TaConfig;
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
  const runId = runIdOf(home, config, env);
  const log = await openEventLog({ home, env, clock, signal });
  const store = signalStoreSource({ home, env, signal });
  return {
    home,
    env,
    clock,
    log,
    store,
    config,
    topics: taskTopics(config),
    repairTopic: repairTopic(env),
    runId,
    sinkGroupId: sinkGroupOf(TA_SINK_GROUP_ID, runId),
    settings: coreSettings(config),
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
