/** A contact sheet of views that checks found something in, and of which the proof knows nothing: for a person to judge. */
import { writeFile } from "node:fs/promises";
import sharp from "sharp";
import type { Planted } from "./plant.ts";
import type { Tally } from "./judge.ts";

const tile = { width: 200, height: 150, label: 32 } as const;
const columns = 8;

/** One tile a clean view, with the checks that found it. @returns how many views are on it; without any, nothing is written */
export async function drawSheet(
  path: string,
  tallies: readonly Tally[],
  planted: ReadonlyMap<string, Planted>,
): Promise<number> {
  const checksOf = new Map<string, string[]>();
  for (const { check, unjudged = [] } of tallies) {
    for (const name of unjudged) {
      if (planted.get(name)?.fault === undefined) checksOf.set(name, [...(checksOf.get(name) ?? []), check]);
    }
  }
  const names = [...checksOf.keys()].sort();
  if (names.length === 0) return 0;
  const layers = await Promise.all(
    names.map(async (name, i) => {
      const [left, top] = [(i % columns) * tile.width, Math.floor(i / columns) * (tile.height + tile.label)];
      const png = (await planted.get(name)?.view.png()) ?? Buffer.of();
      const input = await sharp(png)
        .resize(tile.width - 6, tile.height - 6, { fit: "contain", background: "#777" })
        .toBuffer();
      const label = [name.slice(0, 26), (checksOf.get(name) ?? []).join(" ")];
      return [
        { input, left, top },
        { input: Buffer.from(drawLabel(label)), left, top: top + tile.height - 6 },
      ];
    }),
  );
  const size = { width: columns * tile.width, height: Math.ceil(names.length / columns) * (tile.height + tile.label) };
  const sheet = sharp({ create: { ...size, channels: 3, background: "#fff" } }).composite(layers.flat());
  await writeFile(path, await sheet.png().toBuffer());
  return names.length;
}

function drawLabel(lines: readonly string[]): string {
  const texts = lines.map((line, i) => `<text x="1" y="${13 + 14 * i}" font-family="sans-serif" font-size="11">${line}</text>`);
  return `<svg width="${tile.width}" height="${tile.label}">${texts.join("")}</svg>`;
}
