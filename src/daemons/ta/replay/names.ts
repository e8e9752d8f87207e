/**
 * What a replay is called everywhere: run, topics, groups, writers, database. Everything of it carries its id, so that it can
 * neither meet the live run nor another replay, and so that all of it can be found and removed.
 */

import type { TopicSpec } from '../../../lib/log/port.ts';
import { defaultTopics, type TopicRole, topicSpec } from '../../../lib/log/topics.ts';
import { usageError } from '../../../lib/service/errors.ts';
import type { TaskTopics } from '../task.ts';

/** The topics that a task writes. */
export const outputRoles = ['taBars', 'taSignals', 'taLate', 'taState', 'taStatus'] as const;
export const inputTopicRoles = ['trades', 'quotes', 'bars'] as const;

export interface ReplayNames {
  runId: string;
  groupId: string;
  sinkGroupId: string;
  clientId: string;
  /** Writer of partition p; `{p}` stands for its number. */
  owner: string;
  database: string;
  topics: Pick<TaskTopics, 'taBars' | 'taSignals' | 'taLate' | 'taState' | 'taStatus'>;
  /** Own input topics of a replay that fetches its input (M5), and their writer. */
  inputs: Pick<TaskTopics, 'trades' | 'quotes' | 'bars'>;
  inputOwner: string;
}

/** @throws `replay_id_invalid` (exit 2) */
export function replayNames(id: string): ReplayNames {
  // No underscore: a dash becomes one in the name of the database, and two ids must not meet there.
  if (!/^[A-Za-z0-9][A-Za-z0-9-]{0,47}$/.test(id)) {
    throw usageError({
      code: 'replay_id_invalid',
      what: `${JSON.stringify(id)} cannot name a replay`,
      why: 'it may hold up to 48 letters, digits and dashes',
      next: 'for example --replay-id 2013-10-08-INC7',
    });
  }
  const topic = (role: TopicRole) => defaultTopics[role].replace(/^torghut\./, `torghut.replay.${id}.`);
  return {
    runId: `replay-${id}`,
    groupId: `torghut-ta-replay-${id}`,
    sinkGroupId: `torghut-ta-sink-replay-${id}`,
    clientId: `ta-replay-${id}`,
    owner: `ta-replay-${id}-{p}`,
    database: `torghut_replay_${id.replaceAll('-', '_')}`,
    topics: {
      taBars: topic('taBars'),
      taSignals: topic('taSignals'),
      taLate: topic('taLate'),
      taState: topic('taState'),
      taStatus: topic('taStatus'),
    },
    inputs: { trades: topic('trades'), quotes: topic('quotes'), bars: topic('bars') },
    inputOwner: `ta-replay-${id}-input`,
  };
}

/** Output topics of a replay. */
export function outputSpecs(names: ReplayNames, partitions: number, clock: 'system' | 'virtual'): TopicSpec[] {
  return outputRoles.map((role) => ({
    ...topicSpec(role, { names: names.topics, partitions, clock }),
    owner: names.owner,
    // Kept until the replay is discarded, whatever its time.
    retentionMs: -1,
    cleanup: role === 'taState' || role === 'taStatus' ? 'compact' : 'delete',
  }));
}

/** Input topics of a replay that fetches its input. */
export function inputSpecs(names: ReplayNames, partitions: number, clock: 'system' | 'virtual'): TopicSpec[] {
  return inputTopicRoles.map((role) => ({
    ...topicSpec(role, { names: names.inputs, partitions, clock }),
    owner: names.inputOwner,
    retentionMs: -1,
  }));
}
