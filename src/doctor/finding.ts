/** What a judge says of a machine. */
import type { MachineFacts } from "./facts.ts";

export type Area = "system" | "memory" | "disk" | "card" | "python" | "engine";

export interface Finding {
  /** Stays the same over versions: what scripts look for. */
  readonly id: string;
  readonly area: Area;
  /** "broken": something does not work that is there to work. "mind": it works, and there is something to know. */
  readonly mark: "broken" | "mind";
  /** What is wrong, with the values. */
  readonly message: string;
  /** What to do about it. */
  readonly mend: string;
}

/** Looks at one side of a machine. Pure. */
export type Judge = (facts: MachineFacts) => readonly Finding[];

/** A table of known messages: the first row whose pattern fits says what is behind one. */
export interface KnownMessage {
  readonly pattern: RegExp;
  readonly id: string;
  /** The cause, as the end of a sentence. */
  readonly cause: string;
  readonly mend: string;
}

export function findMessage(table: readonly KnownMessage[], text: string): KnownMessage | undefined {
  return table.find(({ pattern }) => pattern.test(text));
}
