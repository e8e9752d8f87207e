/**
 * The topic catalogue: one JSON file per topic, made with one atomic link, so every process finds a topic whole or not at all.
 * A file never changes after that; retention and cleanup of an existing topic are part of what must agree.
 */
import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { codeOf, refusedError, TorghutError } from '../../service/errors.ts';
import { machineNs } from '../../service/machine.ts';
import type { TopicSpec } from '../port.ts';
import { checkedName, logPaths } from './layout.ts';

const topicSchema = z.object({
  name: z.string(),
  partitions: z.number().int().min(1),
  retention_ms: z.number().min(-1),
  cleanup: z.enum(['delete', 'compact', 'compact,delete']),
  owner: z.string(),
});

function parseTopic(path: string, text: string): TopicSpec {
  try {
    const { retention_ms, ...rest } = topicSchema.parse(JSON.parse(text));
    return { ...rest, retentionMs: retention_ms };
  } catch (cause) {
    throw new TorghutError({
      code: 'log_damaged',
      what: `the topic file ${path} cannot be read`,
      why: 'it does not describe a topic',
      next: 'restore the folder of the log, or begin a new run home',
      cause,
    });
  }
}

function describeSpec(spec: TopicSpec): string {
  return `${spec.partitions} partitions, cleanup ${spec.cleanup}, retention ${spec.retentionMs} ms, owner ${spec.owner}`;
}

/** Asked for every record that is written: the names stay as they were made. */
const ownerNames = new Map<string, string[]>();

/** The environment that holds a partition. */
export function ownerOf(spec: TopicSpec, partition: number): string {
  let names = ownerNames.get(spec.owner);
  if (names === undefined) {
    names = [];
    ownerNames.set(spec.owner, names);
  }
  names[partition] ??= spec.owner.replaceAll('{p}', String(partition));
  return names[partition];
}

export class Catalogue {
  readonly #home: string;
  readonly #known = new Map<string, TopicSpec>();

  constructor(home: string) {
    this.#home = home;
  }

  /** The topic, or undefined while nobody has created it. */
  find(name: string): TopicSpec | undefined {
    const known = this.#known.get(name);
    if (known) return known;
    const path = logPaths.topic(this.#home, name);
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    const spec = parseTopic(path, text);
    this.#known.set(name, spec);
    return spec;
  }

  /** @throws `topic_unknown` (exit 4) */
  get(name: string): TopicSpec {
    const spec = this.find(name);
    if (spec) return spec;
    throw refusedError({
      code: 'topic_unknown',
      what: `the log has no topic ${name}`,
      why: 'no process has created it in this home',
      next: 'list what is there with `torghut log topics`',
    });
  }

  names(): string[] {
    try {
      return readdirSync(logPaths.topics(this.#home))
        .filter((file) => file.endsWith('.json'))
        .map((file) => file.slice(0, -'.json'.length))
        .sort();
    } catch {
      return [];
    }
  }

  /** Creates the topic, or checks that the existing one is the same. @throws `topic_mismatch` (exit 4) */
  ensure(spec: TopicSpec): void {
    checkedName('topic', spec.name);
    for (let p = 0; p < spec.partitions; p++) checkedName('owner', ownerOf(spec, p));
    const existing = this.find(spec.name) ?? this.#create(spec);
    if (describeSpec(existing) === describeSpec(spec)) return;
    throw refusedError({
      code: 'topic_mismatch',
      what: `the topic ${spec.name} exists with other settings`,
      why: `it has ${describeSpec(existing)}; asked for ${describeSpec(spec)}`,
      next: 'use the settings of the run that created it, or begin a new run home',
    });
  }

  /** Forgets a topic; its records are the caller's matter. */
  remove(name: string): void {
    rmSync(logPaths.topic(this.#home, name), { force: true });
    this.#known.delete(name);
  }

  #create(spec: TopicSpec): TopicSpec {
    const path = logPaths.topic(this.#home, spec.name);
    mkdirSync(logPaths.topics(this.#home), { recursive: true });
    const { retentionMs, ...rest } = spec;
    const text = JSON.stringify(topicSchema.parse({ ...rest, retention_ms: retentionMs }));
    const draft = `${path}.${process.pid}.${machineNs()}`;
    writeFileSync(draft, `${text}\n`);
    try {
      linkSync(draft, path);
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    } finally {
      rmSync(draft, { force: true });
    }
    return this.get(spec.name);
  }
}
