/**
 * Errors a user can mend, told apart from bugs.
 *
 * Throw `UserError` when the person at the keyboard can put it right: a file, a setting, a machine. It is printed without a
 * stack. Everything else is a plain `Error`, a bug of ours; its message starts with where it happened.
 */
export class UserError extends Error {
  override readonly name = "UserError";
  /** What to do about it, in one sentence; printed on a line of its own after "Fix: ". */
  readonly fix: string | undefined;
  /** 2 when the command itself was used wrongly (unknown option, missing argument); 1 otherwise. */
  readonly exitCode: 1 | 2;

  /**
   * @param message what is wrong, with the values, and where
   * @example throw new UserError(`No pictures in ${folder}.`, { fix: "Give a folder with png, jpg or webp files." });
   */
  constructor(message: string, options: { fix?: string; exitCode?: 1 | 2; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.fix = options.fix;
    this.exitCode = options.exitCode ?? 1;
  }
}

/** An error in a form that crosses threads and processes. */
export interface Failure {
  readonly message: string;
  readonly stack: string | undefined;
  /** Set for a UserError. */
  readonly user?: { readonly fix: string | undefined };
}

export function failureOf(error: unknown): Failure {
  if (error instanceof UserError) return { message: error.message, stack: error.stack, user: { fix: error.fix } };
  if (error instanceof Error) return { message: error.message, stack: error.stack };
  return { message: String(error), stack: undefined };
}

/** The error that it was, with its stack where it is a bug. */
export function errorOf({ message, stack, user }: Failure): Error {
  if (user) return new UserError(message, user.fix === undefined ? {} : { fix: user.fix });
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}

/** The valid name nearest to a mistyped one, or undefined when none is near (more than a third of its letters differ). */
export function findNearest(name: string, valid: readonly string[]): string | undefined {
  const limit = Math.max(1, Math.ceil(name.length / 3));
  const scored = valid
    // No distance is less than the difference in length: a name of a million letters is not compared with each valid one.
    .filter((candidate) => Math.abs(candidate.length - name.length) <= limit)
    .map((candidate) => ({ candidate, distance: editDistance(name.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  const best = scored[0];
  return best && best.distance <= limit ? best.candidate : undefined;
}

/** Levenshtein distance, in single-character edits. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
