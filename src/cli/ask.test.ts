import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { askForMissing, proposeTrigger } from "./ask.ts";
import type { Terminal } from "./command.ts";
import { runCli } from "./run.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gesso-ask-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** A person who gives these answers, then none. */
function person(...answers: string[]): { terminal: Terminal; asked: string[]; out: string[] } {
  const [asked, out]: [string[], string[]] = [[], []];
  const terminal: Terminal = {
    out: (text) => void out.push(text),
    err: (text) => void out.push(text),
    status: () => undefined,
    ask(question) {
      asked.push(question);
      return Promise.resolve(answers.shift());
    },
    isInteractive: true,
    columns: 80,
    signal: new AbortController().signal,
  };
  return { terminal, asked, out };
}

test("only what is missing is asked, and Enter takes what is proposed", async () => {
  const { terminal, asked } = person("", "");
  expect(await askForMissing("./10_Blue Fox", {}, terminal)).toEqual({
    dataset: "./10_Blue Fox",
    options: { type: "concept", trigger: "bluefox" },
    isStopped: false,
  });
  expect(asked).toEqual(["1, 2 or 3 [3]: ", "Trigger word [bluefox]: "]);
  const style = person("");
  expect((await askForMissing("./pictures", { type: "style" }, style.terminal)).options).toEqual({
    type: "style",
    trigger: "mystyle",
  });
  expect(style.asked).toEqual(["Trigger word [mystyle]: "]);
});

test("a folder is asked for until there is one; types are numbers or words; a dash is no trigger", async () => {
  const { terminal, out } = person("/no/such/folder", `"${folder}"`, "9", "char", "-");
  expect(await askForMissing(undefined, { rank: 8 }, terminal)).toEqual({
    dataset: folder,
    options: { rank: 8, type: "character" },
    isStopped: false,
  });
  expect(out).toContain("There is no folder /no/such/folder.");
  expect(out).toContain("It can be: character, style, concept.");
});

test("nothing is asked where nobody answers, with --json, with --yes, and where all is given", async () => {
  const { terminal, asked } = person("x");
  const complete = { type: "style", trigger: "inkwash" } as const;
  expect(await askForMissing("a", complete, terminal)).toMatchObject({ dataset: "a", options: complete });
  expect(await askForMissing("a", { json: true }, terminal)).toMatchObject({ options: { json: true } });
  expect(await askForMissing("a", { yes: true }, terminal)).toMatchObject({ options: { yes: true } });
  expect(await askForMissing(undefined, {}, { ...terminal, ask: undefined })).toMatchObject({
    dataset: undefined,
    options: {},
  });
  expect(asked).toEqual([]);
});

test("a question that is ended without an answer ends the command with 130", async () => {
  expect((await askForMissing("a", {}, person("1").terminal)).isStopped).toBe(true);
  expect(await runCli(["train", folder], person().terminal, "0.0.0")).toBe(130);
});

test("a folder's name becomes a trigger only where it says something", () => {
  expect(proposeTrigger("/x/Ink & Wash", "style")).toBe("inkwash");
  expect(proposeTrigger("/x/photos2", "character")).toBe("mychar");
  expect(proposeTrigger("/x/ab", "concept")).toBe("mything");
});

test("gesso by itself says what a LoRA is in five lines, and names the one command to try", async () => {
  const { terminal, out } = person();
  expect(await runCli([], { ...terminal, columns: 80 }, "0.0.0")).toBe(0);
  const [, what = ""] = out.join("\n").split("\n\n");
  expect(what).toMatch(/LoRA is a small file/);
  expect(what.split("\n")).toHaveLength(5);
  expect(out.join("\n")).toMatch(/^ {2}npx gesso demo$/m);
});
