import { expect, test } from "vitest";
import { UserError } from "../../errors.ts";
import { explainEnd, explainFailure, explainNoPython, type WorkerEnd } from "./failures.ts";
import type { FailureKind } from "./messages.ts";

const kinds: readonly FailureKind[] = [
  "no-torch",
  "version",
  "cpu-build",
  "driver",
  "no-device",
  "memory",
  "device",
  "file",
  "workers",
];

test.each(kinds)("a failure of kind %s is told in one line, with the cause and what to do", (kind) => {
  const error = explainFailure({ kind, message: "THE CAUSE", trace: "a trace" }, "/venv/bin/python");
  expect(error).toBeInstanceOf(UserError);
  expect(error.message).toContain("THE CAUSE");
  expect(error.message).not.toMatch(/\n|a trace/);
  expect((error as UserError).fix).toMatch(/\.$/);
});

test("a bug is an error with the worker's own trace", () => {
  const error = explainFailure({ kind: "bug", message: "shapes differ", trace: "File ops.py, line 3" }, "python");
  expect(error).not.toBeInstanceOf(UserError);
  expect(error.message).toBe("torch: shapes differ\nFile ops.py, line 3");
});

const end: WorkerEnd = { rank: 0, code: null, signal: null, said: "" };

test("a worker that was killed, or ended by itself, is told with what it said last", () => {
  const explain = (how: Partial<WorkerEnd>): UserError =>
    explainEnd([{ ...end, ...how }], [end.said], 1, "python") as UserError;
  expect(explain({ signal: "SIGKILL" }).message).toBe(
    "The PyTorch worker was ended by SIGKILL, which is what a system does that runs out of memory.",
  );
  expect(explain({ code: 3, said: "one\ngesso worker: bad frame\n" }).message).toBe(
    "The PyTorch worker ended with code 3: gesso worker: bad frame",
  );
  expect(explain({ code: 1 }).fix).toContain("--resume");
});

test("of several workers the one is told that ended of itself, whichever was seen first", () => {
  const lost = { ...end, code: 5, said: "gesso worker 0: another worker has gone: Connection closed by peer\n" };
  const killed = { ...end, rank: 1, signal: "SIGKILL" };
  for (const ends of [
    [lost, killed],
    [killed, lost],
  ]) {
    expect(explainEnd(ends, [], 2, "python").message).toMatch(/^PyTorch worker 1 was ended by SIGKILL/);
  }
  const failure = JSON.stringify({ kind: "memory", message: "CUDA out of memory. Tried to allocate 2 GiB", trace: "" });
  const said = ["", `a warning\ngesso failure: ${failure}\n`];
  expect(explainEnd([lost, { ...end, rank: 1, code: 4 }], said, 2, "python").message).toContain("CUDA out of memory");
});

test("torchrun's report is read for the worker that failed first", () => {
  const said = `main.py FAILED
------------------------------------------------------------
Failures:
  <NO_OTHER_FAILURES>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-25_10:40:00
  host      : a
  rank      : 3 (local_rank: 1)
  exitcode  : -9 (pid: 4711)
  error_file: <N/A>
  traceback : Signal 9 (SIGKILL) received by PID 4711
============================================================`;
  expect(explainEnd([{ ...end, code: 1, said }], [said], 1, "python").message).toMatch(
    /^PyTorch worker 3 was ended by SIGKILL/,
  );
});

test("an interpreter that is not there is named", () => {
  const error = explainNoPython("/nowhere/python", Object.assign(new Error("spawn"), { code: "ENOENT" }));
  expect(error.message).toBe("Cannot start /nowhere/python: it is not there.");
  expect(error.fix).toContain("--python");
});
