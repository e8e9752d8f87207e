/** Changes of a catalog's text that leave every other byte as it is. Pure. */
import { isMap, isScalar, isSeq, parseDocument } from 'yaml';

/**
 * The text with one strategy switched off; a strategy that does not say `enabled` is off already (its default).
 * undefined when the text names no such strategy, or cannot be parsed.
 */
export function withDisabled(text: string, name: string): string | undefined {
  const document = parseDocument(text);
  if (document.errors.length > 0) return undefined;
  const list = isSeq(document.contents) ? document.contents : document.get('strategies');
  if (!isSeq(list)) return undefined;
  for (const item of list.items) {
    if (!isMap(item) || (item.get('name') ?? item.get('strategy_id')) !== name) continue;
    const value = item.get('enabled', true);
    if (!isScalar(value) || !value.range) return text;
    const [start, end] = value.range;
    return `${text.slice(0, start)}false${text.slice(end)}`;
  }
  return undefined;
}
