/**
 * Settings of the ta engine (spec ta 3, narrowed by design 4 and 5). Only those that do something here; the sink has its own.
 */
import { defaultTopics } from '../../lib/log/topics.ts';
import { kind, type VariableTable } from '../../lib/service/config.ts';
import { registryVariables } from '../../lib/wire/variables.ts';
import { defaultControlTopic } from './control.ts';

const topic = (role: keyof typeof defaultTopics, describe: string, aliases: readonly string[] = []) => ({
  parse: kind.text,
  default: defaultTopics[role],
  describe,
  aliases,
});

export const taVariables = {
  TORGHUT_RUN_ID: { parse: kind.text, default: 'live', describe: 'run that all outputs and the state belong to' },
  TA_TRADES_TOPIC: topic('trades', 'topic of trades, corrections and cancels', ['TOPIC_TRADES']),
  TA_QUOTES_TOPIC: topic('quotes', 'topic of quotes', ['TOPIC_QUOTES']),
  TA_BARS1M_TOPIC: topic('bars', 'topic of minute bars and their updates', ['TOPIC_BARS_1M']),
  TA_MICROBARS_TOPIC: topic('taBars', 'topic of 1-second bars'),
  TA_SIGNALS_TOPIC: topic('taSignals', 'topic of 1-second and 1-minute signals'),
  TA_STATUS_TOPIC: topic('taStatus', 'topic of heartbeats'),
  TA_STATE_TOPIC: topic('taState', 'compacted topic of the state of each task'),
  TA_CONTROL_TOPIC: {
    parse: kind.text,
    default: defaultControlTopic,
    describe: 'compacted topic of one partition: which part of ta is paused, and why',
  },
  TA_LATE_TOPIC: topic('taLate', 'topic of events that came too late or could not be used'),
  TA_GROUP_ID: { parse: kind.text, default: 'torghut-ta', describe: 'consumer group that spreads the partitions' },
  TA_CLIENT_ID: {
    parse: kind.text,
    default: 'torghut-ta',
    describe: 'beginning of the transactional ids on Kafka; the run and the partition follow',
  },
  TA_GROUP_SESSION_MS: {
    parse: kind.integer(1_000, 300_000),
    default: 10_000,
    describe: 'silence after which a member of the group counts as dead',
    time: 'machine',
  },
  TA_AUTO_OFFSET_RESET: {
    parse: kind.oneOf('earliest', 'latest', 'none'),
    default: 'earliest' as 'earliest' | 'latest' | 'none',
    describe: 'where a partition without state begins; none refuses to start',
  },
  TA_PROFILE: {
    parse: kind.oneOf('default', 'compat'),
    default: 'default' as 'default' | 'compat',
    describe: 'compat computes every indicator as the former system did and filters no trade',
  },
  TA_COMMIT_INTERVAL_MS: {
    parse: kind.integer(1, 5_000),
    default: 200,
    describe: 'outputs, state and positions are committed together this often',
    time: 'machine',
  },
  TA_COMMIT_RECORDS: {
    parse: kind.integer(1, 100_000),
    default: 5_000,
    describe: 'input records after which a commit comes earlier',
  },
  TA_CHECKPOINT_INTERVAL_MS: {
    parse: kind.integer(1_000),
    default: 10_000,
    describe: 'time between two heartbeats',
    time: 'machine',
  },
  TA_MAX_OUT_OF_ORDER_MS: {
    parse: (text: string) => kind.integer(0, 60_000)(text) as number | undefined,
    default: undefined as number | undefined,
    describe: 'how far the watermark stays behind the newest event; default 500, profile compat 2000',
    time: 'market',
  },
  TA_MAX_FUTURE_MS: {
    parse: kind.integer(0),
    default: 5_000,
    describe: 'an event further ahead of its record time is refused',
    time: 'market',
  },
  TA_QUOTE_STALE_AFTER_MS: {
    parse: kind.integer(0),
    default: 15_000,
    describe: 'age at which a quote is no longer joined; 0 disables the test',
    time: 'market',
  },
  TA_VWAP_WINDOW_SECONDS: {
    parse: kind.integer(1, 3_600),
    default: 300,
    describe: 'window of the rolling VWAP',
    time: 'market',
  },
  TA_REALIZED_VOL_WINDOW: {
    parse: kind.integer(1, 3_600),
    default: 60,
    describe: 'window of the realized volatility, seconds',
    time: 'market',
  },
  TA_SOURCE_LAG_DEGRADED_AFTER_MS: {
    parse: kind.integer(1),
    default: 300_000,
    describe: 'age of the newest input at which the heartbeat says degraded in the regular session',
    time: 'market',
  },
  ...registryVariables,
  TA_HTTP_HOST: { parse: kind.text, default: '127.0.0.1', describe: 'address of the health endpoint' },
  TA_HTTP_PORT: {
    parse: kind.integer(0, 65_535),
    default: 8082,
    describe: 'port of the health endpoint, 0 for a free one',
  },
} satisfies VariableTable;
