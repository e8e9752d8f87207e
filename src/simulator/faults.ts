/**
 * Faults by name, count and probability: the one registry that both sides of the simulator ask before they behave.
 * Guarantees: nothing happens unless a fault was posted; the same seed and the same questions give the same hits.
 */
import { z } from 'zod';
import { usageError } from '../lib/service/errors.ts';
import { nearestName } from '../lib/service/nearest.ts';
import { seededRandom } from './random.ts';

/** Body of POST /_sim/faults. Parameters other than these are the fault's own (see its description). */
export const faultRequestSchema = z.looseObject({
  name: z.string().min(1),
  /** How many times it strikes; null or absent means until it is removed. */
  count: z.number().int().positive().nullish(),
  /** Chance of a strike each time it is asked for. */
  probability: z.number().min(0).max(1).default(1),
});

export type FaultRequest = z.input<typeof faultRequestSchema>;

/** A fault that strikes now, with its parameters. */
export interface FaultHit {
  name: string;
  /** A numeric parameter of the fault, or the fallback. */
  number(parameter: string, fallback: number): number;
  text(parameter: string, fallback: string): string;
}

export interface FaultState {
  id: number;
  name: string;
  /** Strikes left; null without end. */
  left: number | null;
  probability: number;
  hits: number;
  parameters: Record<string, unknown>;
}

export interface FaultRegistry {
  /** Makes a name known; both sides declare theirs at start. */
  declare(name: string, describe: string): void;
  known(): { name: string; describe: string }[];
  /** Adds a fault. @throws `fault_unknown` (names the nearest) */
  add(request: unknown): FaultState;
  list(): FaultState[];
  /** Removes all faults of a name, or all. Returns how many. */
  remove(name?: string): number;
  /**
   * Asks whether the fault strikes now; a strike uses up one of its count. A `matches` parameter filter (for example
   * `symbol` or `path`) leaves faults alone that name another value for it.
   */
  take(name: string, matches?: Record<string, string>): FaultHit | undefined;
}

export function createFaultRegistry(seed: number): FaultRegistry {
  const random = seededRandom(seed, 'faults');
  const names = new Map<string, string>();
  let active: FaultState[] = [];
  let nextId = 1;
  return {
    // Some strike on both sides; a `path` parameter tells them apart.
    declare: (name, describe) => void names.set(name, [names.get(name), describe].filter(Boolean).join('; or ')),
    known: () => [...names].map(([name, describe]) => ({ name, describe })),
    add: (request) => {
      const parsed = faultRequestSchema.safeParse(request);
      if (!parsed.success) {
        throw usageError({ code: 'fault_invalid', what: 'the fault is not valid', why: z.prettifyError(parsed.error) });
      }
      const { name, count, probability, ...parameters } = parsed.data;
      if (!names.has(name)) {
        const near = nearestName(name, [...names.keys()]);
        throw usageError({
          code: 'fault_unknown',
          what: `there is no fault named ${name}`,
          next: near ? `did you mean ${near}?` : `known: ${[...names.keys()].join(', ')}`,
        });
      }
      const state: FaultState = { id: nextId++, name, left: count ?? null, probability, hits: 0, parameters };
      active.push(state);
      return { ...state };
    },
    list: () => active.map((fault) => ({ ...fault })),
    remove: (name) => {
      const before = active.length;
      active = name === undefined ? [] : active.filter((fault) => fault.name !== name);
      return before - active.length;
    },
    take: (name, matches = {}) => {
      for (const fault of active) {
        if (fault.name !== name || fault.left === 0) continue;
        const differs = Object.entries(matches).some(
          ([key, value]) => fault.parameters[key] !== undefined && String(fault.parameters[key]) !== value,
        );
        if (differs || (fault.probability < 1 && !random.chance(fault.probability))) continue;
        fault.hits += 1;
        if (fault.left !== null) fault.left -= 1;
        const { parameters } = fault;
        return {
          name,
          number: (parameter, fallback) => {
            const value = Number(parameters[parameter] ?? fallback);
            return Number.isFinite(value) ? value : fallback;
          },
          text: (parameter, fallback) => String(parameters[parameter] ?? fallback),
        };
      }
      return undefined;
    },
  };
}
