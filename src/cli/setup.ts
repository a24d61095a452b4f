/** gesso setup torch: the Python side of the torch engine, in Gesso's own folder, in one command, and away again. */
import { formatBytes } from "../bytes.ts";
import { UserError } from "../errors.ts";
import { type BuildName, flopRate, planSetup, removeSetup, runSetup, type SetupPlan, torchBuilds } from "../index.ts";
import { defineCommand, type OptionValues, type Terminal } from "./command.ts";
import { cut, formatDuration, quotePath, wrapText } from "./format.ts";

const options = {
  python: {
    kind: "text",
    value: "PATH",
    about: "Your own Python: used as it is if PyTorch is in it, and otherwise only to make Gesso's environment with",
    default: "one that PyTorch has builds for",
  },
  build: {
    kind: "text",
    value: "NAME",
    about: "Which PyTorch.",
    default: "the one for the card and its driver",
    choices: torchBuilds.map(({ name }) => name),
  },
  index: {
    kind: "text",
    value: "WHERE",
    about: "Where packages come from: an address, a folder of wheels, or default for pip's own index",
    default: "PyTorch's own index",
  },
  installer: {
    kind: "text",
    value: "NAME",
    about: "What installs.",
    default: "uv where it is, else pip",
    choices: ["uv", "pip"],
  },
  yes: { kind: "switch", about: "Do not ask." },
  "dry-run": { kind: "switch", about: "Only print the commands." },
  remove: { kind: "switch", about: "Take away what setup has made." },
} as const;
type Options = OptionValues<typeof options>;

export const setupCommand = defineCommand({
  name: "setup",
  summary:
    "Install PyTorch into a folder of Gesso's own (~/.local/share/gesso/torch), for training on a graphics card. Nothing else on the machine is touched.",
  positionals: [{ name: "what", about: "torch", required: true }],
  options,
  examples: [
    "gesso setup torch",
    "gesso setup torch --dry-run",
    "gesso setup torch --python ~/ComfyUI/venv/bin/python",
    "gesso setup torch --remove",
  ],
  async run({ positionals: [what = ""], options: given }, terminal) {
    if (what !== "torch") {
      throw new UserError(`gesso setup cannot install "${what}".`, {
        fix: "It installs one thing: gesso setup torch.",
        exitCode: 2,
      });
    }
    if (given.remove === true) return remove(given, terminal);
    terminal.status("Looking at the card, its driver and Python …");
    const plan = await planSetup({
      env: process.env,
      python: given.python,
      build: given.build as BuildName | undefined,
      index: given.index,
      installer: given.installer as "uv" | "pip" | undefined,
      signal: terminal.signal,
    });
    if (given["dry-run"] === true) terminal.out(describeCommands(plan));
    if (given["dry-run"] === true) return 0;
    terminal.out(describePlan(plan, terminal.columns));
    if (given.yes !== true && plan.kind === "install" && !(await agrees(terminal))) return terminal.signal.aborted ? 130 : 1;
    return carryOut(plan, terminal);
  },
});

function describePlan(plan: SetupPlan, columns: number): string {
  if (plan.kind === "use") {
    const { python, answer } = plan;
    return wrapText(`${python} has PyTorch ${answer.torch}. Gesso will use it as it is; nothing is installed.`, columns);
  }
  const { build, reason, python, pythonVersion, installer, folder } = plan;
  return [
    `PyTorch    ${build.torch}, build ${build.name}: ${reason}`,
    `Python     ${pythonVersion} (${python}); it stays as it is`,
    `Into       ${folder}, by ${installer}`,
    `Download   about ${formatBytes(plan.downloadBytes)}; ${formatBytes(plan.installedBytes)} on the disk`,
    "Nothing else is touched, and gesso setup torch --remove undoes it.",
  ]
    .map((line) => wrapText(line, columns, 11))
    .join("\n");
}

function describeCommands(plan: SetupPlan): string {
  const last = `then Gesso computes with it and moves it to ${plan.folder}`;
  if (plan.kind === "use")
    return `# nothing is installed: ${plan.python} is used as it is\n# Gesso computes with it and notes it in ${plan.folder}`;
  const lines = plan.steps.map(({ command, args }) => [command, ...args].map(quotePath).join(" "));
  return [`# PyTorch ${plan.build.torch} (${plan.build.name}): ${plan.reason}`, ...lines, `# ${last}`].join("\n");
}

async function agrees(terminal: Terminal): Promise<boolean> {
  if (!terminal.ask) {
    throw new UserError("gesso setup torch asks before it downloads, and nobody can answer here.", {
      fix: "Give --yes to go on without asking, or --dry-run to see the commands.",
      exitCode: 2,
    });
  }
  const answer = await terminal.ask("Go on? [Y/n] ");
  const isYes = answer !== undefined && /^(y|yes|)$/i.test(answer.trim());
  if (!isYes) terminal.out("Nothing was done.");
  return isYes;
}

async function carryOut(plan: SetupPlan, terminal: Terminal): Promise<number> {
  const start = performance.now();
  let step = "";
  let line = "";
  const draw = (): void => {
    const time = formatDuration(Math.round((performance.now() - start) / 1000) * 1000);
    terminal.status(cut(`${step} (${time})${line === "" ? "" : `: ${line}`}`, terminal.columns - 1));
  };
  const timer = setInterval(draw, 500);
  try {
    const result = await runSetup(plan, {
      signal: terminal.signal,
      onStep(what) {
        step = `${what[0]?.toUpperCase() ?? ""}${what.slice(1)}`;
        line = "";
        if (terminal.isInteractive) draw();
        else terminal.out(`${step} …`);
      },
      onLine(text) {
        // What is there already, and warnings about pip itself, tell nothing.
        if (!/^(Collecting|Downloading|Installing|Resolved|Prepared|Installed|Processing|Saved)/.test(text)) return;
        line = text;
        if (!terminal.isInteractive) terminal.out(`  ${text}`);
      },
    });
    clearInterval(timer);
    if (!result) {
      terminal.out("Stopped. Nothing was left behind.");
      return 130;
    }
    const { info, check, python } = result;
    const device = info.name ?? "the processor";
    terminal.out(
      wrapText(
        `Done in ${formatDuration(performance.now() - start)}: PyTorch ${info.torch} on ${device} computes rightly (${check.matmul.what}: ${flopRate(check.matmul.flopsPerSecond)} in ${check.precision}).`,
        terminal.columns,
      ),
    );
    terminal.out(describeUse(info.device, python, terminal.columns));
    return 0;
  } finally {
    clearInterval(timer);
    terminal.status("");
  }
}

function describeUse(device: string, python: string, columns: number): string {
  if (device !== "cpu") return wrapText(`gesso train and gesso sample use it from now on (${python}).`, columns);
  return wrapText(
    `It has no graphics card here, so gesso train goes on using its own CPU engine, which is faster for small models; --engine torch takes PyTorch (${python}).`,
    columns,
  );
}

async function remove({ python, build, index }: Options, terminal: Terminal): Promise<number> {
  if (python !== undefined || build !== undefined || index !== undefined) {
    throw new UserError("gesso setup torch --remove takes no other option.", {
      fix: "gesso setup torch --remove",
      exitCode: 2,
    });
  }
  const removed = await removeSetup(process.env);
  terminal.out(removed.length === 0 ? "There is nothing to remove." : `Removed ${removed.join(" and ")}.`);
  return 0;
}
