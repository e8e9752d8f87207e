/**
 * A change of one object in the manifests of a Git checkout: what GitOps wants instead of a change of the cluster. Finds the
 * object, edits it with its comments kept, shows the lines that change. Guarantees: nothing is written before `write` is called;
 * exactly one object may match; the file is replaced in one step.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { type Document, isMap, parseAllDocuments } from 'yaml';
import { usageError } from '../service/errors.ts';

export interface ManifestEdit {
  /** Path within the checkout. */
  file: string;
  /** Changed lines with - and + in front. */
  diff: string[];
  /** SHA-256 of the file as it was read; part of a plan's facts. */
  hash: string;
  isChange: boolean;
  /** Value of a path before the edit; undefined when it is absent. */
  before(path: readonly string[]): unknown;
  write(): void;
}

function notFound(what: string, why: string): Error {
  return usageError({
    code: 'manifest_not_found',
    what,
    why,
    next: 'name the folder that holds the manifests of this cluster with --gitops',
  });
}

function yamlFiles(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.ya?ml$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => !path.includes('/.git/') && !path.includes('/node_modules/'))
      .sort();
  } catch (error) {
    throw notFound(`cannot read the manifests in ${folder}`, (error as Error).message);
  }
}

/** The lines that differ: a change of a manifest is a few lines that stand together. */
function changedLines(before: string, after: string): string[] {
  const [a, b] = [before.split('\n'), after.split('\n')];
  let from = 0;
  while (from < a.length && from < b.length && a[from] === b[from]) from += 1;
  let end = 0;
  while (end < a.length - from && end < b.length - from && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  return [
    ...a.slice(from, a.length - end).map((line) => `-${line}`),
    ...b.slice(from, b.length - end).map((line) => `+${line}`),
  ];
}

/**
 * Plans an edit of one object.
 * @param set paths and their new values
 * @throws `manifest_not_found` (exit 2) when no object or more than one has that kind and name
 */
export function planManifestEdit(
  folder: string,
  object: { kind: string; name: string; namespace: string },
  set: readonly { path: readonly string[]; value: unknown }[],
): ManifestEdit {
  const found: { path: string; text: string; documents: Document.Parsed[]; target: Document.Parsed }[] = [];
  for (const path of yamlFiles(folder)) {
    const text = readFileSync(path, 'utf8');
    if (!text.includes(object.name)) continue;
    const documents = parseAllDocuments(text);
    if (!Array.isArray(documents)) continue;
    for (const document of documents) {
      if (!isMap(document.contents) || document.get('kind') !== object.kind) continue;
      if (document.getIn(['metadata', 'name']) !== object.name) continue;
      const namespace = document.getIn(['metadata', 'namespace']);
      if (namespace !== undefined && namespace !== object.namespace) continue;
      found.push({ path, text, documents, target: document });
    }
  }
  const [only, second] = found;
  if (only === undefined) throw notFound(`no manifest of ${object.kind} ${object.name}`, `none is in ${folder}`);
  if (second !== undefined) {
    const files = found.map(({ path }) => relative(folder, path)).join(', ');
    throw notFound(`more than one manifest of ${object.kind} ${object.name}`, files);
  }
  const before = new Map(set.map(({ path }) => [path.join('\0'), only.target.getIn(path)]));
  for (const { path, value } of set) only.target.setIn(path, value);
  const after = only.documents.map((document) => document.toString({ lineWidth: 0 })).join('');
  return {
    file: relative(folder, only.path),
    diff: changedLines(only.text, after),
    hash: createHash('sha256').update(only.text).digest('hex'),
    isChange: after !== only.text,
    before: (path) => before.get(path.join('\0')),
    write: () => {
      const temporary = `${only.path}.${process.pid}.tmp`;
      writeFileSync(temporary, after);
      renameSync(temporary, only.path);
    },
  };
}
