/**
 * Where the tables of a signal database live: on one node, or on every replica of a cluster (spec ta 4.1, 4.2). The one place
 * that turns a definition into the text of either.
 * Facts: `ON CLUSTER` goes through the cluster's own queue, so all hosts run the statements in one order. A table that takes
 * another's place (conversion) needs a keeper path of its own, since EXCHANGE TABLES swaps names and not paths.
 */
import { refusedError } from '../service/errors.ts';

export interface Layout {
  /** Name in `system.clusters`; undefined for a single node. */
  cluster: string | undefined;
}

export const singleNode: Layout = { cluster: undefined };

/** @throws `cluster_name_invalid` (exit 4) */
export function layoutOf(cluster: string | null | undefined): Layout {
  if (cluster === null || cluster === undefined) return singleNode;
  if (/^[A-Za-z_][A-Za-z0-9_-]*$/.test(cluster)) return { cluster };
  throw refusedError({
    code: 'cluster_name_invalid',
    what: `${cluster} cannot be the name of a cluster`,
    next: 'use a name of `SELECT DISTINCT cluster FROM system.clusters`',
  });
}

/** ` ON CLUSTER name`, or nothing. */
export function onCluster({ cluster }: Layout): string {
  if (cluster === undefined) return '';
  return ` ON CLUSTER ${/^\w+$/.test(cluster) ? cluster : `'${cluster}'`}`;
}

/** Path of a table in the keeper. @param suffix makes it another one, for a table that will take this one's name */
export function keeperPath(database: string, table: string, suffix = ''): string {
  const name = database === 'torghut' ? table : `${database}_${table}`;
  return `/clickhouse/tables/{cluster}/{shard}/${name}${suffix}`;
}

/** The engine as this layout has it: on a cluster its replicated form, on the given keeper path. */
export function engineText(engine: string, layout: Layout, path: string): string {
  if (layout.cluster === undefined) return engine;
  const [, name, inner] = /^(\w+)(?:\((.*)\))?$/.exec(engine) ?? [];
  const more = inner === undefined ? '' : `, ${inner}`;
  return `Replicated${name}('${path}', '{replica}'${more})`;
}

/** An engine with its arguments as `system.tables` has it, without the clauses behind it; a replicated one without path and replica. */
export function engineOf(engineFull: string): string {
  const engine = (engineFull.split(/ (?:PARTITION BY|PRIMARY KEY|ORDER BY|TTL|SETTINGS)\b/)[0] ?? '').trim();
  const [, name, inner] = /^(Replicated\w+)\('[^']*', '[^']*'(?:, (.*))?\)$/.exec(engine) ?? [];
  if (name === undefined) return engine;
  return inner === undefined ? name : `${name}(${inner})`;
}

/** What engineOf says of a table of this layout. */
export function expectedEngine(engine: string, layout: Layout): string {
  return layout.cluster === undefined ? engine : `Replicated${engine}`;
}

/** Every row of a table, wherever it is: an unreplicated table of a cluster has other rows on each host. */
export function everywhere(qualified: string, layout: Layout, isReplicated: boolean): string {
  if (layout.cluster === undefined || isReplicated) return qualified;
  return `clusterAllReplicas('${layout.cluster}', ${qualified})`;
}
