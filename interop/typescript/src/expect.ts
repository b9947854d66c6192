// What the story insists on.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { Code, ConnectError } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import { ErrorReason } from "../gen/ihuman/error/v1/error_reason_pb.js";

/** The longest until a revocation must have reached every service. */
const REVOCATION_MAX_MS = 5_000;

let steps = 0;

/** Prints one step that was as it should be. */
export function say(line: string): void {
  steps += 1;
  console.log(`${String(steps).padStart(2)}. ${line}`);
}

/** What must be set. */
export function present<T>(value: T | undefined, what: string): T {
  assert.ok(value !== undefined, `expected ${what}`);
  return value;
}

/** A refusal as a program reads it: from the error's details, never from its message. */
export interface Refusal {
  metadata: Record<string, string>;
  /** What is wrong, by field. */
  violations: Record<string, string>;
}

/** Insists that the call is refused with this code and this reason. */
export async function refused(
  call: Promise<unknown>,
  code: Code,
  reason: ErrorReason,
): Promise<Refusal> {
  const error = ConnectError.from(await call.then(() => "the call succeeded", (it: unknown) => it));
  const [info] = error.findDetails(ErrorInfoSchema);
  const got = [Code[error.code], info?.domain, info?.reason];
  assert.deepEqual(got, [Code[code], "ihuman.dev", ErrorReason[reason]], error.message);
  const violations = error.findDetails(BadRequestSchema).flatMap((it) => it.fieldViolations);
  return {
    metadata: info?.metadata ?? {},
    violations: Object.fromEntries(violations.map((it) => [it.field, it.description])),
  };
}

/** Insists that the credentials of the call are soon refused as revoked; returns after how long. */
export async function soonRevoked(call: () => Promise<unknown>): Promise<number> {
  const since = performance.now();
  for (;;) {
    const works = await call().then(() => true, () => false);
    const elapsed = performance.now() - since;
    if (!works || elapsed > REVOCATION_MAX_MS) {
      await refused(call(), Code.Unauthenticated, ErrorReason.CREDENTIALS_REVOKED);
      return Math.round(elapsed);
    }
    await sleep(20);
  }
}
