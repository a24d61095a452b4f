/**
 * Gesso's half of make_fixtures.py: writes the adapter file that diffusers then loads.
 *
 * Usage: npx tsx interop/gesso/write-fixture-adapter.ts sd15|sdxl CONFIG.json OUT.safetensors
 */
import { readFile } from "node:fs/promises";
import { parseUnetConfig } from "../../src/models/unet/config.ts";
import { writeFixtureAdapter } from "../../test/parity/fixture-adapter.ts";

const [family = "", configPath = "", outPath = ""] = process.argv.slice(2);
if (family !== "sd15" && family !== "sdxl") throw new Error(`sd15 or sdxl needed, got ${family}`);
await writeFixtureAdapter(outPath, family, parseUnetConfig(JSON.parse(await readFile(configPath, "utf8"))));
