/**
 * Opens the event log that the environment asks for: Kafka when KAFKA_BOOTSTRAP is set, else the embedded one of this home.
 */
import type { Clock } from '../service/clock.ts';
import { loadConfig } from '../service/config.ts';
import { openEmbeddedLog } from './embedded/event-log.ts';
import type { EventLog } from './port.ts';
import { kafkaSettings, logVariables } from './variables.ts';

export interface OpenLogOptions {
  /** The run home (service/home.ts); the embedded log lives in its `log` folder. */
  home: string;
  env: NodeJS.ProcessEnv;
  /** Market time: retention and the age of offsets. */
  clock: Clock;
  /** Ends the waits of all readers of this log. */
  signal?: AbortSignal;
}

/** @throws `config_invalid` (exit 2) and what the adapter reports */
export async function openEventLog(options: OpenLogOptions): Promise<EventLog> {
  const { home, env, clock, signal } = options;
  if ((env.KAFKA_BOOTSTRAP ?? '').trim() === '') return openEmbeddedLog({ home, clock, signal });
  const settings = kafkaSettings(loadConfig(logVariables, env).values);
  const { connectKafkaLog } = await import('./kafka/event-log.ts');
  return connectKafkaLog(settings, clock);
}
