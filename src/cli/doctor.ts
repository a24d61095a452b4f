/** gesso doctor: what this machine can do, what is in the way of training, and what mends it. */
import { hostname, userInfo, homedir } from "node:os";
import { examineMachine, redactReport } from "../index.ts";
import { defineCommand } from "./command.ts";
import { describeDoctor } from "./doctor-page.ts";

export const doctorCommand = defineCommand({
  name: "doctor",
  summary:
    "Say what this machine can do, what is in the way of training, and what mends it. Nothing is changed; 64 MB are written for a moment to time the disk.",
  positionals: [],
  options: {
    python: { kind: "text", value: "PATH", about: "Look at this Python alone.", default: "those that gesso train finds" },
    out: { kind: "text", value: "DIR", about: "Where runs are to be made.", default: "runs" },
    copy: { kind: "switch", about: "A report to paste into a question or an issue: no private folders, no names." },
    json: { kind: "switch", about: "Print all that was found as JSON; with --copy, without what is private." },
  },
  examples: ["gesso doctor", "gesso doctor --python ~/venv/bin/python", "gesso doctor --copy"],
  async run({ options }, terminal) {
    const report = await examineMachine({
      python: options.python,
      runsFolder: options.out ?? "runs",
      signal: terminal.signal,
      onProgress: (what) => terminal.status(`Looking at ${what} …`.slice(0, terminal.columns - 1)),
    });
    terminal.status("");
    if (terminal.signal.aborted) return 130;
    const words = { home: homedir(), user: userName(), host: hostname() };
    const shown = options.copy === true ? redactReport(report, words) : report;
    if (options.json === true) terminal.out(JSON.stringify(shown, null, 2));
    else if (options.copy === true)
      terminal.out(`\`\`\`\n${describeDoctor(shown, { columns: 100, isColoured: false, home: "" })}\n\`\`\``);
    else {
      const isColoured = terminal.isInteractive && !process.env.NO_COLOR;
      terminal.out(describeDoctor(shown, { columns: terminal.columns, isColoured, home: words.home }));
    }
    return report.verdict.canTrain ? 0 : 1;
  },
});

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return ""; // A container may run as a number without a name.
  }
}
