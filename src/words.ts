/** Numbers in words, the same on every page and in every message. Any folder may import this. */

/** "1 picture", "36 pictures". */
export function countOf(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}
