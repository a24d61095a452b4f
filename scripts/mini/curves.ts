/** Draws the loss curves of mini's training from its logs, as models/mini/curves.svg. */
import { existsSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";

interface LogLine {
  readonly step: number;
  readonly loss: number;
}

const [width, height, margin] = [420, 240, 44];
const stages = [
  ["vae", "autoencoder"],
  ["denoiser", "denoiser and text encoders"],
  ["decoder", "decoder alone"],
] as const;

/** One panel per stage that was trained; the loss axis is logarithmic. */
export async function writeCurves(stateFolder: string, target: string): Promise<void> {
  const panels = stages.flatMap(([name, title]) => {
    const file = path.join(stateFolder, `${name}.log.jsonl`);
    if (!existsSync(file)) return [];
    return [drawPanel(title, readLog(file))];
  });
  const placed = panels.map((panel, i) => `<g transform="translate(${i * width},0)">${panel}</g>`);
  const size = `width="${panels.length * width}" height="${height}"`;
  const style = `font-family="sans-serif" font-size="11" fill="#222"`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" ${size} ${style}><rect width="100%" height="100%" fill="#fff"/>${placed.join("")}</svg>\n`;
  await writeFile(target, svg);
}

/** A run that was stopped and went on may have logged a step twice; the later line counts. */
function readLog(file: string): readonly LogLine[] {
  const lines = readFileSync(file, "utf8").trim().split("\n");
  const byStep = new Map(lines.map((line) => JSON.parse(line) as LogLine).map((line) => [line.step, line]));
  return [...byStep.values()].sort((a, b) => a.step - b.step);
}

function drawPanel(title: string, lines: readonly LogLine[]): string {
  const steps = lines.at(-1)?.step ?? 1;
  const logs = lines.map(({ loss }) => Math.log10(loss));
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  const x = (step: number): number => margin + (step / steps) * (width - margin - 16);
  const y = (value: number): number => height - margin + 12 - ((value - low) / (high - low || 1)) * (height - margin - 24);
  const points = lines.map(({ step }, i) => `${x(step).toFixed(1)},${y(logs[i] ?? low).toFixed(1)}`).join(" ");
  return [
    `<text x="${margin}" y="16" font-size="12">${title}: loss by step</text>`,
    `<polyline points="${points}" fill="none" stroke="#1f5fa8" stroke-width="1.2"/>`,
    `<line x1="${margin}" y1="${y(low)}" x2="${width - 16}" y2="${y(low)}" stroke="#999"/>`,
    `<line x1="${margin}" y1="${y(low)}" x2="${margin}" y2="${y(high)}" stroke="#999"/>`,
    ...[low, high].map(
      (value) => `<text x="${margin - 6}" y="${y(value) + 4}" text-anchor="end">${(10 ** value).toPrecision(2)}</text>`,
    ),
    ...[0, steps].map((step) => `<text x="${x(step)}" y="${y(low) + 16}" text-anchor="middle">${step}</text>`),
  ].join("");
}
