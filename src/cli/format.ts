/** Durations, paths and long texts as a terminal shows them. */

/** "9.1 ms", "0.4 s", "42 s", "3 min 20 s", "2 h 5 min", "3 d 4 h". */
export function formatDuration(ms: number): string {
  if (ms > 0 && ms < 99.5) return `${ms.toPrecision(2)} ms`;
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Cuts a text that is longer than `columns`, with an ellipsis. */
export function cut(text: string, columns: number): string {
  return text.length <= columns ? text : `${text.slice(0, Math.max(0, columns - 1))}…`;
}

/**
 * Breaks a text into lines of at most `columns`, its place at column `indent` counted: the first line is meant to follow something
 * that is `indent` wide, and the others are indented so far. Words are never broken.
 */
export function wrapText(text: string, columns: number, indent = 0): string {
  const room = columns - indent;
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (line === "" || longer.length <= room) line = longer;
    else {
      lines.push(line);
      line = word;
    }
  }
  return [...lines, line].join(`\n${" ".repeat(indent)}`);
}

/** Rows of a name and what there is to say of it, indented by two, wrapped beside the name. */
export function labelled(rows: readonly (readonly [label: string, text: string])[], columns: number): readonly string[] {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, text]) => `  ${label.padEnd(width)}  ${wrapText(text, columns, width + 4)}`);
}

/** A path as a shell takes it. */
export function quotePath(path: string): string {
  return /[\s"'$&()*;<>?`|]/.test(path) ? `"${path}"` : path;
}
