/**
 * Where the topic of order events is, when its brokers are not those of `KAFKA_*` (spec trading 8; design 6: KAFKA_* is common,
 * TRADING_ORDER_FEED_* overrides it).
 */
import { defaultTopics } from '../../lib/log/topics.ts';
import { type ConfigOf, kind, optional, type VariableTable } from '../../lib/service/config.ts';

const common = (name: string) => `of the order events; default ${name}`;
const noText = undefined as string | undefined;

export const feedVariables = {
  TRADING_ORDER_FEED_ENABLED: {
    parse: kind.boolean,
    default: true,
    describe: 'follow order events from the topic besides reconciling',
  },
  TRADING_ORDER_FEED_TOPIC: {
    parse: kind.text,
    default: defaultTopics.tradeUpdatesV2,
    describe: 'topic of order events',
  },
  TRADING_ORDER_FEED_BATCH_SIZE: {
    parse: kind.integer(1, 10_000),
    default: 200,
    describe: 'order events of one transaction at most',
  },
  TRADING_ORDER_FEED_BOOTSTRAP_SERVERS: {
    parse: kind.optionalText,
    default: noText,
    describe: `brokers ${common('KAFKA_BOOTSTRAP')}`,
  },
  TRADING_ORDER_FEED_SECURITY_PROTOCOL: {
    parse: optional(kind.oneOf('PLAINTEXT', 'SSL', 'SASL_PLAINTEXT', 'SASL_SSL')),
    default: noText,
    describe: `protocol ${common('KAFKA_SECURITY_PROTOCOL')}`,
  },
  TRADING_ORDER_FEED_SASL_MECHANISM: {
    parse: optional(kind.oneOf('SCRAM-SHA-512', 'SCRAM-SHA-256', 'PLAIN')),
    default: noText,
    describe: `SASL mechanism ${common('KAFKA_SASL_MECH')}`,
    aliases: ['TRADING_ORDER_FEED_SASL_MECH'],
  },
  TRADING_ORDER_FEED_SASL_USERNAME: {
    parse: kind.optionalText,
    default: noText,
    describe: `SASL user ${common('KAFKA_SASL_USER')}`,
    aliases: ['TRADING_ORDER_FEED_SASL_USER'],
  },
  TRADING_ORDER_FEED_SASL_PASSWORD: {
    parse: kind.optionalText,
    default: noText,
    describe: `SASL password ${common('KAFKA_SASL_PASSWORD')}`,
    secret: true,
  },
} as const satisfies VariableTable;

/** The environment of the event log that the order feed reads. */
export function feedEnvironment(config: ConfigOf<typeof feedVariables>, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const own: Record<string, string | undefined> = {
    KAFKA_BOOTSTRAP: config.TRADING_ORDER_FEED_BOOTSTRAP_SERVERS,
    KAFKA_SECURITY_PROTOCOL: config.TRADING_ORDER_FEED_SECURITY_PROTOCOL,
    KAFKA_SASL_MECH: config.TRADING_ORDER_FEED_SASL_MECHANISM,
    KAFKA_SASL_USER: config.TRADING_ORDER_FEED_SASL_USERNAME,
    KAFKA_SASL_PASSWORD: config.TRADING_ORDER_FEED_SASL_PASSWORD,
  };
  return { ...env, ...Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined)) };
}
