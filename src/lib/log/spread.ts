/**
 * How the partition numbers of a consumer group are shared: pure, used by the groups of both adapters.
 * Guarantees: counts differ by one at most, every number has an owner, and numbers move only when they must.
 */

/**
 * Who should own which number: everybody keeps what fits into an even share; what is left over goes to those below it.
 * @param members ids in the order of joining
 */
export function spread(
  members: readonly string[],
  partitions: number,
  before: Record<string, string>,
): Record<string, string> {
  if (members.length === 0) return {};
  const kept = new Map<string, number[]>(members.map((id) => [id, []]));
  for (let p = 0; p < partitions; p++) kept.get(before[p] ?? '')?.push(p);
  const base = Math.floor(partitions / members.length);
  // The larger shares go to those who have most, so that fewest numbers move; ties in the order of joining.
  const byCount = [...members].sort((a, b) => (kept.get(b)?.length ?? 0) - (kept.get(a)?.length ?? 0));
  const share = new Map(byCount.map((id, i) => [id, base + (i < partitions % members.length ? 1 : 0)]));
  const target: Record<string, string> = {};
  for (const id of members) {
    for (const p of (kept.get(id) ?? []).slice(0, share.get(id))) target[p] = id;
  }
  const count = new Map(members.map((id) => [id, Math.min(kept.get(id)?.length ?? 0, share.get(id) ?? 0)]));
  for (let p = 0; p < partitions; p++) {
    if (target[p] !== undefined) continue;
    const next = members.find((id) => (count.get(id) ?? 0) < (share.get(id) ?? 0)) as string;
    target[p] = next;
    count.set(next, (count.get(next) ?? 0) + 1);
  }
  return target;
}
