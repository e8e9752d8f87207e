/**
 * Natural logarithm with the same bits on every engine: `Math.log` may differ between JavaScript engines by a unit in the
 * last place, and equal output is promised (design 5).
 * Source: the algorithm of FreeBSD's e_log.c (fdlibm, Sun Microsystems 1993, freely usable): argument reduction to
 * [sqrt(2)/2, sqrt(2)] and a Remez polynomial; error under one unit in the last place.
 */

const LN2_HI = 0.6931471803691238;
const LN2_LO = 1.9082149292705877e-10;
const TWO54 = 18014398509481984;
const LG1 = 0.6666666666666735;
const LG2 = 0.3999999999940942;
const LG3 = 0.2857142874366239;
const LG4 = 0.22222198432149784;
const LG5 = 0.1818357216161805;
const LG6 = 0.15313837699209373;
const LG7 = 0.14798198605116586;

const float = new Float64Array(1);
const words = new Int32Array(float.buffer);
// 1 has zero in its low word: tells which of the two words is the high one on this machine.
float[0] = 1;
const HIGH = words[0] === 0 ? 1 : 0;
const LOW = 1 - HIGH;

/** ln(x): NaN below zero, -Infinity at zero, exactly 0 at one. */
export function naturalLog(value: number): number {
  let x = value;
  float[0] = x;
  let high = words[HIGH] as number;
  let k = 0;
  if (high < 0x00100000) {
    if (((high & 0x7fffffff) | (words[LOW] as number)) === 0) return Number.NEGATIVE_INFINITY;
    if (high < 0) return Number.NaN;
    // Subnormal: scale up.
    k -= 54;
    x *= TWO54;
    float[0] = x;
    high = words[HIGH] as number;
  }
  if (high >= 0x7ff00000) return x + x;
  k += (high >> 20) - 1023;
  high &= 0x000fffff;
  const i = (high + 0x95f64) & 0x100000;
  // x or x/2, brought into [sqrt(2)/2, sqrt(2)].
  float[0] = x;
  words[HIGH] = high | (i ^ 0x3ff00000);
  x = float[0] as number;
  k += i >> 20;
  const f = x - 1;
  if ((0x000fffff & (2 + high)) < 3) {
    // |f| < 2^-20
    if (f === 0) return k === 0 ? 0 : k * LN2_HI + k * LN2_LO;
    const r = f * f * (0.5 - 0.3333333333333333 * f);
    return k === 0 ? f - r : k * LN2_HI - (r - k * LN2_LO - f);
  }
  const s = f / (2 + f);
  const z = s * s;
  const w = z * z;
  const t1 = w * (LG2 + w * (LG4 + w * LG6));
  const t2 = z * (LG1 + w * (LG3 + w * (LG5 + w * LG7)));
  const r = t2 + t1;
  if (((high - 0x6147a) | (0x6b851 - high)) > 0) {
    const half = 0.5 * f * f;
    return k === 0 ? f - (half - s * (half + r)) : k * LN2_HI - (half - (s * (half + r) + k * LN2_LO) - f);
  }
  return k === 0 ? f - s * (f - r) : k * LN2_HI - (s * (f - r) - k * LN2_LO - f);
}
