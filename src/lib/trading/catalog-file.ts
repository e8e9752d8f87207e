/**
 * The catalog file on disk: reads it, names what is wrong with the path, and gives its digest (spec trading 2.1, 2.2).
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { codeOf, usageError } from '../service/errors.ts';
import type { Catalog, CatalogMistake } from '../strategy/catalog.ts';
import { parseCatalog } from '../strategy/catalog.ts';
import { builtInStrategies, type StrategyRegistry } from '../strategy/registry.ts';
import type { CatalogReading } from '../strategy/reload.ts';
import type { CatalogSource } from './ports.ts';

const extensions = ['.yaml', '.yml', '.json'];

async function readText(path: string): Promise<CatalogReading> {
  if (!extensions.includes(extname(path).toLowerCase())) {
    return { ioError: `unsupported extension ${extname(path) || '(none)'}; use ${extensions.join(', ')}` };
  }
  try {
    const text = await readFile(path, 'utf8');
    return { text, digest: createHash('sha256').update(text).digest('hex') };
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT') return { ioError: `${path} does not exist` };
    return { ioError: `cannot read ${path}${code === undefined ? '' : ` (${code})`}` };
  }
}

/** The source that the daemon polls. */
export function catalogFile(path: string): CatalogSource {
  return { read: () => readText(path) };
}

export type CatalogCheck =
  | { ok: true; path: string; digest: string; text: string; catalog: Catalog }
  | { ok: false; path: string; mistakes: readonly CatalogMistake[] };

/** Checks a file for `torghut strategy validate`. @throws `strategy_catalog_unreadable` (exit 2) */
export async function checkCatalogFile(
  path: string,
  registry: StrategyRegistry = builtInStrategies,
): Promise<CatalogCheck> {
  const reading = await readText(path);
  if ('ioError' in reading) {
    throw usageError({
      code: 'strategy_catalog_unreadable',
      what: 'the strategy catalog cannot be read',
      why: reading.ioError,
      next: 'give the path of a .yaml, .yml or .json file',
    });
  }
  const result = parseCatalog(reading.text, registry);
  if (result.ok) return { ok: true, path, digest: reading.digest, text: reading.text, catalog: result.catalog };
  return { ok: false, path, mistakes: result.mistakes };
}
