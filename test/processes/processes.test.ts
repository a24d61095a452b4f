import { expect, test } from "vitest";
import { askModule } from "../../src/processes.ts";

const worker = new URL("./worker.js", import.meta.url);
const values = Float32Array.of(1, 2.5);

test("work is done in another process, which is gone when it has answered", async () => {
  const { pid, values: doubled } = await askModule<object, { pid: number; values: Float32Array }>(worker, {
    do: "double",
    values,
  });
  expect(pid).not.toBe(process.pid);
  expect(doubled).toEqual(Float32Array.of(2, 5));
  expect(() => process.kill(pid, 0)).toThrow("ESRCH");
});

test("what it throws is thrown here, with the mend of a user's error", async () => {
  await expect(askModule(worker, { do: "refuse", values })).rejects.toMatchObject({
    name: "UserError",
    message: "No.",
    fix: "Ask for something else.",
  });
});

test("one that ends without an answer is told of by its exit code", async () => {
  await expect(askModule(worker, { do: "end", values })).rejects.toThrow(/worker.* ended before it answered \(exit code 3\)/);
});
