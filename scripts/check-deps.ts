/**
 * Checks that every import goes in the direction that docs/architecture.md draws. Type-only imports are free. Run with --help for more.
 */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";

/** What each folder may import besides itself and the leaves: folders of src, "node:" or npm packages. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  bytes: [],
  words: [],
  html: [],
  processes: ["node:"],
  graph: [],
  autodiff: ["graph"],
  nn: ["graph"],
  models: ["graph", "nn"],
  diffusion: ["graph"],
  formats: ["node:", "sharp"],
  lora: ["graph", "formats", "models", "diffusion", "node:", "ml-matrix"],
  engines: ["graph", "formats", "processes", "node:", "onnxruntime-node", "onnx-buf", "@bufbuild/protobuf"],
  dataset: ["formats", "processes", "node:"],
  doctor: ["engines", "node:"],
  planner: ["graph", "nn", "models", "lora", "diffusion"],
  checkpoints: ["graph", "formats", "models", "nn", "diffusion", "lora", "engines", "node:"],
  trainer: [
    "graph",
    "autodiff",
    "formats",
    "models",
    "nn",
    "lora",
    "diffusion",
    "dataset",
    "checkpoints",
    "planner",
    "engines",
    "processes",
    "node:",
  ],
  index: [
    "processes",
    "node:",
    "dataset",
    "doctor",
    "planner",
    "trainer",
    "checkpoints",
    "engines",
    "lora",
    "formats",
    "graph",
    "diffusion",
    "models",
  ],
  cli: ["index", "node:"],
};

/** Single files that any folder may import. */
const leaves = ["errors", "bytes", "words", "html"];

/** Files of a folder that must not see its wider licence. */
const pure = ["graph", "autodiff", "nn", "models", "diffusion", "planner"];

function moduleOf(file: string): string {
  const [first = ""] = path.relative("src", file).split(path.sep);
  return first.replace(/\.ts$/, "");
}

function packageOf(specifier: string): string {
  if (specifier.startsWith("node:")) return "node:";
  const parts = specifier.split("/");
  return specifier.startsWith("@") ? parts.slice(0, 2).join("/") : (parts[0] ?? specifier);
}

/** The specifiers a file imports at run time. */
function runtimeImports(file: string): string[] {
  const source = ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.Latest);
  return source.statements.flatMap((statement) => {
    if (ts.isImportDeclaration(statement) && !statement.importClause?.isTypeOnly) return specifierOf(statement.moduleSpecifier);
    if (ts.isExportDeclaration(statement) && statement.moduleSpecifier && !statement.isTypeOnly) {
      return specifierOf(statement.moduleSpecifier);
    }
    return [];
  });
}

function specifierOf(node: ts.Expression): string[] {
  return ts.isStringLiteral(node) ? [node.text] : [];
}

function findViolations(file: string): string[] {
  const from = moduleOf(file);
  const may = allowed[from];
  if (!may) return [`${file}: folder ${from} is not in the table of scripts/check-deps.ts`];
  return runtimeImports(file).flatMap((specifier) => {
    const to = specifier.startsWith(".") ? moduleOf(path.join(path.dirname(file), specifier)) : packageOf(specifier);
    const fine = to === from || leaves.includes(to) || may.includes(to);
    return fine ? [] : [`${file}: ${from} may not import ${to} (${specifier})`];
  });
}

function main(): void {
  if (process.argv.includes("--help")) {
    console.log("Usage: npm run deps\nFails when a file under src imports against the direction of docs/architecture.md.");
    return;
  }
  for (const folder of pure) {
    if (allowed[folder]?.some((name) => name.endsWith(":"))) throw new Error(`check-deps: ${folder} must stay pure`);
  }
  const files = readdirSync("src", { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
    .map((name) => path.join("src", name));
  const violations = files.flatMap(findViolations);
  for (const violation of violations) console.error(violation);
  if (violations.length > 0) process.exitCode = 1;
  else console.log(`${files.length} files import in the right direction.`);
}

main();
