import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { renderInspectDocs } from "../../../scripts/inspect-docs.ts";
import { thresholds } from "../thresholds.ts";
import { checks } from "./table.ts";

test("docs/inspect.md tells every check as the table has it", () => {
  expect(readFileSync("docs/inspect.md", "utf8")).toBe(renderInspectDocs());
});

test("every check has an id of its own", () => {
  expect(new Set(checks.map(({ id }) => id)).size).toBe(checks.length);
});

test("every threshold names its source", () => {
  expect(Object.entries(thresholds).filter(([, { source }]) => source.length < 5)).toEqual([]);
});
