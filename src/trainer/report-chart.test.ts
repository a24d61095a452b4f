/** Curves of the report. */
import { expect, test } from "vitest";
import { renderChart } from "./report-chart.ts";

const mark = { x: 100, name: "kept" };
const labels = (html: string, side: "left" | "bottom"): string[] =>
  [...html.matchAll(new RegExp(`<span style="${side}:([^"]*)">([^<]*)<`, "g"))].map(([, at, text]) => `${text} at ${at}`);

test("axes go from the least to the greatest value, with round numbers where they belong", () => {
  const points = [
    { x: 0, y: 1.02 },
    { x: 100, y: 0.93 },
    { x: 402, y: 0.952 },
  ];
  const html = renderChart({ lines: [{ name: "loss", points }], mark });
  expect(labels(html, "left")).toEqual(["0 at 0.0%", "200 at 49.8%", "400 at 99.5%"]);
  expect(labels(html, "bottom")).toEqual(["0.95 at 22.2%", "1.00 at 77.8%"]);
  expect(html).toContain('points="0.0,0.0 248.8,1000.0 1000.0,755.6"');
  expect(html).toContain('class="mark" d="M248.8 0V1000"');
  expect(html).toContain('aria-label="loss: 1.02 to 0.952"');
});

test("a single point lies in the middle, and lines without points are left out", () => {
  const lines = [
    { name: "none", points: [] },
    { name: "one", points: [{ x: 3, y: 0.5 }] },
  ];
  const html = renderChart({ lines, mark });
  expect(html).toContain('points="500.0,500.0"');
  expect(html).not.toContain(">none<");
  expect(renderChart({ lines: [], mark })).toBe("<p>Nothing was measured.</p>");
});
