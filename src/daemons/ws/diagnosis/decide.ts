/**
 * The decision table of the runbook (spec ingest 6.2) as one function: facts in, evidence and one named case out. Pure.
 * Guarantees: the steps are taken in the order of the table and each leaves its evidence; what could not be looked at is said;
 * at most one case is named.
 */
import type { CredentialReport } from '../../../lib/alpaca/credential-test.ts';
import type { PodFacts } from '../../../lib/cluster/ws-deployment.ts';
import { ZOMBIE_MS } from '../stream-health.ts';
import { type CaseId, cases } from './cases.ts';
import { credentialEvidence, judgeCredentials } from './credential-step.ts';
import { type DiagnosisFacts, type LastError, lastErrorOf } from './facts.ts';

export interface Evidence extends Record<string, unknown> {
  /** Step of the table. */
  step: number;
  looked_at: string;
  found: string;
  verdict: 'ok' | 'problem' | 'unknown';
}

export interface Decision {
  case: CaseId | null;
  /** `likely`: by elimination, or without a test that would prove it. */
  certainty: 'certain' | 'likely';
  /** One line that says what is wrong, or that nothing is. */
  finding: string;
  exitCode: number;
  evidence: Evidence[];
}

/** Restarts within this time count (spec ingest 6.1 S1). */
const RESTART_MS = 600_000;
/** A loop that stands so long (machine ms) misses pings and deadlines. */
const BLOCKED_LOOP_MS = 5_000;
const UNDETERMINED = 20;

const secondsOf = (ms: number) => `${Math.round(ms / 1_000)} s`;

