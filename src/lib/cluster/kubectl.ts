/**
 * Kubernetes by the operator's own `kubectl`: its context, its credentials, its audit trail; no client library, no second
 * configuration. Guarantees: every call has a time limit (machine ms); answers are parsed by a schema; our own secrets are not
 * in the child's environment; a failure says which of missing program, unreachable cluster, missing right or missing object it
 * is. Nothing here changes the cluster but `patch`.
 */
import { execa } from 'execa';
import { z } from 'zod';
import { TorghutError, unreachableError } from '../service/errors.ts';
import { maskSecrets } from '../service/logging.ts';

export interface KubectlOptions {
  namespace: string;
  /** Context of the kubeconfig; undefined takes the current one. */
  context?: string | undefined;
  env?: NodeJS.ProcessEnv | undefined;
  /** Program to run; KUBECTL, else `kubectl` of the PATH. */
  program?: string | undefined;
  /** Machine ms for one call. */
  timeoutMs?: number;
}

export interface Kubectl {
  readonly namespace: string;
  /** As a person would type it, for plans and proposals. */
  line(args: readonly string[]): string;
  /** The JSON of a `get`. @throws `cluster_unreachable`, `cluster_forbidden`, `cluster_object_missing`, `cluster_answer_unreadable`, `kubectl_missing` */
  get<T>(args: readonly string[], schema: z.ZodType<T>): Promise<T>;
  text(args: readonly string[]): Promise<string>;
  /** A merge patch of one object. */
  patch(kind: string, name: string, patch: Record<string, unknown>): Promise<void>;
}

const OURS = /^(ALPACA|APCA|KAFKA|TA|TRADING|DB|LLM|INGEST)_/;
const CALL_MS = 20_000;

/** Which of the ways to fail this is, by kubectl's own words. */
function failureOf(line: string, stderr: string): TorghutError {
  const why = maskSecrets(stderr.trim().split('\n').at(-1) ?? '').slice(0, 300);
  if (/\(Forbidden\)|forbidden|Unauthorized|must be logged in/i.test(stderr)) {
    return unreachableError({
      code: 'cluster_forbidden',
      what: `the cluster does not allow ${line}`,
      why,
      next: 'use a context with the right to read (or, for changes, to patch) that object',
    });
  }
  if (/\(NotFound\)|not found/i.test(stderr)) {
    return new TorghutError({
      code: 'cluster_object_missing',
      what: `${line} found nothing`,
      why,
      next: 'check --namespace and --context',
      exitCode: 3,
    });
  }
  return unreachableError({
    code: 'cluster_unreachable',
    what: `${line} failed`,
    why,
    next: 'check the context with `kubectl cluster-info`',
  });
}

export function openKubectl(options: KubectlOptions): Kubectl {
  const { namespace, context, timeoutMs = CALL_MS } = options;
  const given = options.env ?? process.env;
  const program = options.program ?? (given.KUBECTL?.trim() || 'kubectl');
  const env = Object.fromEntries(Object.entries(given).filter(([name]) => !OURS.test(name)));
  const scope = ['--namespace', namespace, ...(context === undefined ? [] : ['--context', context])];
  const shown = (args: readonly string[]) =>
    ['kubectl', ...args, ...scope].map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word}'`)).join(' ');

  const text = async (args: readonly string[]): Promise<string> => {
    const limit = `--request-timeout=${Math.ceil(timeoutMs / 1_000)}s`;
    const result = await execa(program, [...args, ...scope, limit], {
      env,
      extendEnv: false,
      stdin: 'ignore',
      reject: false,
      // kubectl's own limit covers one request; discovery and retries come on top.
      timeout: timeoutMs * 2,
      maxBuffer: 256 * 1024 * 1024,
    });
    if (!result.failed) return result.stdout;
    if (result.code === 'ENOENT' || result.code === 'EACCES') {
      throw unreachableError({
        code: 'kubectl_missing',
        what: `cannot run ${program}`,
        why: result.code,
        next: 'install kubectl (Debian: kubernetes-client), or name it in KUBECTL',
      });
    }
    throw failureOf(shown(args), result.stderr || (result.timedOut ? `no answer in ${timeoutMs * 2} ms` : ''));
  };

  return {
    namespace,
    line: shown,
    text,
    get: async (args, schema) => {
      const answer = await text(args);
      try {
        return schema.parse(JSON.parse(answer));
      } catch (error) {
        throw new TorghutError({
          code: 'cluster_answer_unreadable',
          what: `cannot read the answer to ${shown(args)}`,
          why: error instanceof z.ZodError ? z.prettifyError(error).slice(0, 300) : 'it is no JSON',
          next: 'compare the versions of kubectl and of the cluster',
          exitCode: 3,
          cause: error,
        });
      }
    },
    patch: async (kind, name, patch) => {
      await text(['patch', kind, name, '--type=merge', '-p', JSON.stringify(patch)]);
    },
  };
}
