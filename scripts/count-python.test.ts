import { expect, test } from "vitest";
import { countPythonFolder, countPythonLines, mostWorkerLines, workerFolder } from "./count-python.ts";

test("blank lines, comments and docstrings are no code", () => {
  const text = `"""About
the module."""

import os  # for its paths


# A comment.
def f() -> str:
    """One line."""
    text = """kept
    # text
    """
    return text
`;
  // The text that is assigned has three lines, of which one looks like a comment.
  expect(countPythonLines(text)).toBe(5);
});

test("the torch engine's worker stays below its limit", () => {
  const lines = countPythonFolder(workerFolder);
  expect(lines).toBeGreaterThan(500);
  expect(lines).toBeLessThan(mostWorkerLines);
});
