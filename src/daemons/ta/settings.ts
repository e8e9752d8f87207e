/**
 * What the configuration of ta comes to: settings of the core, topics of a run, the group of its sink. Engine, verify and
 * replay take them from here, so that a replay computes with the settings of the engine.
 */
import { defaultTopics } from '../../lib/log/topics.ts';
import type { ConfigOf } from '../../lib/service/config.ts';
import { settingsOf, type TaSettings } from '../../lib/ta/index.ts';
import { readRunFile } from '../up/run-file.ts';
import type { TaskTopics } from './task.ts';
import type { taVariables } from './variables.ts';

export type TaConfig = ConfigOf<typeof taVariables>;

/** Settings of the pure core. */
export function coreSettings(config: TaConfig): TaSettings {
  return settingsOf(config.TA_PROFILE, {
    quoteStaleAfterMs: config.TA_QUOTE_STALE_AFTER_MS,
    vwapWindowSeconds: config.TA_VWAP_WINDOW_SECONDS,
    realizedVolWindowSeconds: config.TA_REALIZED_VOL_WINDOW,
    ...(config.TA_MAX_OUT_OF_ORDER_MS === undefined ? {} : { maxOutOfOrderMs: config.TA_MAX_OUT_OF_ORDER_MS }),
  });
}

/** Topics that a task reads and writes. */
export const taskTopics = (config: TaConfig): TaskTopics => ({
  trades: config.TA_TRADES_TOPIC,
  quotes: config.TA_QUOTES_TOPIC,
  bars: config.TA_BARS1M_TOPIC,
  taBars: config.TA_MICROBARS_TOPIC,
  taSignals: config.TA_SIGNALS_TOPIC,
  taLate: config.TA_LATE_TOPIC,
  taState: config.TA_STATE_TOPIC,
  taStatus: config.TA_STATUS_TOPIC,
});

/** Topic of what ws repaired too late for the live bars; a setting of ws. */
export const repairTopic = (env: NodeJS.ProcessEnv): string => env.INGEST_REPAIR_TOPIC || defaultTopics.repair;

/** The run that a home's commands mean: the environment's, else the one that `up` noted. */
export const runIdOf = (home: string, config: TaConfig, env: NodeJS.ProcessEnv): string =>
  env.TORGHUT_RUN_ID || readRunFile(home)?.run_id || config.TORGHUT_RUN_ID;

/** Group of a run's sink. @param given TA_SINK_GROUP_ID */
export const sinkGroupOf = (given: string | undefined, runId: string): string => given ?? `torghut-ta-sink-${runId}`;
