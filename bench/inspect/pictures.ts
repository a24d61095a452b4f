/** Fetches the photographs and drawings that the proof of the dataset inspection plants its faults in. Run with --help for more. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { packages, pictureFolder } from "./sources.ts";

const help = `Fetches the Debian packages whose pictures the proof of gesso inspect is made with, and unpacks them into ${pictureFolder}.
Nothing is installed. Needs apt-get and dpkg-deb, so Debian or one of its children.

Usage: npx tsx bench/inspect/pictures.ts

${packages.map(({ name, licence }) => `  ${name.padEnd(30)}  ${licence}`).join("\n")}

Then: npm run bench -- inspect-proof`;

if (process.argv.includes("--help")) console.log(help);
else {
  mkdirSync(pictureFolder, { recursive: true });
  for (const { name } of packages) {
    const target = join(pictureFolder, name);
    execFileSync("apt-get", ["download", name], { cwd: pictureFolder, stdio: "inherit" });
    const file = readdirSync(pictureFolder).find((entry) => entry.startsWith(`${name}_`) && entry.endsWith(".deb"));
    if (!file) throw new Error(`pictures: apt-get left no package ${name} in ${pictureFolder}`);
    mkdirSync(target, { recursive: true });
    execFileSync("dpkg-deb", ["-x", join(pictureFolder, file), target]);
    rmSync(join(pictureFolder, file));
  }
}
