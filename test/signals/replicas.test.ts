/** The decision table of replicas: from what servers and keeper say to a name and an action, and what is refused. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { diagnose, lagLimits } from '../../src/lib/signals/replicas/diagnose.ts';
import { type KeeperState, parseKeeperAddresses } from '../../src/lib/signals/replicas/keeper.ts';
import type { Metadata, NodeState, ReplicaTable } from '../../src/lib/signals/replicas/probes.ts';
import { exitCodeOf, reportReplicas } from '../../src/lib/signals/replicas/report.ts';
import { planRestore } from '../../src/lib/signals/replicas/restore.ts';

const table = (changes: Partial<ReplicaTable> = {}): ReplicaTable => ({
  database: 'torghut',
  table: 'ta_signals',
  is_readonly: false,
  is_session_expired: false,
  zookeeper_path: '/clickhouse/tables/default/0/ta_signals',
  replica_name: 'r1',
  queue_size: 0,
  inserts_in_queue: 0,
  absolute_delay: 0,
  lost_part_count: 0,
  total_replicas: 2,
  active_replicas: 2,
  zookeeper_exception: '',
  last_queue_update_exception: '',
  metadata: 'present',
  queue_error: '',
  ...changes,
});

const node = (replica: string, ...tables: ReplicaTable[]): NodeState => ({
  replica,
  error: null,
  has_session: true,
  keepers: [],
  longest_merge_seconds: 0,
  tables,
});

const silent: NodeState = { ...node('b'), error: 'connect ECONNREFUSED', has_session: null };
const alive: KeeperState = { address: 'k:2181', answer: 'ok', mode: 'standalone', why: null };
const dead: KeeperState = { address: 'k:2181', answer: 'none', mode: null, why: 'connect ECONNREFUSED' };

describe('the decision table', () => {
  test.each([
    ['metadata_lost', 'restore', { is_readonly: true, metadata: 'table_missing' as Metadata }],
    ['metadata_lost', 'restart_and_restore', { metadata: 'table_missing' as Metadata }],
    ['replica_metadata_lost', 'restore', { is_readonly: true, metadata: 'replica_missing' as Metadata }],
    ['session_expired', 'restart', { is_session_expired: true, is_readonly: true, metadata: 'unknown' as Metadata }],
    ['read_only', 'restart', { is_readonly: true }],
    ['lost_parts', null, { lost_part_count: 2 }],
    ['lagging', null, { absolute_delay: lagLimits.delaySeconds + 1 }],
    ['lagging', null, { queue_size: lagLimits.queue + 1 }],
    ['lagging', null, { inserts_in_queue: lagLimits.inserts + 1 }],
  ] as const)('%s asks for %s', (diagnosis, action, changes) => {
    expect(diagnose([node('a', table(changes))], [alive])).toMatchObject([{ diagnosis, action, refused: null }]);
  });

  test('a table at its limits is well; one that never had a session is not called late since 1970', () => {
    const { delaySeconds, queue, inserts } = lagLimits;
    const atLimits = table({ absolute_delay: delaySeconds, queue_size: queue, inserts_in_queue: inserts });
    expect(diagnose([node('a', atLimits)], [alive])).toEqual([]);
    const [finding] = diagnose([node('a', table({ is_readonly: true, absolute_delay: 1_795_384_607 }))], [alive]);
    expect(finding?.diagnosis).toBe('read_only');
  });

  test('a dead keeper outranks everything the tables say, and a live one tells an expired session from it', () => {
    const expired = table({ is_session_expired: true, is_readonly: true, metadata: 'unknown' });
    const without = { ...node('a', expired), has_session: false };
    expect(diagnose([without], [dead])[0]?.diagnosis).toBe('keeper_unreachable');
    expect(diagnose([without], [])[0]?.diagnosis).toBe('keeper_unreachable');
    expect(diagnose([without], [alive])[0]?.diagnosis).toBe('session_expired');
    // Not reachable from here, while the servers have their sessions.
    expect(diagnose([node('a', table())], [dead])).toEqual([]);
  });

  test('nothing is restored while a server is silent, whatever the others say', () => {
    const state = fc.record({
      is_readonly: fc.boolean(),
      is_session_expired: fc.boolean(),
      metadata: fc.constantFrom<Metadata>('present', 'table_missing', 'replica_missing', 'unknown'),
      lost_part_count: fc.nat(2),
    });
    fc.assert(
      fc.property(fc.array(state, { minLength: 1, maxLength: 4 }), (states) => {
        const tables = states.map((changes, i) => table({ ...changes, table: `t${i}` }));
        const nodes = [node('a', ...tables), silent];
        for (const finding of diagnose(nodes, [alive])) {
          if (finding.action !== null) expect(finding.refused).toContain('does not answer');
        }
        expect(() => planRestore('torghut', nodes, [alive], new Map())).toThrow();
      }),
    );
  });

  test('a restore is never planned where another server has the table in good health', () => {
    const lost = table({ is_readonly: true, metadata: 'table_missing' });
    const elsewhere = { ...table(), zookeeper_path: '/other' };
    expect(() => planRestore('torghut', [node('a', lost), node('b', table())], [alive], new Map())).toThrow(
      /another keeper/,
    );
    expect(planRestore('torghut', [node('a', lost), node('b', elsewhere)], [alive], new Map()).steps).toHaveLength(2);
  });
});

test('one verdict: n/a is not ok, silence is unknown, and a finding is a problem', () => {
  const status = (nodes: NodeState[], keepers: KeeperState[] = [alive]) => {
    const report = reportReplicas({ nodes, keepers });
    return [report.status, exitCodeOf(report)];
  };
  expect(status([node('a')])).toEqual(['n/a', 0]);
  expect(status([node('a', table())])).toEqual(['ok', 0]);
  expect(status([silent])).toEqual(['unknown', 11]);
  expect(status([node('a', table()), silent])).toEqual(['problem', 10]);
});

test('the next step is that of the first cause, and a refusal is said instead of a restore', () => {
  const next = (...nodes: NodeState[]) => reportReplicas({ nodes, keepers: [alive] }).next;
  const lost = table({ is_readonly: true, metadata: 'table_missing' });
  expect(next(node('a', table()))).toBeNull();
  expect(next(node('a', lost))).toContain('--restore');
  expect(next(node('a', lost), silent)).toBe('bring the server back');
  expect(next(node('a', lost), node('b', table()))).toContain('another keeper');
});

test('addresses of keepers are host and port', () => {
  expect(parseKeeperAddresses('a:2181, b.c:9181')).toEqual(['a:2181', 'b.c:9181']);
  expect(parseKeeperAddresses('')).toEqual([]);
  for (const text of ['a', 'a:0', 'a:99999', 'http://a:1'])
    expect(() => parseKeeperAddresses(text)).toThrow(expect.objectContaining({ code: 'keeper_address_invalid' }));
});
