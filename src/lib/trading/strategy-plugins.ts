/**
 * Loads the strategy plug-ins of TRADING_STRATEGY_PLUGIN_PATH: a file, or every .ts, .mts, .js and .mjs file of a folder.
 *
 * A plug-in is one module whose default export is a function of the kit that returns its definition
 * (src/lib/strategy/plugin.ts); Node strips the types, so nothing has to be built:
 *
 *     import type { StrategyKit } from '…/src/lib/trading/strategy-plugins.ts';
 *     export default ({ z, Decimal }: StrategyKit) => ({
 *       type: 'my_strategy', aliases: [],
 *       params: z.strictObject({ above: z.number() }), state: z.strictObject({ seen: z.number() }), initial: { seen: 0 },
 *       evaluate: (state, signal, params) => ({ state: { seen: state.seen + 1 }, intents: [] }),
 *     });
 *
 * Guarantees: a file that cannot be loaded is a named failure and harms no other; loaded code is guarded (strategy/guard.ts).
 * It runs in the process of the loop, with its rights: a folder of plug-ins is as trusted as the program. Read once, at
 * start: a changed plug-in needs a restart, so that one process never runs two versions of it.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Decimal } from 'decimal.js';
import { z } from 'zod';
import { describeError } from '../service/errors.ts';
import { guardedStrategy } from '../strategy/guard.ts';
import type { StrategyType } from '../strategy/plugin.ts';
import { builtInStrategies, type StrategyRegistry, strategyRegistry } from '../strategy/registry.ts';

/** What a plug-in gets of the program: the very zod and Decimal that check what it returns. */
export interface StrategyKit {
  z: typeof z;
  Decimal: typeof Decimal;
}

export interface LoadedStrategies {
  registry: StrategyRegistry;
  /** Files that gave no strategy, and why. */
  failures: readonly { file: string; why: string }[];
}

const extensions = new Set(['.ts', '.mts', '.js', '.mjs']);

async function filesOf(path: string): Promise<string[]> {
  const found = await stat(path);
  if (!found.isDirectory()) return [path];
  const names = (await readdir(path)).filter(
    (name) => extensions.has(extname(name)) && !/^[._]|\.d\.m?ts$|\.test\./.test(name),
  );
  return names.sort().map((name) => join(path, name));
}

async function loadFile(file: string): Promise<StrategyType> {
  const digest = createHash('sha256')
    .update(await readFile(file))
    .digest('hex');
  const module = (await import(pathToFileURL(file).href)) as { default?: unknown };
  if (typeof module.default !== 'function') throw new Error('its default export is no function of the kit');
  const kit: StrategyKit = { z, Decimal };
  const definition: unknown = await (module.default as (kit: StrategyKit) => unknown)(kit);
  return guardedStrategy(definition, { file: basename(file), digest });
}

/** The built-in strategies and those of the plug-ins. Never throws: what is wrong is among the failures. */
export async function loadStrategies(path: string | undefined): Promise<LoadedStrategies> {
  if (path === undefined) return { registry: builtInStrategies, failures: [] };
  const failures: { file: string; why: string }[] = [];
  let registry = builtInStrategies;
  let files: string[] = [];
  try {
    files = await filesOf(resolve(path));
  } catch (error) {
    failures.push({ file: path, why: describeError(error) });
  }
  for (const file of files) {
    try {
      registry = strategyRegistry([...registry.types, await loadFile(file)]);
    } catch (error) {
      failures.push({ file, why: describeError(error) });
    }
  }
  return { registry, failures };
}
