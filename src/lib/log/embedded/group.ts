/**
 * A member of a consumer group on the embedded log: the state lies in the group's environment, every member advances it.
 * Guarantees: callbacks run one at a time; a number is released only after `onRevoked` has returned; a member that was held for
 * dead (stopped longer than its session) gives everything up before it joins anew. Double work in between is what fencing of
 * the writers is for.
 */
import { hostname } from 'node:os';
import { isProcessAlive } from '../../service/home.ts';
import { machineNs, sleep } from '../../service/machine.ts';
import type { GroupMember, GroupOptions } from '../port.ts';
import type { Catalogue } from './catalogue.ts';
import type { Environment } from './environment.ts';
import { membersKey } from './layout.ts';
import { type Advanced, advance, encodeGroup, type Member, parseGroup } from './membership.ts';
import { put } from './stream.ts';
import { ownPidNamespace, ownStartTicks } from './writer-lock.ts';

const DEFAULT_SESSION_MS = 10_000;
/** Longest machine ms between two looks at the group; commits of other members wake it at once. */
const LOOK_EVERY_MS = 500;

function nowMs(): number {
  return Number(machineNs() / 1_000_000n);
}

/** A member whose process is gone is dead at once; in another container only its heartbeat tells. */
export function isMemberAlive(member: Member): boolean {
  return member.pid_namespace !== ownPidNamespace || isProcessAlive(member.pid, member.start_ticks);
}

export class EmbeddedGroupMember implements GroupMember {
  readonly memberId: string;
  readonly ended: Promise<unknown>;
  readonly #environment: Environment;
  readonly #catalogue: Catalogue;
  readonly #options: GroupOptions;
  readonly #sessionMs: number;
  readonly #stop = new AbortController();
  /** What the shared state says this member owns, and of it what the caller was told. */
  #owned: number[] = [];
  #assigned: number[] = [];
  #wake: (() => void) | undefined;

  constructor(environment: Environment, catalogue: Catalogue, options: GroupOptions) {
    this.#environment = environment;
    this.#catalogue = catalogue;
    this.#options = options;
    this.#sessionMs = options.sessionTimeoutMs ?? DEFAULT_SESSION_MS;
    this.memberId = `${hostname()}-${process.pid}-${machineNs().toString(36)}`;
    const onAbort = () => this.#stop.abort();
    if (options.signal?.aborted) onAbort();
    options.signal?.addEventListener('abort', onAbort, { once: true });
    this.ended = this.#run().finally(() => options.signal?.removeEventListener('abort', onAbort));
  }

  owned(): number[] {
    return [...this.#assigned];
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.ended;
  }

  /** Resolves with the reason of the end: undefined after close, else the error. */
  async #run(): Promise<unknown> {
    const forget = this.#environment.onChange(() => this.#wake?.());
    const heart = this.#beat();
    let reason: unknown;
    try {
      while (!this.#stop.signal.aborted) {
        const isIdle = await this.#settle();
        if (isIdle) await this.#wait();
      }
    } catch (error) {
      reason = error;
    }
    this.#stop.abort();
    await heart;
    try {
      await this.#giveUp(this.#assigned);
      await this.#write({ isLeaving: true });
    } catch (error) {
      // The others see that the heartbeat stops.
      reason ??= error;
    }
    forget();
    await this.#environment.release();
    return reason;
  }

  /** One step towards the target. @returns true when there is nothing to do now */
  async #settle(): Promise<boolean> {
    const partitions = this.#partitions();
    if (partitions === 0) return true;
    const looked = this.#look(partitions);
    const next = looked && !looked.isChanged ? looked : await this.#write({});
    if (next.isExpelled) {
      await this.#giveUp(this.#assigned);
      this.#owned = [];
      return false;
    }
    this.#owned = next.owned;
    const gained = next.owned.filter((p) => !this.#assigned.includes(p) && !next.revoke.includes(p));
    if (next.revoke.length > 0) {
      await this.#giveUp(next.revoke.filter((p) => this.#assigned.includes(p)));
      this.#owned = this.#owned.filter((p) => !next.revoke.includes(p));
      await this.#write({});
      return false;
    }
    if (gained.length === 0) return true;
    this.#assigned = [...this.#assigned, ...gained].sort((a, b) => a - b);
    await this.#options.onAssigned(gained);
    return false;
  }

  async #giveUp(partitions: readonly number[]): Promise<void> {
    if (partitions.length === 0) return;
    await this.#options.onRevoked([...partitions]);
    this.#assigned = this.#assigned.filter((p) => !partitions.includes(p));
  }

  #step(partitions: number, isLeaving: boolean) {
    return {
      me: {
        id: this.memberId,
        host: hostname(),
        pid: process.pid,
        start_ticks: ownStartTicks,
        pid_namespace: ownPidNamespace,
        session_timeout_ms: this.#sessionMs,
        owned: this.#owned,
      },
      partitions,
      nowMs: nowMs(),
      isAlive: isMemberAlive,
      isLeaving,
    };
  }

  #look(partitions: number): Advanced | undefined {
    return this.#environment.read((store) => advance(parseGroup(store.get(membersKey)), this.#step(partitions, false)));
  }

  #write(options: { isLeaving?: boolean }): Promise<Advanced> {
    return this.#environment.write((store) => {
      const step = this.#step(this.#partitions(), options.isLeaving ?? false);
      const next = advance(parseGroup(store.get(membersKey)), step);
      if (next.isChanged) put(store, membersKey, encodeGroup(next.state));
      return next;
    });
  }

  /** Keeps the heartbeat going while a callback takes its time. */
  async #beat(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await sleep(this.#sessionMs / 3, this.#stop.signal);
      if (this.#stop.signal.aborted) return;
      try {
        await this.#environment.write((store) => {
          const state = parseGroup(store.get(membersKey));
          const mine = state.members.find((member) => member.id === this.memberId);
          if (!mine) return;
          mine.heartbeat_ms = nowMs();
          put(store, membersKey, encodeGroup(state));
        });
      } catch {
        // The next beat tries again; until then the others may hold this member for dead, which settle() notices.
      }
    }
  }

  #partitions(): number {
    return Math.max(0, ...this.#options.topics.map((name) => this.#catalogue.find(name)?.partitions ?? 0));
  }

  #wait(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#stop.signal.removeEventListener('abort', done);
        this.#wake = undefined;
        resolve();
      };
      const timer = setTimeout(done, Math.min(LOOK_EVERY_MS, this.#sessionMs / 4));
      this.#stop.signal.addEventListener('abort', done, { once: true });
      this.#wake = done;
    });
  }
}
