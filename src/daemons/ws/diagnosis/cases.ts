/**
 * The cases of the runbook for 406, 401/402 and a readiness that stays at 503 (spec ingest 6.2): name, fix, verification, exit
 * code. The page runbooks/ws-connection-limit-and-auth.md has the same list; a test holds the two together.
 */
export const caseIds = ['A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J'] as const;
export type CaseId = (typeof caseIds)[number];

export interface CaseText {
  title: string;
  /** Exit codes under which the command names it (spec ingest 6.1). */
  exitCodes: readonly number[];
  /** What to do, in order. */
  fix: readonly string[];
  /** What shows that it worked. */
  verify: string;
}

const steady =
  'torghut ws status --wait: all checks ok for five minutes, gap since the outage listed by torghut ws gaps';

export const cases: Readonly<Record<CaseId, CaseText>> = {
  A: {
    title: 'extra replica',
    exitCodes: [10],
    fix: ['set replicas back to 1 in Git and sync', 'wait until the other pods are gone, then 60 s'],
    verify: steady,
  },
  B: {
    title: 'foreign holder of the connection slot',
    exitCodes: [10],
    fix: ['stop that holder, or give it its own key', 'never fight for the slot'],
    verify: 'torghut_ws_ws_connect_success_total grows by one',
  },
  C: {
    title: 'leaked socket or zombie slot',
    exitCodes: [10],
    fix: [
      'wait 60 to 120 s with the back-off running',
      'if it is still refused: one controlled restart (to 0, until no pod is left, 60 s, to 1)',
    ],
    verify: steady,
  },
  D: {
    title: 'bad credentials',
    exitCodes: [11],
    fix: ['rotate the keys through the sealed secret and sync', 'restart ws and torghut trade: they share the key'],
    verify: 'auth ok, and no 402 for ten minutes',
  },
  E: {
    title: 'wrong environment or feed',
    exitCodes: [11],
    fix: ['correct address or feed: paper keys belong to the paper address, the feed has to be in the plan'],
    verify: 'auth ok, and no 402 for ten minutes',
  },
  F: {
    title: 'limits of the plan',
    exitCodes: [12],
    fix: ['narrow the symbols (SYMBOLS, at most 12), or leave quotes out for the tail', 'do not restart'],
    verify: 'no further 405; nothing missing in torghut ws status',
  },
  G: {
    title: 'Kafka refuses',
    exitCodes: [13],
    fix: [
      'check that the secret of Kafka exists and is newer than the last rotation of its user, then ACLs and bootstrap',
      'correct that, then restart once',
    ],
    verify: 'torghut_ws_kafka_produce_success_total grows',
  },
  H: {
    title: 'Kafka is down or lacks a topic',
    exitCodes: [14, 15],
    fix: ['mend brokers or topics (torghut ws topics)', 'do not restart ws while its queue or spool holds data'],
    verify: 'the backlog drains and the gaps are repaired (torghut ws status, torghut ws gaps)',
  },
  I: {
    title: 'silence in the session',
    exitCodes: [16],
    fix: [
      'check halts, holiday or half day, and the lag of each symbol',
      'ws asks REST by itself whether the silence is true, and reconnects when it is not',
      'restart only if all symbols are silent for over five minutes and other sources show trading',
    ],
    verify: 'the channels are fresh (torghut ws status)',
  },
  J: {
    title: 'out of memory, restart loop, or no way out',
    exitCodes: [18],
    fix: [
      'compare limits and Kafka settings of the deployment with Git and restore what drifted',
      'narrow the symbols; capture a heap profile',
      'check name resolution and egress to the provider',
    ],
    verify: 'no restart for ten minutes',
  },
};
