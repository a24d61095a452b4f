import { expect, test } from "vitest";
import { machine, plain } from "../../test/recorded-machines.ts";
import { judgeMachine } from "../doctor/judge.ts";
import { redactReport } from "../index.ts";
import { describeDoctor } from "./doctor-page.ts";

const secret = "/home/eva/clients/secret-name";

/** Findings and rows with long sentences, and with what is nobody else's business in them. */
const report = judgeMachine({
  ...machine({ system: { name: "Ubuntu 24.04.1 LTS on evas-box" } }),
  disks: plain.disks.map((disk) => ({
    ...disk,
    path: `${secret}/${disk.role}`,
    freeBytes: 1e9,
    problem: `EACCES: ${secret}/x`,
  })),
  variables: { LD_LIBRARY_PATH: `/usr/local/cuda/lib64:${secret}/lib` },
  choiceProblem: `${secret}/venv/bin/python has no PyTorch, and of all the words in this sentence there are more than fit one line`,
});

test.each([40, 60, 80, 132])("no line of the page is wider than %i columns, but for words that are", (columns) => {
  const page = describeDoctor(report, { columns, isColoured: false, home: "/home/eva" });
  const lines = page.split("\n");
  expect(lines.length).toBeGreaterThan(10);
  for (const line of lines.filter((text) => text.length > columns)) {
    // A line begins with a mark and a label; of what comes then there is one word alone.
    expect(line.slice(20).trim().split(" "), line).toHaveLength(1);
  }
});

test("coloured, the page has the same words in the same lines", () => {
  const options = { columns: 80, home: "/home/eva" };
  const coloured = describeDoctor(report, { ...options, isColoured: true });
  expect(coloured).toContain("\u001b[");
  expect(coloured.replace(/\u001b\[[\d;]*m/g, "")).toBe(describeDoctor(report, { ...options, isColoured: false }));
});

test("a report for others has no private folder and no name in it, neither as a page nor as JSON", () => {
  const shown = redactReport(report, { home: "/home/eva", user: "eva", host: "evas-box" });
  const page = describeDoctor(shown, { columns: 100, isColoured: false, home: "" });
  for (const text of [page, JSON.stringify(shown)]) {
    expect(text).not.toMatch(/eva|clients|secret/);
    expect(text).toContain("…/");
  }
  // What it says is still there.
  expect(page).toContain("Ubuntu 24.04.1 LTS");
  expect(page).toContain("/usr/local/cuda/lib64");
});
