/** One definition in the words of a node and of a cluster, and back from what the server says. */
import { describe, expect, test } from 'vitest';
import { storeUsers } from '../../src/lib/signals/grants.ts';
import {
  engineOf,
  engineText,
  everywhere,
  expectedEngine,
  keeperPath,
  layoutOf,
  onCluster,
} from '../../src/lib/signals/layout.ts';
import { checksumOf, migrations } from '../../src/lib/signals/schema.ts';
import { quoteQualified } from '../../src/lib/signals/sql-text.ts';

const cluster = layoutOf('default');
const node = layoutOf(undefined);

describe('a layout', () => {
  test.each(['ReplacingMergeTree(revision)', 'ReplacingMergeTree', 'AggregatingMergeTree'])(
    '%s is found again in what the server says of it',
    (engine) => {
      for (const layout of [cluster, node]) {
        const text = engineText(engine, layout, keeperPath('torghut', 'ta_signals'));
        const full = `${text} PARTITION BY toDate(event_ts) ORDER BY (symbol, event_ts) TTL x SETTINGS index_granularity = 8192`;
        expect(engineOf(full)).toBe(expectedEngine(engine, layout));
      }
    },
  );

  test('the keeper paths of two databases and of a shadow are never the same', () => {
    const paths = [
      keeperPath('torghut', 'ta_signals'),
      keeperPath('torghut', 'ta_signals', '__shadow'),
      keeperPath('torghut_replay_x', 'ta_signals'),
    ];
    expect(paths[0]).toBe('/clickhouse/tables/{cluster}/{shard}/ta_signals');
    expect(new Set(paths).size).toBe(3);
  });

  test('a name that could end a statement is refused, one with a dash is quoted', () => {
    expect(onCluster(layoutOf('my-cluster'))).toBe(" ON CLUSTER 'my-cluster'");
    expect(onCluster(node)).toBe('');
    for (const name of ["x'", 'a b', '', '1a', 'x;DROP'])
      expect(() => layoutOf(name)).toThrow(expect.objectContaining({ code: 'cluster_name_invalid', exitCode: 4 }));
  });

  test('only unreplicated tables of a cluster are read on every host', () => {
    expect(everywhere('d.t', cluster, false)).toBe("clusterAllReplicas('default', d.t)");
    expect(everywhere('d.t', cluster, true)).toBe('d.t');
    expect(everywhere('d.t', node, false)).toBe('d.t');
  });
});

test('the checksum of a migration is the same in every layout and with every TTL', () => {
  expect(migrations.map(({ version }) => version)).toEqual(migrations.map((_, i) => i + 1));
  for (const migration of migrations) {
    const texts = [migration.statements('db', 35, cluster), migration.statements('db', undefined, node)];
    expect(texts[0]).not.toEqual(texts[1]);
    expect(checksumOf(migration)).toMatch(/^[0-9a-f]{64}$/);
  }
});

test('every statement about a cluster names it, and no user may more than its work', () => {
  for (const migration of migrations)
    for (const statement of migration.statements('db', 35, cluster))
      if (!statement.startsWith('INSERT')) expect(statement).toContain(' ON CLUSTER default');
  const rights = (name: string) =>
    storeUsers
      .find((user) => user.name === name)
      ?.grants('torghut')
      .join('; ') ?? '';
  expect(rights('torghut_ta')).not.toMatch(/ALTER|DROP|CREATE|SYSTEM/);
  expect(rights('torghut_read')).toBe('SELECT ON torghut.*');
  expect(rights('torghut_ops')).not.toMatch(/CREATE|INSERT/);
});

test('names of tables are quoted where they need it', () => {
  expect(quoteQualified('torghut.ta_signals')).toBe('torghut.ta_signals');
  expect(quoteQualified('db.a`b.c')).toBe('db.`a\\`b.c`');
});
