/** How calls and processes end: what tests of failures look at. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { UserError } from "../../src/errors.ts";

/** The error that a user would read; fails where there is none, or another. */
export async function failureOf(promise: Promise<unknown>): Promise<UserError> {
  const error = await promise.then(() => undefined, (reason: unknown) => reason); // prettier-ignore
  expect(error).toBeInstanceOf(UserError);
  return error as UserError;
}

/** Whether a process is gone before so many seconds are over. */
export async function endsWithin(seconds: number, pid: number): Promise<boolean> {
  for (let i = 0; i < 10 * seconds; i++) {
    try {
      process.kill(pid, 0);
    } catch {
      return true;
    }
    await sleep(100);
  }
  return false;
}
