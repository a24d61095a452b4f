/** A process that makes a prospect, and ends. */
import { answerParent } from "../processes.ts";
import { prospectRun } from "./prospect.ts";

answerParent(prospectRun);
