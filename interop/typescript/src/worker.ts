// A worker: leases executions of one skill, carries them out and reports.

import assert from "node:assert/strict";

import { type JsonObject, fromJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";

import { type LeaseReport, LeaseState } from "../gen/ihuman/catalog/v1/worker_pb.js";
import type { Clients } from "./clients.js";
import { present } from "./expect.js";

/** Works until the signal is aborted. */
export async function work(clients: Clients, skillName: string, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    const request = { worker: "typescript", skillNames: [skillName], wait: { seconds: 1n } };
    const { leasedExecutions } = await clients.workers.leaseExecutions(request);
    for (const { execution, leaseId } of leasedExecutions) {
      const { id: executionId, parameters } = present(execution, "an execution");
      await carryOut(clients, { executionId, leaseId }, parameters ?? {});
    }
  }
}

async function carryOut(
  { workers }: Clients,
  lease: { executionId: string; leaseId: string },
  parameters: JsonObject,
): Promise<void> {
  const report = async (step: string, percent: number, message: string) =>
    counted(await workers.reportProgress({ progress: [{ lease, step, percent, message }] }));

  await report("split", 25, "Splitting the text into words");
  const words = String(parameters["text"]).split(/\s+/u).filter(Boolean);

  await report("count", 75, `Counting ${words.length} words`);
  const longest = words.reduce((a, b) => (b.length > a.length ? b : a), "");
  const result = fromJson(ValueSchema, { words: words.length, longest });
  counted(await workers.completeExecutions({ completions: [{ lease, result }] }));
}

function counted({ reports }: { reports: LeaseReport[] }): void {
  assert.deepEqual(reports.map((it) => LeaseState[it.state]), ["HELD"]);
}
