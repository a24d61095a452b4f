/** Byte-pair merging (Sennrich et al. 2016) over bytes written as printable characters, as GPT-2 and CLIP do it. */

/** What CLIP writes after the last character of a word. */
export const endOfWord = "</w>";

/**
 * GPT-2's table: the printable character that stands for each byte in a vocabulary. Bytes that print in Latin-1 stand for
 * themselves, the other 68 are moved to U+0100 and up, in order.
 */
export function createByteTable(): readonly string[] {
  const table: string[] = [];
  let moved = 0;
  for (let byte = 0; byte < 256; byte++) {
    const prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    table.push(String.fromCodePoint(prints ? byte : 0x100 + moved++));
  }
  return table;
}

const byteTable = createByteTable();
const utf8 = new TextEncoder();

/** A word as its bytes' characters, the last with the end-of-word mark: "café" -> ["c", "a", "f", "Ã", "©</w>"]. */
export function toSymbols(word: string): string[] {
  const symbols = Array.from(utf8.encode(word), (byte) => byteTable[byte] ?? "");
  const last = symbols.pop();
  return last === undefined ? [] : [...symbols, last + endOfWord];
}

interface Merge {
  readonly rank: number;
  readonly id: number;
}

/**
 * Makes the function from a word to its token ids.
 *
 * @param merges the text of `merges.txt`: one merge a line, the first merged first; a "#version" line is skipped
 * @param unknownId what a byte gets that the vocabulary lacks
 * @throws Error when a merge names a token that the vocabulary lacks
 */
export function createMerger(
  vocab: Readonly<Record<string, number>>,
  merges: string,
  unknownId: number,
): (word: string) => readonly number[] {
  const ids = new Map(Object.entries(vocab));
  const size = Math.max(...ids.values()) + 1;
  const table = new Map<number, Merge>();
  const lines = merges.split(/\r?\n/).filter((line) => line !== "" && !line.startsWith("#version"));
  for (const [rank, line] of lines.entries()) {
    const [left = "", right = ""] = line.split(" ");
    const [leftId, rightId, id] = [ids.get(left), ids.get(right), ids.get(left + right)];
    if (leftId === undefined || rightId === undefined || id === undefined) {
      throw new Error(`createMerger: merge ${rank + 1}, "${line}", names a token that the vocabulary lacks`);
    }
    table.set(leftId * size + rightId, { rank, id });
  }
  const findMerge = (left: number, right: number): Merge | undefined => table.get(left * size + right);
  return (word) =>
    mergeIds(
      toSymbols(word).map((symbol) => ids.get(symbol) ?? unknownId),
      findMerge,
    );
}

// A heap entry is rank * positionRange + position, so that the lowest rank comes first and, among equals, the leftmost.
const positionRange = 2 ** 31;

/**
 * Applies the lowest-ranked merge until none is left. A heap of candidate pairs over a linked list: n log n, where scanning the word
 * after every merge would be quadratic in a long word.
 */
function mergeIds(ids: number[], findMerge: (left: number, right: number) => Merge | undefined): number[] {
  const next = ids.map((_, i) => (i + 1 < ids.length ? i + 1 : -1));
  const previous = ids.map((_, i) => i - 1);
  const isAlive = ids.map(() => true);
  const heap = new NumberHeap();
  const mergeAt = (position: number): Merge | undefined => {
    const right = next[position] ?? -1;
    return position < 0 || right < 0 ? undefined : findMerge(ids[position] ?? -1, ids[right] ?? -1);
  };
  const offer = (position: number): void => {
    const merge = mergeAt(position);
    if (merge) heap.push(merge.rank * positionRange + position);
  };
  ids.forEach((_, i) => offer(i));
  for (let entry = heap.pop(); entry !== undefined; entry = heap.pop()) {
    const position = entry % positionRange;
    const merge = isAlive[position] === true ? mergeAt(position) : undefined;
    // A neighbour's merge may have changed this pair since it was offered; the new pair was offered then.
    if (merge?.rank !== Math.floor(entry / positionRange)) continue;
    const gone = next[position] ?? -1;
    const after = next[gone] ?? -1;
    ids[position] = merge.id;
    isAlive[gone] = false;
    next[position] = after;
    if (after >= 0) previous[after] = position;
    offer(previous[position] ?? -1);
    offer(position);
  }
  return ids.filter((_, i) => isAlive[i]);
}

/** A binary heap of numbers, smallest first. */
class NumberHeap {
  readonly #items: number[] = [];

  push(item: number): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = items[parent] ?? 0;
      if (above <= item) break;
      items[at] = above;
      at = parent;
    }
    items[at] = item;
  }

  pop(): number | undefined {
    const items = this.#items;
    const top = items[0];
    const item = items.pop();
    if (item === undefined || items.length === 0) return top;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      if (left >= items.length) break;
      const child = (items[left + 1] ?? Infinity) < (items[left] ?? Infinity) ? left + 1 : left;
      const below = items[child] ?? Infinity;
      if (below >= item) break;
      items[at] = below;
      at = child;
    }
    items[at] = item;
    return top;
  }
}
