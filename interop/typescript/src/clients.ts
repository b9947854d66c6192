// A client of every service of the story, with one caller's credentials.

import { type Interceptor, type Transport, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

import { ApiKeyService } from "../gen/ihuman/auth/v1/api_key_pb.js";
import { AuthService } from "../gen/ihuman/auth/v1/auth_pb.js";
import { UserService } from "../gen/ihuman/auth/v1/user_pb.js";
import { AuditService } from "../gen/ihuman/catalog/v1/audit_pb.js";
import { ExecutionService } from "../gen/ihuman/catalog/v1/execution_pb.js";
import { SkillService } from "../gen/ihuman/catalog/v1/skill_pb.js";
import { WorkerService } from "../gen/ihuman/catalog/v1/worker_pb.js";

/** How messages travel. */
export type Wire = "grpc-web" | "json";

/** The longest that a call may take. */
const TIMEOUT_MS = 30_000;

/** Clients that send `authorization`, such as "Bearer …"; none if it is left out. */
export function connect(authorization?: string, wire: Wire = "grpc-web") {
  const auth = transport(environment("IHUMAN_AUTH_URL"), wire, authorization);
  const catalog = transport(environment("IHUMAN_CATALOG_URL"), wire, authorization);
  return {
    auth: createClient(AuthService, auth),
    users: createClient(UserService, auth),
    apiKeys: createClient(ApiKeyService, auth),
    skills: createClient(SkillService, catalog),
    executions: createClient(ExecutionService, catalog),
    workers: createClient(WorkerService, catalog),
    audit: createClient(AuditService, catalog),
  };
}

export type Clients = ReturnType<typeof connect>;

/** The value of an environment variable, which must be set. */
export function environment(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`set ${name}`);
  return value;
}

function transport(baseUrl: string, wire: Wire, authorization?: string): Transport {
  const authorize: Interceptor = (next) => (request) => {
    if (authorization) request.header.set("authorization", authorization);
    return next(request);
  };
  const options = { baseUrl, interceptors: [authorize], defaultTimeoutMs: TIMEOUT_MS };
  return wire === "json"
    ? createConnectTransport({ ...options, useBinaryFormat: false })
    : createGrpcWebTransport(options);
}
