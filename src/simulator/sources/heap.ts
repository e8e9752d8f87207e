/** A binary heap: the least item first, ties in insertion order. */
export class Heap<T> {
  private readonly items: { key: bigint; sequence: number; value: T }[] = [];
  private sequence = 0;

  get size(): number {
    return this.items.length;
  }

  /** Key of the least item. */
  get leastKey(): bigint | undefined {
    return this.items[0]?.key;
  }

  push(key: bigint, value: T): void {
    const item = { key, sequence: this.sequence++, value };
    let at = this.items.push(item) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.isBefore(at, parent)) break;
      this.swap(at, parent);
      at = parent;
    }
  }

  pop(): T | undefined {
    const first = this.items[0];
    const last = this.items.pop();
    if (first === undefined || last === undefined) return undefined;
    if (this.items.length > 0) {
      this.items[0] = last;
      let at = 0;
      for (;;) {
        const left = 2 * at + 1;
        let least = at;
        if (left < this.items.length && this.isBefore(left, least)) least = left;
        if (left + 1 < this.items.length && this.isBefore(left + 1, least)) least = left + 1;
        if (least === at) break;
        this.swap(at, least);
        at = least;
      }
    }
    return first.value;
  }

  private isBefore(a: number, b: number): boolean {
    const x = this.items[a] as { key: bigint; sequence: number };
    const y = this.items[b] as { key: bigint; sequence: number };
    return x.key < y.key || (x.key === y.key && x.sequence < y.sequence);
  }

  private swap(a: number, b: number): void {
    const item = this.items[a] as { key: bigint; sequence: number; value: T };
    this.items[a] = this.items[b] as { key: bigint; sequence: number; value: T };
    this.items[b] = item;
  }
}
