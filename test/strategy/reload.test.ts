import { describe, expect, it } from 'vitest';
import { applyReading, blocksEntries, type CatalogState, noCatalog } from '../../src/lib/strategy/reload.ts';

const reading = (text: string) => ({ text, digest: `digest of ${text}` });
const names = (state: CatalogState) => state.catalog.entries.map((entry) => entry.name);
const load = (state: CatalogState, text: string, mode: 'merge' | 'sync' = 'sync') =>
  applyReading(state, reading(text), mode).state;

describe('catalog reload', () => {
  it('keeps the last good catalog through a broken file and blocks entries after the third failure', () => {
    let state = load(noCatalog, '- name: a');
    for (const blocked of [false, false, true, true]) {
      state = load(state, '- nme: a');
      expect(names(state)).toEqual(['a']);
      expect(blocksEntries(state)).toBe(blocked);
    }
    expect(state.failure?.mistakes[0]).toMatchObject({ line: 1 });
    state = load(state, '- name: a');
    expect(blocksEntries(state)).toBe(false);
    expect(state.failure).toBeNull();
  });

  it('keeps it when the file cannot be read at all', () => {
    const state = applyReading(load(noCatalog, '- name: a'), { ioError: 'gone' }, 'sync').state;
    expect(names(state)).toEqual(['a']);
    expect(state.failure?.kind).toBe('io');
  });

  it('reports no change for the same digest', () => {
    const state = load(noCatalog, '- name: a');
    expect(applyReading(state, reading('- name: a'), 'sync').changed).toBe(false);
  });

  it('refuses in sync mode an empty file that does not say that it is meant', () => {
    const state = load(noCatalog, '- name: a');
    expect(names(load(state, ''))).toEqual(['a']);
    expect(load(state, '').failure?.kind).toBe('empty');
    expect(names(load(state, 'allow_empty: true\nstrategies: []'))).toEqual([]);
  });

  it('drops what the file no longer names in sync mode and keeps it in merge mode', () => {
    const state = load(noCatalog, '[{name: a}, {name: b}]');
    expect(names(load(state, '- name: b', 'sync'))).toEqual(['b']);
    expect(names(load(state, '- name: b', 'merge'))).toEqual(['b', 'a']);
  });
});
