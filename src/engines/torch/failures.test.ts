import { expect, test } from "vitest";
import { UserError } from "../../errors.ts";
import { explainDeath, explainFailure, explainNoPython } from "./failures.ts";
import type { FailureKind } from "./messages.ts";

const kinds: readonly FailureKind[] = ["no-torch", "version", "cpu-build", "driver", "no-device", "memory", "device", "file"];

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

test("a worker that was killed, or ended by itself, is told with what it said last", () => {
  expect(explainDeath(null, "SIGKILL", "").message).toBe(
    "The PyTorch worker was ended by SIGKILL, which is what a system does that runs out of memory.",
  );
  expect(explainDeath(3, null, "one\ngesso worker: bad frame\n").message).toBe(
    "The PyTorch worker ended with code 3: gesso worker: bad frame",
  );
  expect(explainDeath(1, null, "").fix).toContain("--resume");
});

test("an interpreter that is not there is named", () => {
  const error = explainNoPython("/nowhere/python", Object.assign(new Error("spawn"), { code: "ENOENT" }));
  expect(error.message).toBe("Cannot start /nowhere/python: it is not there.");
  expect(error.fix).toContain("--python");
});
