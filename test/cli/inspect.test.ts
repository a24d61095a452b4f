import type { ChildProcess } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import type { Sharp } from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DatasetReport, inspectDataset, mendDataset } from "../../src/index.ts";
import { renderReportPage } from "../../src/cli/inspect-html.ts";
import { describeReport } from "../../src/cli/inspect-page.ts";

let root: string;
let folder: string;

/** A scene of its own for each number, with sharp edges. */
function scene(seed: number, size = 320): Sharp {
  const shapes = Array.from({ length: 30 }, (_, i) => {
    const [x, y] = [((i + 3) * seed * 97) % size, ((i + 5) * seed * 61) % size];
    return `<rect x="${x}" y="${y}" width="${10 + ((i * seed * 7) % 60)}" height="${10 + ((i * seed * 11) % 60)}" fill="hsl(${(seed * 67 + i * 29) % 360} 60% ${30 + ((i * 9) % 50)}%)"/>`;
  });
  const ground = `hsl(${(seed * 113) % 360} 40% 60%)`;
  const svg = `<svg width="${size}" height="${size}"><rect width="${size}" height="${size}" fill="${ground}"/>${shapes.join("")}</svg>`;
  return sharp(Buffer.from(svg)).flatten();
}

async function add(name: string, picture: Sharp, caption?: string): Promise<void> {
  await writeFile(
    join(folder, name),
    name.endsWith(".jpg") ? await picture.jpeg({ quality: 92 }).toBuffer() : await picture.png().toBuffer(),
  );
  if (caption !== undefined) await writeFile(join(folder, name.replace(/\.\w+$/, ".txt")), caption);
}

async function inspect(
  options: Parameters<typeof inspectDataset>[1] = {},
): Promise<{ report: DatasetReport; remembered: number }> {
  let remembered = 0;
  for await (const event of inspectDataset(folder, { cacheFolder: join(root, "cache"), trigger: "zorble", ...options })) {
    if (event.type === "progress") remembered = event.remembered;
    if (event.type === "done") return { report: event.report, remembered };
  }
  throw new Error("no report");
}

const named = (report: DatasetReport, id: string): readonly string[] =>
  report.findings.filter((finding) => finding.id === id).flatMap(({ pictures }) => pictures.map(({ name }) => name));

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "gesso-inspect-"));
  folder = join(root, "photos");
  await mkdir(folder);
  for (const seed of [1, 2, 3, 4, 5])
    await add(`clean-${seed}.png`, scene(seed), `zorble, a heap of boxes number ${seed} on a table in daylight`);
  await writeFile(join(folder, "copy.png"), await readFile(join(folder, "clean-1.png")));
  await writeFile(join(folder, "copy.txt"), "zorble");
  await add("mirrored.jpg", sharp(await scene(2).flop().png().toBuffer()), "zorble, boxes on a wall, night");
  await add(
    "barred.jpg",
    sharp(await scene(6).png().toBuffer()).extend({ top: 40, bottom: 40, background: "#000" }),
    "boxes, night sky",
  );
  await add("misspelt.png", scene(7), "zorbel, boxes in a street at noon");
  await add("small.png", scene(8, 48), "zorble, boxes in the sun");
  await add("silent.png", scene(9));
  await writeFile(join(folder, "broken.png"), "this is no picture");
});

afterAll(() => rm(root, { recursive: true }));

