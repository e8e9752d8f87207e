/**
 * Logs go to stderr as one JSON object per line (or short text on a terminal), results to stdout.
 * Guarantees: known secret fields are masked by pino's redaction, and every registered secret value is masked wherever it
 * stands in a line.
 */
import pino, { type Logger } from 'pino';

export type { Logger };

const secrets = new Set<string>();

/** Registers a secret value: it never appears in a log line or a bundle of this process. Shorter than 4 is ignored. */
export function registerSecret(value: string | undefined): void {
  if (value && value.length >= 4) secrets.add(value);
}

/** Replaces every registered secret in a text. */
export function maskSecrets(text: string): string {
  let masked = text;
  for (const secret of secrets) masked = masked.replaceAll(secret, '[masked]');
  return masked;
}

/**
 * @param component name of the daemon or command, on every line
 * @param level pino level; default LOG_LEVEL or info
 */
export function createLogger(component: string, level = process.env.LOG_LEVEL?.toLowerCase() ?? 'info'): Logger {
  const isTerminal = process.stderr.isTTY === true;
  const write = (line: string) => void process.stderr.write(maskSecrets(isTerminal ? textLine(line) : line));
  return pino(
    {
      level,
      base: { component, pid: process.pid },
      redact: {
        paths: ['password', 'secret', 'key', 'authorization', '*.password', '*.secret', '*.authorization'],
        censor: '[masked]',
      },
      formatters: { level: (label) => ({ level: label }) },
    },
    { write },
  );
}

/** A JSON log line as short text: level where it is not info, component, message, then the rest as key=value. */
function textLine(line: string): string {
  const { level, time: _time, component, pid: _pid, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const pairs = Object.entries(rest).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const words = [level === 'info' ? '' : String(level), `${component}:`, msg ?? '', ...pairs];
  return `${words.filter((word) => word !== '').join(' ')}\n`;
}
