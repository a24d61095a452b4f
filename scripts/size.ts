/** Lists the longest files and functions, against the aims of docs/architecture.md: files of 300 lines, functions of 40; and the worker's lines. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";
import { countPythonFolder, mostWorkerLines, workerFolder } from "./count-python.ts";

interface Measured {
  readonly name: string;
  readonly lines: number;
}

function measureFile(file: string): { file: Measured; functions: Measured[] } {
  const text = readFileSync(file, "utf8");
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const lineOf = (position: number): number => source.getLineAndCharacterOfPosition(position).line;
  const functions: Measured[] = [];
  const visit = (node: ts.Node): void => {
    if ((ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node)) && node.body) {
      functions.push({ name: `${file} ${node.name?.getText() ?? ""}`, lines: lineOf(node.end) - lineOf(node.getStart()) + 1 });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return { file: { name: file, lines: text.split("\n").length }, functions };
}

function printWorst(title: string, measured: Measured[], aim: number): void {
  const worst = measured.filter(({ lines }) => lines > aim).sort((a, b) => b.lines - a.lines);
  console.log(`${title} over ${aim} lines: ${worst.length} of ${measured.length}`);
  for (const { name, lines } of worst.slice(0, 15)) console.log(`  ${String(lines).padStart(5)}  ${name}`);
}

if (process.argv.includes("--help")) {
  console.log("Usage: npm run size\nLists the files and functions that are longer than the project aims for.");
} else {
  const measured = ["src", "scripts", "bench"]
    .flatMap((folder) => readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => path.join(folder, name)))
    .filter((name) => name.endsWith(".ts") && !name.includes("node_modules"))
    .map(measureFile);
  printWorst(
    "Files",
    measured.map(({ file }) => file),
    300,
  );
  printWorst(
    "Functions",
    measured.flatMap(({ functions }) => functions),
    40,
  );
  console.log(
    `The torch engine's worker: ${countPythonFolder(workerFolder)} lines of Python code, of fewer than ${mostWorkerLines}`,
  );
}
