/** Starts and drives the child processes of the contract suite. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Operations } from './peer.ts';
import type { AdapterArgument, Answer, GroupEvent } from './protocol.ts';

const peerPath = fileURLToPath(new URL('./peer.ts', import.meta.url));

/** What a child threw: the code of the TorghutError and its message. */
export class PeerError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export class Peer {
  readonly events: GroupEvent[] = [];
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  readonly #listeners = new Set<() => void>();
  readonly #exited: Promise<unknown>;
  #stderr = '';
  #next = 1;

  constructor(adapter: AdapterArgument) {
    this.#child = fork(peerPath, [JSON.stringify(adapter)], {
      execArgv: [],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    this.#child.stderr?.on('data', (data: Buffer) => {
      this.#stderr += data.toString();
    });
    this.#child.on('message', (message: Answer | GroupEvent) => this.#receive(message));
    this.#exited = once(this.#child, 'exit').then(() => {
      for (const { reject } of this.#waiting.values()) reject(new PeerError('gone', `child ended: ${this.#stderr}`));
      this.#waiting.clear();
      for (const listener of this.#listeners) listener();
    });
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  call<K extends keyof Operations>(operation: K, ...values: Parameters<Operations[K]>): ReturnType<Operations[K]> {
    const id = this.#next++;
    const answer = new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, operation, values }, (error) => {
        if (error) reject(error);
      });
    });
    return answer as ReturnType<Operations[K]>;
  }

  /** Starts something that never answers (it is killed); its failure is the test's only when nobody killed it. */
  begin<K extends keyof Operations>(operation: K, ...values: Parameters<Operations[K]>): void {
    (this.call(operation, ...values) as Promise<unknown>).catch(() => undefined);
  }

  /** Waits until the events so far satisfy the condition. */
  async until(condition: (events: GroupEvent[]) => boolean, ms = 20_000): Promise<void> {
    if (condition(this.events)) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => done(new Error(`not within ${ms} ms: ${condition}; ${this.#stderr}`)), ms);
      const check = () => {
        if (condition(this.events)) done();
      };
      const done = (error?: Error) => {
        clearTimeout(timer);
        this.#listeners.delete(check);
        if (error) reject(error);
        else resolve();
      };
      this.#listeners.add(check);
    });
  }

  signal(name: NodeJS.Signals): void {
    process.kill(this.pid, name);
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** Ends the child in order. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const limit = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    try {
      await this.call('close');
    } catch {
      // It ended by itself.
    }
    if (this.#child.connected) this.#child.disconnect();
    await this.#exited;
    clearTimeout(limit);
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  #receive(message: Answer | GroupEvent): void {
    if (message.kind === 'answer' || message.kind === 'failure') {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.kind === 'answer') waiting?.resolve(message.value);
      else waiting?.reject(new PeerError(message.code, message.message));
      return;
    }
    this.events.push(message);
    for (const listener of this.#listeners) listener();
  }
}

/** Starts children that all end with the test. */
export function peerPool(adapter: () => AdapterArgument) {
  const peers: Peer[] = [];
  return {
    start: async (): Promise<Peer> => {
      const peer = new Peer(adapter());
      peers.push(peer);
      await peer.call('ready');
      return peer;
    },
    endAll: async (): Promise<void> => {
      await Promise.all(
        peers.splice(0).map((peer) => {
          if (peer.hasEnded) return undefined;
          peer.signal('SIGCONT');
          return peer.stop();
        }),
      );
    },
  };
}
