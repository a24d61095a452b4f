import { expect, test } from "vitest";
import { countThreads, findMemoryBytes, parseCpuQuota } from "./device.ts";

test("a control group's quota is a number of processors, or no limit", () => {
  expect(parseCpuQuota("200000 100000\n")).toBe(2);
  expect(parseCpuQuota("50000 100000\n")).toBe(0.5);
  expect(parseCpuQuota("max 100000\n")).toBeUndefined();
  expect(parseCpuQuota("")).toBeUndefined();
});

test("there is at least one thread, and some memory", () => {
  expect(countThreads()).toBeGreaterThanOrEqual(1);
  expect(findMemoryBytes()).toBeGreaterThan(2 ** 28);
});
