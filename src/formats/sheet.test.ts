/** Sheets: the tiles stand where the grid says, labels are drawn, and text is broken to fit. */
import { expect, test } from "vitest";
import type { Pixels } from "./images.ts";
import { renderSheet, wrap } from "./sheet.ts";

function tile(color: readonly [number, number, number], widthPx = 100, heightPx = 100): Pixels {
  const data = new Uint8Array(widthPx * heightPx * 3).map((_, i) => color[i % 3] ?? 0);
  return { widthPx, heightPx, channels: 3, data };
}

/** Left, top, right and bottom of the pixels of one colour. */
function boundsOf({ widthPx, data }: Pixels, color: readonly number[]): readonly number[] {
  let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
  for (let i = 0; i < data.length / 3; i++) {
    if (color.some((value, c) => Math.abs((data[3 * i + c] ?? 0) - value) > 2)) continue;
    const [x, y] = [i % widthPx, Math.floor(i / widthPx)];
    [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
  }
  return [left, top, right, bottom];
}

const RED = [220, 40, 30] as const;
const GREEN = [20, 160, 60] as const;
const BLUE = [30, 60, 220] as const;

test("tiles are enlarged to whole multiples and stand in their rows and columns", async () => {
  const sheet = await renderSheet({
    columns: ["without", "with"],
    rows: ["a", "b"],
    tiles: [
      [tile(RED), tile(GREEN)],
      [undefined, tile(BLUE)],
    ],
  });
  expect(sheet.data.length).toBe(sheet.widthPx * sheet.heightPx * 3);
  const [red, green, blue] = [boundsOf(sheet, RED), boundsOf(sheet, GREEN), boundsOf(sheet, BLUE)];
  for (const [left = 0, top = 0, right = 0, bottom = 0] of [red, green, blue]) {
    expect([right - left + 1, bottom - top + 1]).toEqual([200, 200]);
  }
  expect(green[1]).toBe(red[1]);
  expect(blue[0]).toBe(green[0]);
  expect(green[0]).toBeGreaterThan(red[2] ?? 0);
  expect(blue[1]).toBeGreaterThan(green[3] ?? 0);
  expect([...sheet.data.subarray(0, 3)]).toEqual([255, 255, 255]);
});

test("labels darken the paper beside and above the tiles, and marks of XML do no harm", async () => {
  const grid = { tiles: [[tile(RED)]] };
  const label = '<b> & "q" \u0007 \ud800';
  const bare = await renderSheet({ ...grid, columns: [""], rows: [""] });
  const labelled = await renderSheet({ ...grid, columns: [label], rows: [label], title: label, note: label });
  expect(labelled.widthPx).toBeGreaterThan(bare.widthPx);
  expect(labelled.heightPx).toBeGreaterThan(bare.heightPx);
  const [left = 0, top = 0, , bottom = 0] = boundsOf(labelled, RED);
  const darkIn = (inside: (x: number, y: number) => boolean) => {
    let count = 0;
    for (let i = 0; i < labelled.data.length / 3; i++) {
      const isDark = (labelled.data[3 * i] ?? 255) < 120 && (labelled.data[3 * i + 1] ?? 255) < 140;
      if (isDark && inside(i % labelled.widthPx, Math.floor(i / labelled.widthPx))) count++;
    }
    return count;
  };
  expect(darkIn((x, y) => x < left - 4 && y > top)).toBeGreaterThan(20);
  expect(darkIn((x, y) => x >= left && y < top - 4)).toBeGreaterThan(20);
  expect(darkIn((_, y) => y > bottom + 4)).toBeGreaterThan(20);
});

test("a sheet of many large tiles is kept within 8,192 px a side", async () => {
  const row = Array.from({ length: 10 }, () => tile(RED, 1024, 64));
  const sheet = await renderSheet({ columns: row.map((_, i) => `column ${i}`), rows: ["r"], tiles: [row] });
  expect(sheet.widthPx).toBeLessThanOrEqual(8192);
});

test("grids that are no grids are bugs", async () => {
  await expect(renderSheet({ columns: ["a"], rows: ["b"], tiles: [] })).rejects.toThrow("labels do not fit");
  await expect(renderSheet({ columns: ["a", "b"], rows: ["r"], tiles: [[tile(RED)]] })).rejects.toThrow("labels do not fit");
  const uneven = [[tile(RED), tile(RED, 50, 50)]];
  await expect(renderSheet({ columns: ["a", "b"], rows: ["r"], tiles: uneven })).rejects.toThrow("100 x 100 and 50 x 50");
});

test("labels wrap at words, break words that are too long, and end in an ellipsis", () => {
  expect(wrap("", 10, 2)).toEqual([]);
  expect(wrap("one two three", 5.2, 3)).toEqual(["one two", "three"]);
  expect(wrap("one two three", 5.2, 1)).toEqual(["one two…"]);
  expect(wrap("abababababab", 4, 5).join("")).toBe("abababababab");
  expect(wrap("abababababab", 4, 5).length).toBeGreaterThan(1);
});
