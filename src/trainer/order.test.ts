/** The order of pictures: exact exposures, one bucket a step, the same for the same seed. */
import { expect, test } from "vitest";
import { createOrder } from "./order.ts";

/** How often each picture is drawn in the steps of whole epochs: bucket -> item -> count. */
function count(order: ReturnType<typeof createOrder>, steps: number, buckets: number): number[][] {
  const counts = Array.from({ length: buckets }, () => [] as number[]);
  for (let step = 0; step < steps; step++) {
    const { bucket, draws } = order(step);
    for (const { item } of draws) (counts[bucket] ?? [])[item] = (counts[bucket]?.[item] ?? 0) + 1;
  }
  return counts;
}

test("over two epochs of whole steps every picture is shown twice its repeats", () => {
  const order = createOrder(
    [
      [1, 1, 1, 2],
      [1, 1, 1],
    ],
    2,
    5,
  ); // 5 and 3 pictures an epoch: 8 steps in two epochs
  expect(count(order, 8, 2)).toEqual([
    [2, 2, 2, 4],
    [2, 2, 2],
  ]);
});

test("a step holds pictures of one bucket, and a bucket smaller than a step comes when enough epochs have passed", () => {
  const order = createOrder([[1], [1, 1, 1, 1]], 4, 1);
  const drawn = Array.from({ length: 10 }, (_, step) => order(step));
  expect(drawn.filter(({ bucket }) => bucket === 0)).toHaveLength(2);
  expect(drawn.every(({ draws }) => draws.length === 4)).toBe(true);
});

test("the order is the same for the same seed, another for another, and another in each epoch", () => {
  const items = [Array.from({ length: 40 }, () => 1)];
  const list = (seed: number, from: number): number[] => {
    const order = createOrder(items, 4, seed);
    return Array.from({ length: 10 }, (_, i) => order(from + i)).flatMap(({ draws }) => draws.map(({ item }) => item));
  };
  expect(list(1, 0)).toEqual(list(1, 0));
  expect(list(1, 0)).not.toEqual(list(2, 0));
  expect(list(1, 0)).not.toEqual(list(1, 10));
  expect(list(1, 0).sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => i));
});

test("step 1000 of 2 of 5 pictures lies in epoch 400", () => {
  const pairs = createOrder([[1, 1, 1, 1, 1]], 2, 9);
  expect(pairs(1000).epoch).toBe(400);
});

test("an order without pictures is refused", () => {
  expect(() => createOrder([[], []], 2, 1)).toThrow(/at least one picture/);
});
