/** Names and literals in statements that take no query parameters (DDL of ClickHouse). */

/** A name in backquotes. */
export function quoteIdentifier(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``;
}

/** A text in single quotes. */
export function quoteLiteral(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** `database.table`, in backquotes only where a part needs them; what is before the first dot is the database. */
export function quoteQualified(name: string): string {
  const at = name.indexOf('.');
  const parts = [name.slice(0, at), name.slice(at + 1)];
  return parts.map((part) => (/^[A-Za-z_]\w*$/.test(part) ? part : quoteIdentifier(part))).join('.');
}
