/** What the contract suite and its child processes say to each other (structured clone: bigints and buffers travel as they are). */

/** Everything a child needs to open the same log: the embedded one by its home, Kafka by KAFKA_* in `env`. */
export interface AdapterArgument {
  home: string;
  env: Record<string, string>;
  /** TORGHUT_CLOCK of the process; unset is the wall clock. */
  clock?: string;
}

export interface Request {
  id: number;
  operation: string;
  values: unknown[];
}

export type Answer =
  | { kind: 'answer'; id: number; value: unknown }
  | { kind: 'failure'; id: number; code: string; message: string };

export type GroupEvent =
  | { kind: 'assigned' | 'revoked'; partitions: number[]; atNs: bigint }
  | { kind: 'acknowledged'; n: number }
  | { kind: 'reading' };
