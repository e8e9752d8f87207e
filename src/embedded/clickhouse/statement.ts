/**
 * Just enough of ClickHouse's lexer to run one statement as its server does: where a statement ends, whether a second one
 * follows (the engine would run both, the server refuses), what kind it is, and where an INSERT's data begin.
 * Positions are those of the given text; a caller that works on bytes passes latin1 text, where they are byte offsets.
 */

/** What a statement does, which decides how it is queued: reads never wait for inserts and the other way round. */
export type StatementKind = 'read' | 'insert' | 'change' | 'control';

export interface Statement {
  kind: StatementKind;
  /** First word, upper case. */
  verb: string;
  /** Offset behind the statement's text (its data excluded). */
  end: number;
  /** INSERT with data: its format and where the data begin; `VALUES` counts as format Values. */
  data?: { format: string; start: number };
  /** The FORMAT clause of a statement without data. */
  format?: string;
  /** Offset of a second statement. */
  secondAt?: number;
}

const readVerbs = new Set([
  'SELECT',
  'WITH',
  'SHOW',
  'DESCRIBE',
  'DESC',
  'EXPLAIN',
  'EXISTS',
  'VALUES',
  'CHECK',
  'FROM',
]);
const controlVerbs = new Set(['KILL', 'SET', 'USE']);

interface Token {
  kind: 'word' | 'symbol' | 'literal' | 'semicolon' | 'end';
  text: string;
  start: number;
  end: number;
}

/** Reads one token at or after `at`, past spaces and comments. */
function nextToken(sql: string, at: number): Token {
  let i = skipBlank(sql, at);
  const start = i;
  const c = sql[i];
  if (c === undefined) return { kind: 'end', text: '', start: sql.length, end: sql.length };
  if (c === ';') return { kind: 'semicolon', text: c, start, end: i + 1 };
  if (c === "'" || c === '"' || c === '`') return { kind: 'literal', text: '', start, end: quotedEnd(sql, i, c) };
  if (c === '$') {
    const tag = /^\$\w*\$/.exec(sql.slice(i, i + 130))?.[0];
    const close = tag === undefined ? -1 : sql.indexOf(tag, i + tag.length);
    if (tag !== undefined && close >= 0) return { kind: 'literal', text: '', start, end: close + tag.length };
  }
  if (/[A-Za-z_]/.test(c)) {
    while (i < sql.length && /[A-Za-z0-9_$]/.test(sql[i] as string)) i++;
    return { kind: 'word', text: sql.slice(start, i), start, end: i };
  }
  return { kind: 'symbol', text: c, start, end: i + 1 };
}

function skipBlank(sql: string, at: number): number {
  let i = at;
  for (;;) {
    while (i < sql.length && /[\s\0]/.test(sql[i] as string)) i++;
    if (sql.startsWith('--', i) || sql.startsWith('#!', i) || sql.startsWith('# ', i)) {
      const line = sql.indexOf('\n', i);
      i = line < 0 ? sql.length : line + 1;
    } else if (sql.startsWith('/*', i)) {
      i = blockCommentEnd(sql, i);
    } else {
      return i;
    }
  }
}

/** Block comments nest in ClickHouse. */
function blockCommentEnd(sql: string, at: number): number {
  let depth = 1;
  let i = at + 2;
  while (i < sql.length && depth > 0) {
    if (sql.startsWith('/*', i)) {
      depth += 1;
      i += 2;
    } else if (sql.startsWith('*/', i)) {
      depth -= 1;
      i += 2;
    } else {
      i += 1;
    }
  }
  return i;
}

/** Backslash escapes the next character, a doubled quote is one. */
function quotedEnd(sql: string, at: number, quote: string): number {
  let i = at + 1;
  while (i < sql.length) {
    if (sql[i] === '\\') i += 2;
    else if (sql[i] === quote) {
      if (sql[i + 1] !== quote) return i + 1;
      i += 2;
    } else i += 1;
  }
  return sql.length;
}

/** Data begin behind spaces and one line end after the format's name, as the server has it. */
function dataStart(sql: string, at: number): number {
  let i = at;
  while (sql[i] === ' ' || sql[i] === '\t' || sql[i] === '\f') i++;
  if (sql[i] === ';') i++;
  if (sql[i] === '\r') i++;
  if (sql[i] === '\n') i++;
  return i;
}

/** Splits one statement off the text. An empty text gives verb ''. */
export function readStatement(sql: string): Statement {
  let token = nextToken(sql, 0);
  // A parenthesised SELECT is a read as well.
  let opening = token;
  while (opening.text === '(') opening = nextToken(sql, opening.end);
  const verb = opening.text.toUpperCase();
  const isInsert = verb === 'INSERT';
  let depth = 0;
  let isData = isInsert;
  let end = 0;
  let format: string | undefined;
  while (token.kind !== 'end' && token.kind !== 'semicolon') {
    if (token.text === '(') depth += 1;
    else if (token.text === ')') depth -= 1;
    else if (isData && depth === 0 && token.kind === 'word') {
      const word = token.text.toUpperCase();
      if (word === 'SELECT' || word === 'WITH' || word === 'INFILE') isData = false;
      else if (word === 'VALUES') {
        return { kind: 'insert', verb, end, data: { format: 'Values', start: token.end } };
      } else if (word === 'FORMAT') {
        const name = nextToken(sql, token.end);
        if (name.kind === 'word') {
          return {
            kind: 'insert',
            verb,
            end,
            data: { format: name.text, start: dataStart(sql, name.end) },
          };
        }
      }
    }
    end = token.end;
    const following = nextToken(sql, token.end);
    if (depth === 0 && token.text.toUpperCase() === 'FORMAT' && following.kind === 'word') format = following.text;
    token = following;
  }
  const statement: Statement = { kind: kindOf(verb), verb, end, ...(format === undefined ? {} : { format }) };
  while (token.kind === 'semicolon') token = nextToken(sql, token.end);
  if (token.kind !== 'end') statement.secondAt = token.start;
  return statement;
}

function kindOf(verb: string): StatementKind {
  if (verb === 'INSERT') return 'insert';
  if (readVerbs.has(verb)) return 'read';
  return controlVerbs.has(verb) ? 'control' : 'change';
}

/** A text as an SQL string literal. */
export function quoteText(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\0', '\\0')}'`;
}

/** A name as a quoted identifier. */
export function quoteName(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`').replaceAll('\0', '\\0')}\``;
}

/** Names of `{name:Type}` parameters in a statement, literals and comments left out. */
export function parameterNames(sql: string): string[] {
  const names: string[] = [];
  let token = nextToken(sql, 0);
  while (token.kind !== 'end') {
    if (token.text === '{') {
      const name = nextToken(sql, token.end);
      if (name.kind === 'word' && nextToken(sql, name.end).text === ':') names.push(name.text);
    }
    token = nextToken(sql, token.end);
  }
  return names;
}
