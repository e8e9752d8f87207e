/**
 * What a schema registry has once said, kept in the home: the ids of schemas for writers, the schemas of ids for readers.
 * Guarantees
 * - A registry never changes either, so a fact that was kept stays true as long as it is the same registry. The address is a
 *   part of every fact: what one registry said is nothing to another.
 * - A fact is a file of its own, written beside and renamed, with a hash of all of it: torn, damaged or misplaced ones are not
 *   known, never half known. Processes of one home may write at the same time.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { homePaths } from '../service/home.ts';

const hashOf = (...parts: readonly string[]): string =>
  createHash('sha256').update(JSON.stringify(parts)).digest('hex');

const factSchema = z.object({
  subject: z.string(),
  id: z.number().int().positive(),
  schema: z.string(),
  check: z.string(),
});
type Fact = z.infer<typeof factSchema>;

export interface SchemaMemory {
  /** The id of a schema under a subject. */
  idOf(subject: string, schema: string): number | undefined;
  keepId(subject: string, schema: string, id: number): void;
  /** The schema of an id. */
  schemaOf(id: number): string | undefined;
  keepSchema(id: number, schema: string): void;
}

/**
 * @param home run home
 * @param registry address of the registry
 */
export function openSchemaMemory(home: string, registry: string): SchemaMemory {
  const folder = homePaths.schemas(home);
  const checkOf = ({ subject, id, schema }: Omit<Fact, 'check'>) => hashOf(registry, subject, String(id), schema);
  const pathOf = (...key: readonly string[]) => join(folder, `${hashOf(registry, ...key).slice(0, 32)}.json`);

  const read = (path: string): Fact | undefined => {
    try {
      const fact = factSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
      return fact.check === checkOf(fact) ? fact : undefined;
    } catch {
      return undefined;
    }
  };
  const keep = (path: string, fact: Omit<Fact, 'check'>) => {
    const check = checkOf(fact);
    if (read(path)?.check === check) return;
    try {
      mkdirSync(folder, { recursive: true });
      writeFileSync(`${path}.${process.pid}`, `${JSON.stringify({ ...fact, check })}\n`, { flush: true });
      renameSync(`${path}.${process.pid}`, path);
    } catch {
      // A full disk must not stop who has the answer already; the next start asks the registry once more.
    }
  };
  return {
    idOf: (subject, schema) => {
      const fact = read(pathOf('id', subject, schema));
      return fact?.subject === subject && fact.schema === schema ? fact.id : undefined;
    },
    keepId: (subject, schema, id) => keep(pathOf('id', subject, schema), { subject, id, schema }),
    schemaOf: (id) => {
      const fact = read(pathOf('schema', String(id)));
      return fact?.id === id ? fact.schema : undefined;
    },
    keepSchema: (id, schema) => keep(pathOf('schema', String(id)), { subject: '', id, schema }),
  };
}
