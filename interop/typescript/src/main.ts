// The main story, over gRPC-Web: a skill is published, run and proved to have run.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import { toJson } from "@bufbuild/protobuf";
import { ValueSchema, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";

import { Role } from "../gen/ihuman/access/v1/access_pb.js";
import type { Tokens } from "../gen/ihuman/auth/v1/auth_pb.js";
import type { User } from "../gen/ihuman/auth/v1/user_pb.js";
import { AuditOutcome } from "../gen/ihuman/catalog/v1/audit_pb.js";
import { type ExecutionChange, ExecutionState } from "../gen/ihuman/catalog/v1/execution_pb.js";
import { Difficulty, type Skill, SkillSchema } from "../gen/ihuman/catalog/v1/skill_pb.js";
import { ErrorReason } from "../gen/ihuman/error/v1/error_reason_pb.js";
import { type Clients, connect, environment } from "./clients.js";
import { present, refused, say, soonRevoked } from "./expect.js";
import { work } from "./worker.js";

const suffix = randomUUID().slice(-12);
const nobody = connect();

const admin = await logIn(environment("IHUMAN_ADMIN_EMAIL"), environment("IHUMAN_ADMIN_PASSWORD"));
const ada = await register("Ada");
await promote(ada.user);
const developer = await logIn(ada.email, ada.password);
await showCurrentUser(developer.clients, ada.user);
const skill = await publish(developer.clients);
await readOverJson(developer, skill);
await refuseParameters(developer.clients, skill);
const apiKey = await issueKey(admin.clients);
const executionId = await run(developer.clients, skill, apiKey);
await showResult(developer.clients, executionId);
const grace = await refuseViewer(skill);
await refreshAndLogOut(developer.tokens, skill);
await readAuditTrail(admin.clients, executionId, grace);
console.log("All of it was as it should be.");

async function logIn(email: string, password: string) {
  const response = await nobody.auth.login({ email, password });
  const tokens = present(response.tokens, "tokens");
  say(`${email} logs in: session ${tokens.sessionId}`);
  return { tokens, clients: connect(`Bearer ${tokens.accessToken}`) };
}

async function register(displayName: string) {
  const email = `${displayName.toLowerCase()}-${suffix}@example.com`;
  const account = { email, password: randomUUID(), displayName, requestId: randomUUID() };
  const user = present((await nobody.auth.register(account)).user, "a user");
  assert.equal(user.email, email);
  assert.equal(user.role, Role.VIEWER);
  const again = await nobody.auth.register(account);
  assert.equal(again.user?.id, user.id, "a retry must open no second account");
  say(`${displayName} registers: ${user.id}, a viewer`);
  return { ...account, user };
}

async function promote(user: User): Promise<void> {
  const { user: changed } = await admin.clients.users.setUserRole({
    userId: user.id,
    role: Role.DEVELOPER,
  });
  assert.equal(changed?.role, Role.DEVELOPER);
  say(`The administrator makes ${user.displayName} a developer`);
}

async function showCurrentUser({ auth }: Clients, { id }: User): Promise<void> {
  const { user, permissions } = await auth.getCurrentUser({});
  assert.equal(user?.id, id);
  assert.ok(permissions.includes("skills:write"), `skills:write is not in ${permissions}`);
  say(`GetCurrentUser: ${user.email} with ${permissions.length} permissions`);
}

async function publish({ skills }: Clients): Promise<Skill> {
  const request = {
    skill: {
      name: `longest-word-${suffix}`,
      description: "Counts the words of a text and finds the longest.",
      license: "Apache-2.0",
      body: "Split the text at white space; count what is left.",
      parametersSchema: {
        type: "object",
        properties: { text: { type: "string", minLength: 1 } },
        required: ["text"],
        additionalProperties: false,
      },
      category: "text",
      difficulty: Difficulty.BEGINNER,
      tags: ["words"],
    },
    requestId: randomUUID(),
  };
  const skill = present((await skills.createSkill(request)).skill, "a skill");
  assert.equal(skill.version, 1);
  assert.deepEqual(skill.parametersSchema, request.skill.parametersSchema);
  assert.match(skill.digest, /^[0-9a-f]{64}$/);
  say(`She publishes ${skill.name}: version ${skill.version}, ${skill.digest.slice(0, 12)}…`);
  return skill;
}

async function readOverJson({ tokens }: { tokens: Tokens }, expected: Skill): Promise<void> {
  const { skills } = connect(`Bearer ${tokens.accessToken}`, "json");
  const byName = (value: string) => skills.getSkill({ skill: { case: "name", value } });
  const skill = present((await byName(expected.name)).skill, "a skill");
  assert.deepEqual(toJson(SkillSchema, skill), toJson(SkillSchema, expected));
  const absent = byName(`no-such-skill-${suffix}`);
  const { metadata } = await refused(absent, Code.NotFound, ErrorReason.NOT_FOUND);
  assert.deepEqual(metadata, { kind: "skill" });
  say("GetSkill over JSON: the same skill; NOT_FOUND for another name");
}

async function refuseParameters({ executions }: Clients, { id }: Skill): Promise<void> {
  const parameters = { text: 7, colour: "blue" };
  const { violations } = await refused(
    executions.createExecution({ skillId: id, parameters }),
    Code.InvalidArgument,
    ErrorReason.INVALID_FIELD,
  );
  assert.deepEqual(Object.keys(violations).sort(), ["parameters.colour", "parameters.text"]);
  say(`Wrong parameters are refused: ${JSON.stringify(violations)}`);
}

async function issueKey({ users, apiKeys }: Clients): Promise<string> {
  const name = `worker ${suffix}`;
  const { user } = await users.createServiceAccount({ displayName: name, role: Role.SERVICE });
  const { apiKey, key } = await apiKeys.createApiKey({
    name,
    scopes: ["executions:write"],
    expireTime: timestampFromMs(Date.now() + 3_600_000),
    userId: present(user, "a user").id,
  });
  assert.deepEqual(apiKey?.scopes, ["executions:write"]);
  const { permissions, apiKeyId } = await connect(`ApiKey ${key}`).auth.getCurrentUser({});
  assert.deepEqual([permissions, apiKeyId], [["executions:write"], apiKey.id]);
  say(`A worker gets a service account and the API key ${apiKey.id}`);
  return key;
}

/** Runs the skill on a worker of this program and watches every change. */
async function run({ executions }: Clients, skill: Skill, apiKey: string): Promise<string> {
  const { execution } = await executions.createExecution({
    skillId: skill.id,
    parameters: { text: "a skill is a reusable capability" },
    requestId: randomUUID(),
  });
  const { id, skillDigest } = present(execution, "an execution");
  assert.equal(skillDigest, skill.digest);
  say(`She runs it: execution ${id}`);

  const stop = new AbortController();
  let working = Promise.resolve();
  const changes: ExecutionChange[] = [];
  for await (const { update } of executions.watchExecution({ executionId: id })) {
    if (update.case === "snapshot") {
      assert.equal(update.value.state, ExecutionState.QUEUED);
      assert.equal(update.value.revision, 1n);
      working = work(connect(`ApiKey ${apiKey}`), skill.name, stop.signal);
      // A worker that fails must not leave the watch waiting for it.
      working.catch(fail);
    } else {
      changes.push(present(update.value, "a change"));
    }
  }
  stop.abort();
  await working;

  assert.deepEqual(changes.map((it) => it.revision), changes.map((_, index) => BigInt(index + 2)));
  const seen = changes.map((it) => `${ExecutionState[it.state]} ${it.progressPercent} ${it.step}`);
  assert.equal(seen[0], "RUNNING 0 ");
  assert.deepEqual(seen.slice(1, 3), ["RUNNING 25 split", "RUNNING 75 count"]);
  assert.equal(changes.at(-1)?.state, ExecutionState.SUCCEEDED);
  say(`She watches it: ${seen.map((it) => it.trim()).join(", ")}`);
  return id;
}

function fail(error: unknown): never {
  console.error(error);
  process.exit(1);
}

async function showResult({ executions }: Clients, executionId: string): Promise<void> {
  const execution = present((await executions.getExecution({ executionId })).execution, "an execution");
  const result = toJson(ValueSchema, present(execution.result, "a result"));
  assert.equal(execution.state, ExecutionState.SUCCEEDED);
  assert.deepEqual(result, { words: 6, longest: "capability" });
  const { steps } = await executions.listExecutionSteps({ executionId });
  const ended = steps.map((it) => `${it.name} ${ExecutionState[it.state]}`);
  assert.deepEqual(ended, ["split SUCCEEDED", "count SUCCEEDED"]);
  say(`The result: ${JSON.stringify(result)}; its steps: ${ended.join(", ")}`);
}

async function refuseViewer({ id }: Skill): Promise<User> {
  const { user, email, password } = await register("Grace");
  const { clients } = await logIn(email, password);
  const { metadata } = await refused(
    clients.executions.createExecution({ skillId: id, parameters: { text: "please" } }),
    Code.PermissionDenied,
    ErrorReason.PERMISSION_MISSING,
  );
  assert.deepEqual(metadata, { permission: "skills:execute" });
  say(`Grace, a viewer, may not run it: ${metadata["permission"]} is missing`);
  return user;
}

async function refreshAndLogOut(old: Tokens, { id }: Skill): Promise<void> {
  const request = { refreshToken: old.refreshToken, requestId: randomUUID() };
  const tokens = present((await nobody.auth.refreshToken(request)).tokens, "tokens");
  assert.equal(tokens.sessionId, old.sessionId);
  assert.notEqual(tokens.refreshToken, old.refreshToken);
  const again = await nobody.auth.refreshToken(request);
  assert.equal(again.tokens?.refreshToken, tokens.refreshToken, "a retry must not log her out");
  say("Ada refreshes her tokens, and the retry of a lost answer gets the same");

  const refreshed = connect(`Bearer ${tokens.accessToken}`);
  await refreshed.skills.getSkill({ skill: { case: "skillId", value: id } });
  await refreshed.auth.logout({});
  const delays: number[] = [];
  for (const { accessToken } of [tokens, old]) {
    const { auth, skills } = connect(`Bearer ${accessToken}`);
    delays.push(await soonRevoked(() => auth.getCurrentUser({})));
    const getSkill = () => skills.getSkill({ skill: { case: "skillId", value: id } });
    delays.push(await soonRevoked(getSkill));
  }
  say(`She logs out: both her access tokens are dead on both services in ${delays} ms`);
}

async function readAuditTrail({ audit }: Clients, entityId: string, grace: User): Promise<void> {
  const trail = await audit.listAuditRecords({ entityType: "execution", entityId });
  const created = trail.auditRecords.find((it) => it.action === "execution.create");
  assert.equal(created?.actorId, ada.user.id);
  assert.equal(created.sessionId, developer.tokens.sessionId);
  say(`The audit trail: ${trail.auditRecords.map((it) => it.action).reverse().join(", ")}`);

  const denied = { actorId: grace.id, outcome: AuditOutcome.DENIED };
  const refusals = (await audit.listAuditRecords(denied)).auditRecords;
  const seen = refusals.map((it) => `${it.action} ${it.reason}`);
  assert.deepEqual(seen, [
    "/ihuman.catalog.v1.ExecutionService/CreateExecution PERMISSION_MISSING",
  ]);
  say(`And what Grace was refused: ${seen.join(", ")}`);
}
