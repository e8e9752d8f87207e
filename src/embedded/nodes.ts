/**
 * Every node of the signal store, for what has to be asked of each replica (spec ta 5.3): the embedded engine alone, else the
 * configured replica addresses, else the hosts that `system.clusters` of the configured server names.
 * Guarantees: a node that does not answer stays in the list; a server without that cluster is one node.
 */
import { type ClickHouseClient, ClickHouseLogLevel, createClient } from '@clickhouse/client';
import { z } from 'zod';
import { loadConfig } from '../lib/service/config.ts';
import { type ConnectOptions, signalStoreSource } from './connect.ts';
import { storeVariables } from './variables.ts';

export interface StoreNode {
  /** Name of the replica: its host, `local` for the embedded engine. */
  replica: string;
  client: ClickHouseClient;
}

export interface StoreNodes {
  isEmbedded: boolean;
  database: string;
  nodes: readonly StoreNode[];
  close(): Promise<void>;
}

/** Machine ms that one question may take (spec ta 5.3). */
const questionMs = 10_000;

const hostSchema = z.array(z.object({ host: z.string().min(1) }));

/** @throws `service_unreachable` (exit 3) when the embedded engine does not start; a silent server is one node that is silent */
export async function openStoreNodes(options: ConnectOptions): Promise<StoreNodes> {
  const source = signalStoreSource(options);
  const { database } = source;
  if (source.isEmbedded) {
    try {
      const client = await source.client();
      return { isEmbedded: true, database, nodes: [{ replica: 'local', client }], close: () => source.close() };
    } catch (error) {
      await source.close();
      throw error;
    }
  }
  await source.close();
  const { values } = loadConfig(storeVariables, options.env ?? process.env);
  const { TA_CLICKHOUSE_URL: address, TA_CLICKHOUSE_REPLICA_URLS: given, TA_CLICKHOUSE_CLUSTER: cluster } = values;
  const connect = (url: string): StoreNode => ({
    replica: new URL(url).host,
    client: createClient({
      url,
      username: values.TA_CLICKHOUSE_USERNAME,
      password: values.TA_CLICKHOUSE_PASSWORD,
      database,
      request_timeout: Math.min(questionMs, values.TA_CLICKHOUSE_CONN_TIMEOUT_SECONDS * 1000),
      application: 'torghut',
      log: { level: ClickHouseLogLevel.OFF },
    }),
  });
  const first = connect(address?.url ?? '');
  const nodes = given.length > 0 ? given.map(connect) : await discover(first, address?.url ?? '', cluster, connect);
  const all = new Set([first, ...nodes]);
  return {
    isEmbedded: false,
    database,
    nodes,
    close: async () => void (await Promise.allSettled([...all].map(({ client }) => client.close()))),
  };
}

async function discover(
  first: StoreNode,
  url: string,
  cluster: string,
  connect: (url: string) => StoreNode,
): Promise<StoreNode[]> {
  try {
    const result = await first.client.query({
      query: 'SELECT DISTINCT host_name AS host FROM system.clusters WHERE cluster = {cluster:String} ORDER BY host',
      query_params: { cluster },
      format: 'JSONEachRow',
    });
    const hosts = hostSchema.parse(await result.json()).map(({ host }) => host);
    // One host, or none: the configured address is the node; a name like localhost says nothing about where it is.
    if (hosts.length < 2) return [first];
    return hosts.map((host) => {
      const at = new URL(url);
      at.hostname = host;
      return connect(at.origin);
    });
  } catch {
    // Asked again with every probe of this node, whose error then says what is wrong.
    return [first];
  }
}
