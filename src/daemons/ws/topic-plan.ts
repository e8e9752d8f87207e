/**
 * The ingest topics as they are against what they must be (spec ingest 3.1), and the creation of what is missing.
 * Guarantees: nothing that exists is ever changed; one topic that differs in a way that loses data or breaks the reading by
 * partition number refuses the whole plan before anything is created.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { EventLog, TopicDescription, TopicSpec } from '../../lib/log/port.ts';
import { loadConfig } from '../../lib/service/config.ts';
import { refusedError } from '../../lib/service/errors.ts';
import { homePaths } from '../../lib/service/home.ts';
import { ingestRoles, ingestTopicSpecs, ingestTopics } from './topics.ts';
import { wsVariables } from './variables.ts';

export interface TopicRow extends Record<string, unknown> {
  role: string;
  topic: string;
  state: 'present' | 'missing' | 'differs';
  partitions: number;
  /** -1 for ever. */
  retention_ms: number;
  cleanup: string;
  records: bigint;
  differences: string | null;
}

export interface TopicPlan {
  /** Names the facts that the plan rests on. */
  id: string;
  rows: TopicRow[];
  missing: TopicSpec[];
}

/** The clock file of the run, where the log belongs to one; Kafka's topics are on the wall clock unless told otherwise. */
export function clockOfHome(home: string, env: NodeJS.ProcessEnv): string | undefined {
  if (env.TORGHUT_CLOCK) return env.TORGHUT_CLOCK;
  const isKafka = (env.KAFKA_BOOTSTRAP ?? '').trim() !== '';
  return !isKafka && existsSync(homePaths.clock(home)) ? homePaths.clock(home) : undefined;
}

/** What the environment asks of the ingest topics. @throws `config_invalid` (exit 2) */
export function wantedTopics(env: NodeJS.ProcessEnv, clock: 'system' | 'virtual'): TopicSpec[] {
  const { values } = loadConfig(wsVariables, env);
  return ingestTopicSpecs(ingestTopics(values), values.TORGHUT_PARTITIONS, clock);
}

const policy = (text: string) => text.split(',').sort().join(',');

/** What a topic lacks; keeping more than asked for is no lack. */
function differencesOf(found: TopicDescription, spec: TopicSpec): string[] {
  const differences: string[] = [];
  if (found.partitions.length !== spec.partitions) {
    differences.push(`${found.partitions.length} partitions, not ${spec.partitions}`);
  }
  if (policy(found.cleanup) !== policy(spec.cleanup)) differences.push(`cleanup ${found.cleanup}, not ${spec.cleanup}`);
  const isShorter = found.retentionMs >= 0 && (spec.retentionMs < 0 || found.retentionMs < spec.retentionMs);
  if (isShorter) differences.push(`retention ${found.retentionMs} ms, shorter than ${spec.retentionMs}`);
  return differences;
}

/** Compares without changing anything. @param specs in the order of `ingestRoles` */
export async function planTopics(log: EventLog, specs: readonly TopicSpec[]): Promise<TopicPlan> {
  const described = new Map<string, TopicDescription>();
  // The embedded log refuses names it does not know; Kafka may hold many topics of others.
  const names = log.kind === 'kafka' ? specs.map(({ name }) => name) : undefined;
  for (const topic of await log.describeTopics(names)) described.set(topic.name, topic);
  const rows = specs.map((spec, i): TopicRow => {
    const found = described.get(spec.name);
    const differences = found === undefined ? [] : differencesOf(found, spec);
    return {
      role: ingestRoles[i] ?? spec.name,
      topic: spec.name,
      state: found === undefined ? 'missing' : differences.length === 0 ? 'present' : 'differs',
      partitions: found?.partitions.length ?? spec.partitions,
      retention_ms: found?.retentionMs ?? spec.retentionMs,
      cleanup: found?.cleanup ?? spec.cleanup,
      records: (found?.partitions ?? []).reduce((sum, { earliest, latest }) => sum + (latest - earliest), 0n),
      differences: differences.length === 0 ? null : differences.join('; '),
    };
  });
  const facts = rows.map(({ topic, state, partitions, retention_ms, cleanup }) => [
    topic, state, partitions, retention_ms, cleanup,
  ]); // biome-ignore format: one list
  const id = createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 8);
  return { id, rows, missing: specs.filter(({ name }) => !described.has(name)) };
}

/** @throws `topic_mismatch` (exit 4) when a topic would have to lose records or change its partitions */
export function refuseLossyChange(plan: TopicPlan): void {
  const wrong = plan.rows.filter(({ state }) => state === 'differs');
  if (wrong.length === 0) return;
  throw refusedError({
    code: 'topic_mismatch',
    what: `${wrong.map(({ topic }) => topic).join(', ')} cannot be made what torghut needs without loss`,
    why: wrong.map(({ topic, differences }) => `${topic} has ${differences}`).join('; '),
    next: 'name other topics in the environment, or correct these with the tools of the broker; nothing was created',
  });
}