export function decide(facts: DiagnosisFacts): Decision {
  const { ws, cluster } = facts;
  const evidence: Evidence[] = [];
  const note = (step: number, looked_at: string, found: string, verdict: Evidence['verdict']) =>
    void evidence.push({ step, looked_at, found, verdict });
  const name = (
    id: CaseId | null,
    exitCode: number,
    finding: string,
    certainty: Decision['certainty'] = 'certain',
  ): Decision => {
    if (id !== null && !cases[id].exitCodes.includes(exitCode))
      throw new Error(`case ${id} has no exit code ${exitCode}`);
    return { case: id, certainty, finding, exitCode, evidence };
  };

  const error = lastErrorOf(facts);
  const notice = ws?.status.connection.notice ?? null;
  const missing = Object.entries(
    ws?.readiness.alpaca_market_data_ws.missing_subscription_symbols_by_channel ?? {},
  ).filter(([, symbols]) => symbols.length > 0);

  // Step 1
  if (ws === undefined) note(1, 'readiness', `ws does not answer: ${facts.wsSilence ?? 'unknown'}`, 'problem');
  else {
    const closed = Object.entries(ws.readiness.gates).filter(([, isOpen]) => !isOpen);
    const gates = closed.length === 0 ? 'all gates open' : `closed: ${closed.map(([gate]) => gate).join(', ')}`;
    const errorClass = ws.readiness.error_class === null ? '' : `; ${ws.readiness.error_class}`;
    note(1, 'readiness', `healthz ${ws.healthz}, ${gates}${errorClass}`, closed.length === 0 ? 'ok' : 'problem');
  }
  if (ws?.readiness.error_class === 'symbols_empty') {
    return name(null, 17, 'no symbol is wanted: check SYMBOLS, SYMBOLS_ALLOWLIST and SYMBOLS_URL');
  }

  const isStreamDown = ws === undefined || ws.readiness.gates.alpaca_ws === false;
  if (!isStreamDown && (notice !== null || missing.length > 0)) {
    note(
      2,
      'refusal',
      notice === null ? 'not everything was granted' : `${notice.errorClass}, code ${notice.code ?? 'none'}`,
      'problem',
    );
    return limits(notice?.code ?? undefined);
  }
  if (!isStreamDown) return otherGates();

  // Step 2
  if (error === undefined) note(2, 'last error', 'none is known', 'unknown');
  else noteError(error);
  return byError(error);

  function noteError({ errorClass, code, from }: LastError): void {
    const attempt = ws?.readiness.alpaca_market_data_ws.attempt;
    const tries = attempt === undefined || from !== 'market stream' ? '' : `, attempt ${attempt}`;
    note(2, `last error (${from})`, `${errorClass}${code === undefined ? '' : `, code ${code}`}${tries}`, 'problem');
  }

  function byError(found: LastError | undefined): Decision {
    switch (found?.errorClass) {
      case 'alpaca_406_second_connection':
        return holders();
      case 'alpaca_auth':
        return credentials();
      case 'alpaca_symbol_limit':
      case 'alpaca_entitlement':
        return limits(found.code);
      case 'kafka_auth':
      case 'kafka_metadata':
      case 'kafka_produce':
        return log(found.errorClass);
      case 'alpaca_protocol':
        return found.code === 410 ? limits(found.code) : platform();
      default:
        return platform();
    }
  }

  /** Steps 3 to 5: who holds the slot? */
  function holders(): Decision {
    if (cluster === undefined) note(3, 'pods', 'no cluster was asked (--cluster)', 'unknown');
    else {
      const going = cluster.pods.filter(({ is_terminating }) => is_terminating);
      const isExtra = cluster.pods.length > 1 || cluster.replicas > 1 || going.length > 0;
      const list = cluster.pods
        .map((pod) => `${pod.name} ${pod.is_terminating ? 'Terminating' : pod.phase}`)
        .join(', ');
      const rollout = cluster.rollout ? ', a roll-out is under way' : '';
      note(3, 'pods', `${cluster.replicas} wanted, ${list || 'none'}${rollout}`, isExtra ? 'problem' : 'ok');
      if (isExtra) return name('A', 10, `more than one pod of ${cluster.deployment} wants the one connection`);
    }
    const shard = ws?.status.identity.shard;
    if (shard && shard.count > ws.status.identity.connection_limit) {
      note(
        4,
        'shards',
        `SHARD_COUNT ${shard.count}, the plan allows ${ws.status.identity.connection_limit}`,
        'problem',
      );
      return name('B', 10, 'the shards hold the connection from each other');
    }
    for (const { home, pid } of facts.localHolders) {
      note(
        4,
        'other forwarders of this machine',
        `pid ${pid} with the same key on the same address, home ${home}`,
        'problem',
      );
    }
    const others = cluster?.holders?.filter(({ is_active, opens_market_data }) => is_active && opens_market_data) ?? [];
    for (const { kind, namespace, name: called, by } of others) {
      const how = by === 'secret' ? 'mounts the secret of the key' : 'carries the key in its environment';
      note(4, 'other holders of the key', `${kind} ${namespace}/${called} ${how}`, 'problem');
    }
    if (others.length > 0 || facts.localHolders.length > 0) {
      const first = others[0];
      const who = first ? `${first.kind} ${first.namespace}/${first.name}` : `process ${facts.localHolders[0]?.pid}`;
      return name('B', 10, `${who} can hold the connection with the same key`);
    }
    if (cluster !== undefined) {
      if (cluster.holders === undefined) note(4, 'other holders of the key', cluster.unread.join('; '), 'unknown');
      else note(4, 'other holders of the key', 'none that opens market data', 'ok');
    } else note(4, 'other holders of the key', 'none on this machine', 'ok');

    const sockets = ws?.status.connection.active_sockets ?? 0;
    const unclean = ws?.status.connection.last_unclean_age_ms ?? null;
    const isZombie = unclean !== null && unclean < ZOMBIE_MS;
    const killed = cluster?.pods.find((pod) => isRecentExit(pod, ZOMBIE_MS));
    if (ws === undefined) note(5, 'own sockets', 'ws does not answer', 'unknown');
    else note(5, 'own sockets', `${sockets} open to the market stream`, sockets > 1 ? 'problem' : 'ok');
    const ending =
      unclean === null ? 'none without a close handshake' : `${secondsOf(unclean)} ago without a close handshake`;
    note(
      5,
      'last unclean end',
      killed ? `pod ${killed.name} ended by ${killed.last_exit_reason}` : ending,
      isZombie || killed ? 'problem' : 'ok',
    );
    if (sockets > 1) return name('C', 10, `this ws holds ${sockets} sockets to one endpoint`);
    if (isZombie || killed) return name('C', 10, 'the provider still holds the slot of a connection that was cut off');
    const unseen = cluster === undefined ? 'outside this machine' : 'outside this cluster';
    return name(
      'B',
      10,
      `nothing here holds the slot: the holder is ${unseen} (a notebook, another deployment)`,
      'likely',
    );
  }

  function isRecentExit(pod: PodFacts, withinMs: number): boolean {
    if (pod.last_exit_at === null) return false;
    const age = facts.nowMs - Date.parse(pod.last_exit_at);
    // A pod that completed has said good-bye.
    return age < withinMs && pod.last_exit_reason !== 'Completed';
  }

  /** Step 6: are the keys good, and for what? */
  function credentials(): Decision {
    const secret = cluster?.secrets.find(({ exists }) => !exists);
    if (secret && ws === undefined) {
      note(6, 'secrets', `${secret.name} does not exist`, 'problem');
    }
    const report = facts.credentials;
    if (report === undefined) {
      note(6, 'test of the keys', 'not made: ws does not answer', 'unknown');
      return name('D', 11, 'the provider refuses the keys; ws could not test them further', 'likely');
    }
    noteReport(report);
    const judged = judgeCredentials(report);
    return name(judged.case, judged.case === 'D' || judged.case === 'E' ? 11 : 18, judged.finding, judged.certainty);
  }

  function noteReport(report: CredentialReport): void {
    for (const { what, found, verdict } of credentialEvidence(report)) note(6, what, found, verdict);
  }

  /** Step 7: what the plan grants. */
  function limits(code: number | undefined): Decision {
    const identity = ws?.status.identity;
    const counted = identity?.channels.filter((channel) => channel === 'trades' || channel === 'quotes').length ?? 0;
    const pairs = (ws?.status.symbols.length ?? 0) * counted;
    const limit = identity?.pair_limit ?? null;
    const plan =
      limit === null ? 'no limit is configured (ALPACA_SYMBOL_LIMIT)' : `${limit} are configured as the plan's`;
    note(7, 'symbols over trades and quotes', `${pairs} wanted, ${plan}`, code === 405 ? 'problem' : 'ok');
    for (const [channel, symbols] of missing) {
      note(
        7,
        `not granted on ${channel}`,
        symbols.slice(0, 12).join(',') + (symbols.length > 12 ? ', …' : ''),
        'problem',
      );
    }
    note(
      7,
      'feed',
      `${ws?.status.feed ?? 'unknown'} at ${identity?.market_url ?? 'unknown'}`,
      code === 409 || code === 408 ? 'problem' : 'ok',
    );
    if (code === 405) return name('F', 12, 'the plan grants fewer symbols than are wanted');
    if (code === 410) return name('F', 12, 'the feed does not offer a channel that is asked for');
    if (code === undefined) return name('F', 12, 'the provider grants less than is wanted', 'likely');
    return name('F', 12, 'the account is not entitled to this feed');
  }

  /** Step 8: the market stream is up; which other gate is closed? */
  function otherGates(): Decision {
    const { gates, error_class, kafka } = (ws as NonNullable<typeof ws>).readiness;
    const { queued, spooled, spooled_bytes, gaps } = (ws as NonNullable<typeof ws>).status;
    if (gates.kafka === false) {
      note(
        8,
        'log',
        `${error_class ?? 'unknown'}, ${kafka.failures} failures in a row, ${queued} queued, ${spooled} spooled (${spooled_bytes} bytes)`,
        'problem',
      );
      return log(error_class ?? 'unknown');
    }
    if (gates.market_data_channels === false) {
      if (gaps.open > 0) {
        note(8, 'gaps', `${gaps.open} partitions wait for their repair`, 'problem');
        return name(null, UNDETERMINED, 'a gap is being repaired; live data wait for it a minute at most');
      }
      for (const channel of (ws as NonNullable<typeof ws>).readiness.market_data_channels) {
        if (channel.ready || !channel.required) continue;
        const silent = channel.stale_symbols.length + channel.missing_symbols.length;
        const halted = channel.halted_symbols.length === 0 ? '' : `, ${channel.halted_symbols.length} halted`;
        const lag = channel.lag_ms === null ? '' : `, newest ${secondsOf(channel.lag_ms)} ago`;
        const reason = channel.reason.replace('market_data_channel_', '');
        note(
          8,
          `channel ${channel.channel}`,
          `${reason}: ${silent} of ${channel.subscribed_symbol_count} silent${halted}${lag}, session ${channel.market_session_state}`,
          'problem',
        );
      }
      return name('I', 16, 'the session runs and channels are silent');
    }
    if (gates.trade_updates === false) {
      if (error) noteError(error);
      note(8, 'order stream', `${ws?.readiness.trade_updates?.state ?? 'unknown'}`, 'problem');
      if (error?.errorClass === 'alpaca_auth') return credentials();
      return platform();
    }
    return platform();
  }

  /** Step 8, `kafka`: who is to blame? */
  function log(errorClass: string): Decision {
    if (errorClass === 'kafka_auth') {
      for (const { name: called, exists } of cluster?.secrets ?? []) {
        note(8, 'secret', `${called} ${exists ? 'exists' : 'does not exist'}`, exists ? 'ok' : 'problem');
      }
      return name('G', 13, 'Kafka refuses user, password or rights');
    }
    if (errorClass === 'kafka_metadata') return name('H', 14, 'no broker answers, or a topic is missing');
    return name(
      'H',
      15,
      errorClass === 'backpressure' ? 'the log takes nothing, without an error' : 'the log refuses records',
    );
  }

  /** Step 9: process, node, network. */
  function platform(): Decision {
    for (const pod of cluster?.pods ?? []) {
      const isBad = isRecentExit(pod, RESTART_MS) || pod.waiting_reason === 'CrashLoopBackOff';
      const last = pod.last_exit_reason === null ? '' : `, last end ${pod.last_exit_reason} at ${pod.last_exit_at}`;
      const waits = pod.waiting_reason === null ? '' : `, ${pod.waiting_reason}`;
      note(9, `pod ${pod.name}`, `${pod.phase}, ${pod.restarts} restarts${last}${waits}`, isBad ? 'problem' : 'ok');
    }
    const failing = cluster?.pods.find(
      (pod) => isRecentExit(pod, RESTART_MS) || pod.waiting_reason === 'CrashLoopBackOff',
    );
    if (failing) {
      const limits = Object.entries(cluster?.limits ?? {}).map(([what, amount]) => `${what} ${amount}`);
      note(9, 'limits of the container', limits.join(', ') || 'none', limits.length > 0 ? 'ok' : 'problem');
      const reason = failing.last_exit_reason ?? failing.waiting_reason;
      return name('J', 18, reason === 'OOMKilled' ? 'ws runs out of memory' : `ws ends again and again (${reason})`);
    }
    if (facts.hasDied) {
      note(9, 'process of this home', 'gone without a graceful stop', 'problem');
      return name('J', 18, 'ws was killed, or ran out of memory');
    }
    const lag = ws?.status.loop_lag_ms;
    if (lag !== undefined) note(9, 'event loop', `at most ${lag} ms late`, lag > BLOCKED_LOOP_MS ? 'problem' : 'ok');
    if (lag !== undefined && lag > BLOCKED_LOOP_MS) return name('J', 18, 'the event loop of ws stands still');
    const report = facts.credentials;
    if (report && isStreamDown) {
      noteReport(report);
      if (judgeCredentials(report).case === 'J') {
        return name('J', 18, 'the provider cannot be reached: name resolution or egress');
      }
    }
    const isWell = ws?.readiness.ready === true && ws.healthz === 200;
    if (isWell) return name(null, 0, 'nothing is wrong');
    const why = ws?.readiness.error_class ?? facts.wsSilence ?? 'unknown';
    return name(null, UNDETERMINED, `no case of the runbook fits (${why})`);
  }
}
