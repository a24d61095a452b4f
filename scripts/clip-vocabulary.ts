/** Makes models/clip-vocabulary/merges.txt.br from the vocabulary file that OpenAI published with CLIP. */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { brotliCompressSync, constants, gunzipSync } from "node:zlib";
import { UserError } from "../src/errors.ts";

const help = `Makes models/clip-vocabulary/merges.txt.br: the part of CLIP's vocabulary file that CLIP uses, compressed.

Usage: npx tsx scripts/clip-vocabulary.ts --from FILE [--out FILE]
  --from FILE   bpe_simple_vocab_16e6.txt.gz, as it lies in the Python package open_clip_torch 3.3.0
  --out FILE    default models/clip-vocabulary/merges.txt.br

First: pip download --no-deps open_clip_torch==3.3.0 && unzip open_clip_torch-3.3.0-py3-none-any.whl 'open_clip/*.gz'
Example: npx tsx scripts/clip-vocabulary.ts --from open_clip/bpe_simple_vocab_16e6.txt.gz`;

/** SHA-256 of the file in open_clip_torch 3.3.0, and in OpenAI's own repository. */
const publishedHash = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a";
/** The file lists 262,144 merges; CLIP has room for so many: 49,408 tokens less 512 of single bytes and two marks. */
const mergeCount = 49_408 - 512 - 2;

const { values } = parseArgs({
  options: {
    from: { type: "string" },
    out: { type: "string", default: "models/clip-vocabulary/merges.txt.br" },
    help: { type: "boolean" },
  },
});
if (values.help === true || values.from === undefined) {
  console.log(help);
  process.exitCode = values.help === true ? 0 : 2;
} else {
  const packed = readFileSync(values.from);
  const hash = createHash("sha256").update(packed).digest("hex");
  if (hash !== publishedHash) {
    throw new UserError(`${values.from} has the SHA-256 ${hash}, not ${publishedHash}.`, {
      fix: "Take the file from open_clip_torch 3.3.0.",
    });
  }
  // The first line is a heading.
  const merges = gunzipSync(packed)
    .toString("utf8")
    .split("\n")
    .slice(1, mergeCount + 1);
  const text = merges.join("\n") + "\n";
  const { BROTLI_PARAM_QUALITY, BROTLI_PARAM_LGWIN, BROTLI_PARAM_MODE, BROTLI_MODE_TEXT } = constants;
  const params = { [BROTLI_PARAM_QUALITY]: 11, [BROTLI_PARAM_LGWIN]: 24, [BROTLI_PARAM_MODE]: BROTLI_MODE_TEXT };
  const bytes = brotliCompressSync(text, { params });
  writeFileSync(values.out, bytes);
  console.log(`${values.out}: ${merges.length} merges in ${bytes.length} bytes`);
}
