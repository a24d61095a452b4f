/** Why an installation failed, in a sentence, from what the installer printed. */
import { UserError } from "../../errors.ts";
import { findMessage, type KnownMessage } from "../finding.ts";
import { oneLine } from "../run-tool.ts";

/** Of pip, uv and venv. The first that fits counts: a network that is down makes pip say in the end that there is no such version. */
const installerMessages: readonly KnownMessage[] = [
  {
    pattern: /No space left on device|Errno 28|disk full|not enough space|os error 112/i,
    id: "no-room",
    cause: "the disk is full",
    mend: "Make room and run gesso setup torch again.",
  },
  {
    pattern: /ensurepip is not\s+available|No module named '?(venv|ensurepip)/i,
    id: "no-venv",
    cause: "this Python was installed without venv",
    mend: "Install it (Debian and Ubuntu: sudo apt install python3-venv), or install uv, which needs none.",
  },
  {
    pattern: /CERTIFICATE_VERIFY_FAILED|certificate verify failed|invalid peer certificate|SSLError/i,
    id: "certificate",
    cause: "the index's certificate is not trusted here, as behind a company's proxy",
    mend: "Tell pip of the company's certificate (PIP_CERT, or SSL_CERT_FILE for uv), and run gesso setup torch again.",
  },
  {
    pattern:
      /Name or service not known|getaddrinfo|Temporary failure in name resolution|dns error|NewConnectionError|Network is unreachable|ConnectTimeout|Connection refused|ProxyError|Failed to establish a new connection|error sending request|tcp connect error|client error \(Connect\)/i,
    id: "no-network",
    cause: "the index cannot be reached",
    mend: "Look whether this machine is online. Behind a proxy, set HTTPS_PROXY; with an index of your own, --index ADDRESS; without any network, --index FOLDER with the wheels.",
  },
  {
    pattern:
      /Read timed out|ConnectionResetError|IncompleteRead|ProtocolError|operation timed out|connection (was )?(reset|closed)|unexpected EOF/i,
    id: "network-broke",
    cause: "the connection broke while it was downloading",
    mend: "Run gesso setup torch again.",
  },
  {
    pattern: /DO NOT MATCH THE HASHES|hash mismatch|BadZipFile|invalid (Zip|wheel)|Bad magic number/i,
    id: "damaged",
    cause: "what was downloaded is damaged",
    mend: "Run gesso setup torch again; if it stays, a proxy on the way changes files.",
  },
  {
    pattern: /HTTP error 40[13]|40[13] (Client Error|Forbidden|Unauthorized)|status client error \(40[13]/i,
    id: "forbidden",
    cause: "the index refuses to answer",
    mend: "Look at the address given with --index, and at what pip's configuration says (pip config list).",
  },
  {
    pattern:
      /No matching distribution|Could not find a version|no version of|No solution found|not found in the (package )?registry|404/i,
    id: "no-build",
    cause: "the index has no such build for this Python and system",
    mend: "Give another Python with --python, another --build, or another --index.",
  },
  {
    pattern: /Permission denied|Errno 13|Access is denied|os error (5|13)\b/i,
    id: "permission",
    cause: "Gesso's own folder cannot be written",
    mend: "Look who owns ~/.local/share/gesso, or set XDG_DATA_HOME to a folder of yours.",
  },
];

/** @param said all that the installer printed last */
export function explainInstall(what: string, said: string): UserError {
  const known = findMessage(installerMessages, said);
  const lines = said.split("\n").filter((line) => line.trim() !== "");
  const telling = lines.filter((line) => /error/i.test(line)).at(-1) ?? lines.at(-1) ?? "it said nothing";
  const cause = known ? `${known.cause} ("${oneLine(telling)}")` : `"${oneLine(telling)}"`;
  return new UserError(`Could not ${what}: ${cause}. Nothing was left behind.`, {
    fix: known?.mend ?? "gesso setup torch --dry-run prints the commands; run them by hand to see more.",
  });
}
