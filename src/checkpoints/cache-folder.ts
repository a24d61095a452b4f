/** Where Gesso keeps what it can make again. */
import { homedir } from "node:os";
import { join } from "node:path";

/** The user's cache folder, by the custom of the system. */
export function userCacheFolder(): string {
  const { XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (process.platform === "win32" && LOCALAPPDATA) return join(LOCALAPPDATA, "gesso", "cache");
  return join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "gesso");
}
