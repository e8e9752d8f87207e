/**
 * Seeded random numbers of the simulator: splitmix32 seeds sfc32 (both public-domain algorithms).
 * Guarantee: the same seed gives the same sequence on every machine; forks are independent of how often the parent is used.
 */

export interface SeededRandom {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform whole number in [min, max]. */
  integer(min: number, max: number): number;
  /** True with the given probability. */
  chance(probability: number): boolean;
  /** Roughly normal with mean 0 and deviation 1 (sum of twelve uniforms: no Math.log, so equal everywhere). */
  normal(): number;
  /** One of the items. */
  pick<T>(items: readonly T[]): T;
}

/** 32-bit FNV-1a of a text, to derive seeds from names. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return hash;
}

/** @param seed whole number; @param stream name of an independent sequence under the same seed */
export function seededRandom(seed: number, stream = ''): SeededRandom {
  let mix = (Math.imul(Math.trunc(seed) >>> 0, 0x9e3779b1) ^ hashText(`${seed}:${stream}`)) >>> 0;
  const splitmix = () => {
    mix = (mix + 0x9e3779b9) >>> 0;
    let z = mix;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  let a = splitmix();
  let b = splitmix();
  let c = splitmix();
  let counter = 1;
  const uint32 = () => {
    const sum = (((a + b) >>> 0) + counter) >>> 0;
    counter = (counter + 1) >>> 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) >>> 0;
    c = (((c << 21) | (c >>> 11)) + sum) >>> 0;
    return sum;
  };
  for (let i = 0; i < 12; i++) uint32();
  const next = () => uint32() / 4294967296;
  const integer = (min: number, max: number) => min + Math.floor(next() * (max - min + 1));
  return {
    next,
    integer,
    chance: (probability) => next() < probability,
    normal: () => {
      let sum = -6;
      for (let i = 0; i < 12; i++) sum += next();
      return sum;
    },
    pick: (items) => items[integer(0, items.length - 1)] as (typeof items)[number],
  };
}
