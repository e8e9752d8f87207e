// The parts of kafkajs that its public surface lacks: reading named partitions without a group, with aborted transactions
// left out, and the requests of a group member. Only lib/log/kafka uses them; the version is pinned in package.json.
declare module 'kafkajs/src/cluster/index.js' {
  import type { Broker } from 'kafkajs/src/broker/index.js';
  export default class Cluster {
    constructor(options: Record<string, unknown>);
    connect(): Promise<void>;
    disconnect(): Promise<void>;
    isConnected(): boolean;
    removeBroker(address: { host: string; port: number }): void;
    refreshMetadata(): Promise<void>;
    refreshMetadataIfNecessary(): Promise<void>;
    addMultipleTargetTopics(topics: string[]): Promise<void>;
    findLeaderForPartitions(topic: string, partitions: number[]): Record<string, number[]>;
    findTopicPartitionMetadata(topic: string): { partitionId: number; leader: number }[];
    findBroker(options: { nodeId: string }): Promise<Broker>;
    findGroupCoordinator(options: { groupId: string }): Promise<Broker>;
    fetchTopicsOffset(
      topics: {
        topic: string;
        partitions: { partition: number }[];
        fromBeginning?: boolean;
        fromTimestamp?: number;
      }[],
    ): Promise<{ topic: string; partitions: { partition: number; offset: string }[] }[]>;
  }
}

declare module 'kafkajs/src/broker/index.js' {
  export interface FetchedMessage {
    offset: string;
    timestamp: string;
    key: Buffer | null;
    value: Buffer | null;
    headers: Record<string, Buffer | undefined>;
    isControlRecord: boolean;
    /** The record batch that holds the message. */
    batchContext: { firstOffset: string; lastOffsetDelta: number; producerId: string; inTransaction: boolean };
  }
  export interface FetchedPartition {
    partition: number;
    errorCode: number;
    highWatermark: string;
    lastStableOffset?: string;
    abortedTransactions?: { producerId: string; firstOffset: string }[] | null;
    messages: FetchedMessage[];
  }
  export interface JoinedGroup {
    generationId: number;
    leaderId: string;
    memberId: string;
    /** Empty for everybody but the leader. */
    members: { memberId: string; memberMetadata: Buffer }[];
  }
  interface GroupAt {
    groupId: string;
    groupGenerationId: number;
    memberId: string;
  }
  export interface Broker {
    fetch(options: {
      maxWaitTime: number;
      minBytes: number;
      maxBytes: number;
      isolationLevel: number;
      topics: { topic: string; partitions: { partition: number; fetchOffset: string; maxBytes: number }[] }[];
    }): Promise<{ responses: { topicName: string; partitions: FetchedPartition[] }[] }>;
    listOffsets(options: {
      isolationLevel: number;
      topics: { topic: string; partitions: { partition: number; timestamp: number }[] }[];
    }): Promise<{ responses: { topic: string; partitions: { partition: number; offset: string }[] }[] }>;
    joinGroup(options: {
      groupId: string;
      sessionTimeout: number;
      rebalanceTimeout: number;
      memberId: string;
      groupProtocols: { name: string; metadata: Buffer }[];
    }): Promise<JoinedGroup>;
    syncGroup(options: {
      groupId: string;
      generationId: number;
      memberId: string;
      groupAssignment: { memberId: string; memberAssignment: Buffer }[];
    }): Promise<{ memberAssignment: Buffer }>;
    heartbeat(options: GroupAt): Promise<unknown>;
    leaveGroup(options: { groupId: string; memberId: string }): Promise<unknown>;
    offsetCommit(
      options: GroupAt & { topics: { topic: string; partitions: { partition: number; offset: string }[] }[] },
    ): Promise<unknown>;
  }
}

declare module 'kafkajs/src/loggers/index.js' {
  const loggers: {
    createLogger(options: { level: number; logCreator: unknown }): unknown;
    LEVELS: Record<string, number>;
  };
  export default loggers;
}

declare module 'kafkajs/src/network/socketFactory.js' {
  const socketFactory: () => unknown;
  export default socketFactory;
}

declare module 'kafkajs/src/network/connection.js' {
  export default class Connection {
    readonly broker: string;
    /** Machine ms. */
    readonly connectionTimeout: number;
    /** Machine ms. */
    readonly requestTimeout: number;
    connect(): Promise<boolean>;
    sendAuthRequest(request: unknown): Promise<unknown>;
  }
}

declare module 'kafkajs/src/network/requestQueue/index.js' {
  export default class RequestQueue {
    throttledUntil: number;
    scheduleCheckPendingRequests(): void;
    push(request: { entry: { apiName: string } }): void;
  }
}

declare module 'kafkajs/src/protocol/encoder.js' {
  export default class Encoder {
    readonly buffer: Buffer;
    writeString(value: string | null): this;
    writeInt16(value: number): this;
    writeInt32(value: number): this;
    writeBytes(value: Buffer): this;
  }
}

declare module 'kafkajs/src/protocol/recordBatch/crc32C/index.js' {
  export default function crc32C(bytes: Buffer): number;
}

declare module 'kafkajs/src/protocol/requests/index.js' {
  import type Encoder from 'kafkajs/src/protocol/encoder.js';
  export interface ProduceMessage {
    key?: string | Buffer | null;
    value: string | Buffer | null;
    timestamp?: string | number | null;
    /** Our own name for it, which only our encoder reads. */
    timestampMs?: number;
    headers?: Record<string, string | Buffer | (string | Buffer)[]>;
  }
  export interface ProduceArguments {
    acks: number;
    timeout: number;
    transactionalId?: string | null;
    producerId?: unknown;
    producerEpoch?: number;
    compression?: number;
    topicData: {
      topic: string;
      partitions: { partition: number; firstSequence?: number; messages: readonly ProduceMessage[] }[];
    }[];
  }
  export interface ProduceProtocol {
    versions: string[];
    protocol(options: { version: number }): (given: ProduceArguments) => {
      request: { encode(): Promise<Encoder> };
      response: unknown;
    };
  }
  const exported: { requests: { Produce: ProduceProtocol } };
  export default exported;
}