describe("inspectDataset", () => {
  test("finds what is wrong, and names the pictures", async () => {
    const { report } = await inspect();
    expect(named(report, "copies.exact")).toEqual(["clean-1", "copy"]);
    expect(named(report, "copies.mirrored")).toEqual(["clean-2", "mirrored"]);
    expect(named(report, "frame.border")).toEqual(["barred"]);
    expect(named(report, "resolution.small")).toEqual(["small"]);
    expect(named(report, "caption.missing")).toEqual(["silent"]);
    expect(named(report, "trigger.absent")).toEqual(["barred"]);
    expect(named(report, "trigger.variant")).toEqual(["misspelt"]);
    expect(report.findings.find(({ id }) => id === "file")).toMatchObject({ severity: "error" });
    expect(report.pictures).toHaveLength(11);
  });

  test("counts tokens with the base's own tokenizer, and exactly as CLIP for a family", async () => {
    const { report } = await inspect({ base: "sdxl", trigger: "sks" });
    expect(report.trigger).toMatchObject({ tokenIds: [48136] });
    expect(report.target.tokenizer).toBe("CLIP");
    expect((await inspect()).report.target.tokenizer).toBe("mini");
  });

  test("a second inspection measures nothing again, and one of a changed picture only that", async () => {
    await inspect();
    expect((await inspect()).remembered).toBe(11);
    await add("clean-5.png", scene(15));
    expect((await inspect()).remembered).toBe(10);
  });

  test("stopped in the middle it keeps what was measured", async () => {
    const stop = new AbortController();
    const cacheFolder = join(root, "stopped");
    const types: string[] = [];
    for await (const event of inspectDataset(folder, { cacheFolder, signal: stop.signal })) {
      types.push(event.type);
      stop.abort();
    }
    expect(types.at(-1)).toBe("stopped");
    const { remembered } = await inspect({ cacheFolder });
    expect(remembered).toBeGreaterThan(0);
    expect(remembered).toBeLessThan(11);
  });

  test("what is known by its content is not measured again under another name", async () => {
    const cacheFolder = join(root, "renamed");
    const moved = join(root, "moved");
    await mkdir(moved);
    await writeFile(join(moved, "before.png"), await scene(21).png().toBuffer());
    const counts: number[] = [];
    for (const name of ["before.png", "after.png"]) {
      if (name === "after.png") await rename(join(moved, "before.png"), join(moved, name));
      for await (const event of inspectDataset(moved, { cacheFolder }))
        if (event.type === "progress" && event.phase === "measure") counts.push(event.remembered);
    }
    expect(counts).toEqual([0, 1]);
  });

  test("when a measuring process comes to an end, that is said in one sentence", async () => {
    const end = (message: unknown): void => {
      unsubscribe("child_process", end);
      (message as { readonly process: ChildProcess }).process.once("spawn", function (this: ChildProcess) {
        this.kill("SIGKILL");
      });
    };
    subscribe("child_process", end);
    const inspection = inspect({ cacheFolder: undefined });
    await expect(inspection).rejects.toThrow(/^A process that measures pictures came to an end \(SIGKILL\) while it had /);
    await expect(inspection).rejects.toMatchObject({ fix: expect.stringContaining("what was measured is kept") as string });
  });

  test("a report survives JSON, and its page asks for nothing from elsewhere", async () => {
    const { report } = await inspect();
    expect(JSON.parse(JSON.stringify(report))).toMatchObject({ counts: report.counts });
    const page = await renderReportPage(report);
    expect(page.match(/(?:src|href)=(?!"(?:#f\d|data:))|url\((?!data:)/g)).toBeNull();
    expect(page).toContain("pixel for pixel");
    expect(
      describeReport(report, { columns: 80, showAll: false })
        .split("\n")
        .filter((line) => line.length > 80),
    ).toEqual([]);
  });
});

describe("mendDataset", () => {
  test("mends a copy and leaves the dataset as it was", async () => {
    const before = await snapshot(folder);
    const { report } = await inspect();
    const out = join(root, "mended");
    const mended = await mendDataset(report, out);
    expect(mended.dropped).toEqual([{ name: "copy", copyOf: "clean-1" }]);
    expect(mended.trimmed.map(({ name }) => name)).toEqual(["barred"]);
    expect(await readFile(join(out, "barred.txt"), "utf8")).toBe("zorble, boxes, night sky\n");
    expect(await readFile(join(out, "misspelt.txt"), "utf8")).toBe("zorble, boxes in a street at noon\n");
    // Bars of 40 px, and 2 px next to each that compression has mixed them into.
    expect(await sharp(join(out, "barred.png")).metadata()).toMatchObject({ width: 320, height: 400 - 2 * (40 + 2) });
    expect(await readdir(out)).not.toContain("silent.txt");
    expect(await snapshot(folder)).toEqual(before);
    await expect(mendDataset(report, out)).rejects.toThrow("holds");
    await expect(mendDataset(report, join(folder, "inside"))).rejects.toThrow("inside the dataset");
  });
});

test("a bar on one side alone is told, and left for a person to cut", async () => {
  const own = join(root, "one-bar");
  await mkdir(own);
  const ledge = sharp(await scene(9).png().toBuffer()).extend({ bottom: 40, background: "#000" });
  await writeFile(join(own, "ledge.png"), await ledge.png().toBuffer());
  for await (const event of inspectDataset(own, { cacheFolder: undefined })) {
    if (event.type !== "done") continue;
    expect(named(event.report, "frame.border")).toEqual(["ledge"]);
    expect((await mendDataset(event.report, join(root, "one-bar-mended"))).trimmed).toEqual([]);
  }
  expect(await sharp(join(root, "one-bar-mended", "ledge.png")).metadata()).toMatchObject({ width: 320, height: 360 });
});

async function snapshot(path: string): Promise<readonly string[]> {
  const names = (await readdir(path)).sort();
  return Promise.all(names.map(async (name) => `${name} ${(await readFile(join(path, name))).toString("base64")}`));
}
