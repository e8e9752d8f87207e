/**
 * Texts as UTF-8 bytes in large slabs: thousands of record values share one allocation instead of a small pool each, which the
 * garbage collector would have to track. A slab lives as long as the youngest value in it; values leave in order, so at most
 * one slab more than the waiting bytes is held.
 */
const SLAB_BYTES = 256 * 1024;

/** Bytes that a UTF-16 unit may take in UTF-8. */
const MAX_BYTES_PER_UNIT = 3;

export function createValueSlab(): (text: string) => Buffer {
  let slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  let at = 0;
  return (text) => {
    const most = text.length * MAX_BYTES_PER_UNIT;
    if (most > SLAB_BYTES / 4) return Buffer.from(text, 'utf8');
    if (at + most > SLAB_BYTES) {
      slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      at = 0;
    }
    const from = at;
    at += slab.write(text, from, 'utf8');
    return slab.subarray(from, at);
  };
}
