/** Everything that is measured of an engine before a run. */
import { checkEngine, type EngineCheck } from "./check-engine.ts";
import type { DeviceProfile, Engine } from "./engine.ts";

/** An engine that finds its device's rates by itself. */
export interface MeasurableEngine extends Engine {
  measureProfile(): Promise<DeviceProfile>;
}

/** Plain data: it crosses processes. */
export interface MeasuredEngine {
  /** With measured rates. */
  readonly profile: DeviceProfile;
  /** Whether it computes rightly; undefined where that was not looked at. */
  readonly check?: EngineCheck | undefined;
}

export async function measureEngine(engine: MeasurableEngine): Promise<MeasuredEngine> {
  const profile = await engine.measureProfile();
  // Of several workers each has a card of its own, and only the first would be looked at.
  const check = (engine.workers ?? 1) === 1 ? await checkEngine(engine) : undefined;
  return { profile, check };
}
