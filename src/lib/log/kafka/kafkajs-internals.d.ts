// The parts of kafkajs that its public surface lacks: reading named partitions without a group, with aborted transactions
// left out. Only lib/log/kafka uses them; the version is pinned in package.json.
declare module 'kafkajs/src/cluster/index.js' {
  import type { Broker } from 'kafkajs/src/broker/index.js';
  export default class Cluster {
    constructor(options: Record<string, unknown>);
    connect(): Promise<void>;
    disconnect(): Promise<void>;
    refreshMetadata(): Promise<void>;
    refreshMetadataIfNecessary(): Promise<void>;
    addMultipleTargetTopics(topics: string[]): Promise<void>;
    findLeaderForPartitions(topic: string, partitions: number[]): Record<string, number[]>;
    findTopicPartitionMetadata(topic: string): { partitionId: number; leader: number }[];
    findBroker(options: { nodeId: string }): Promise<Broker>;
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
  export interface FetchedPartition {
    partition: number;
    errorCode: number;
    highWatermark: string;
    lastStableOffset?: string;
    messages: unknown[];
  }
  export interface Broker {
    fetch(options: {
      maxWaitTime: number;
      minBytes: number;
      maxBytes: number;
      isolationLevel: number;
      topics: { topic: string; partitions: { partition: number; fetchOffset: string; maxBytes: number }[] }[];
    }): Promise<{ responses: { topicName: string; partitions: FetchedPartition[] }[] }>;
  }
}

declare module 'kafkajs/src/consumer/batch.js' {
  import type { FetchedPartition } from 'kafkajs/src/broker/index.js';
  export default class Batch {
    constructor(topic: string, fetchedOffset: string, partitionData: FetchedPartition);
    readonly partition: number;
    readonly messages: {
      offset: string;
      timestamp: string;
      key: Buffer | null;
      value: Buffer | null;
      headers: Record<string, Buffer | undefined>;
    }[];
    readonly rawMessages: unknown[];
    lastOffset(): string;
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

declare module 'kafkajs/src/network/requestQueue/index.js' {
  export default class RequestQueue {
    throttledUntil: number;
    scheduleCheckPendingRequests(): void;
  }
}
