"""The main story, over native gRPC: a skill is published, run and proved to have run."""

import time
import uuid
from typing import NamedTuple

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

import ihuman.auth.v1.auth_pb2 as auth
import ihuman.catalog.v1.audit_pb2 as audit
import ihuman.catalog.v1.execution_pb2 as execution
import ihuman.catalog.v1.skill_pb2 as skill
import ihuman.error.v1.error_reason_pb2 as error
from clients import Clients, environment, with_api_key, with_token
from expect import equal, refused, say, soon_revoked
from ihuman.access.v1.access_pb2 import ROLE_DEVELOPER, ROLE_SERVICE, ROLE_VIEWER
from ihuman.auth.v1.api_key_pb2 import CreateApiKeyRequest
from ihuman.auth.v1.user_pb2 import CreateServiceAccountRequest, SetUserRoleRequest, User
from worker import working

SUFFIX = uuid.uuid4().hex[-12:]

PARAMETERS_SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 1}},
    "required": ["text"],
    "additionalProperties": False,
}


class Person(NamedTuple):
    user: User
    email: str
    password: str


class Session(NamedTuple):
    tokens: auth.Tokens
    clients: Clients


def main() -> None:
    admin = log_in(environment("IHUMAN_ADMIN_EMAIL"), environment("IHUMAN_ADMIN_PASSWORD"))
    ada = register("Ada")
    promote(admin.clients, ada.user)
    developer = log_in(ada.email, ada.password)
    show_current_user(developer.clients, ada.user)
    published = publish(developer.clients)
    refuse_parameters(developer.clients, published)
    key = issue_key(admin.clients)
    execution_id = run(developer.clients, published, key)
    show_result(developer.clients, execution_id)
    grace = refuse_viewer(published)
    refresh_and_log_out(developer, published)
    read_audit_trail(admin.clients, execution_id, ada.user, developer.tokens, grace)
    print("All of it was as it should be.")


def log_in(email: str, password: str) -> Session:
    tokens = Clients().auth.Login(auth.LoginRequest(email=email, password=password)).tokens
    say(f"{email} logs in: session {tokens.session_id}")
    return Session(tokens, with_token(tokens.access_token))


def register(name: str) -> Person:
    email, password = f"{name.lower()}-{SUFFIX}@example.com", str(uuid.uuid4())
    request = auth.RegisterRequest(
        email=email, password=password, display_name=name, request_id=str(uuid.uuid4())
    )
    user = Clients().auth.Register(request).user
    equal((user.email, user.role), (email, ROLE_VIEWER))
    # A retry opens no second account.
    equal(Clients().auth.Register(request).user.id, user.id)
    say(f"{name} registers: {user.id}, a viewer")
    return Person(user, email, password)


def promote(admin: Clients, user: User) -> None:
    request = SetUserRoleRequest(user_id=user.id, role=ROLE_DEVELOPER)
    equal(admin.users.SetUserRole(request).user.role, ROLE_DEVELOPER)
    say(f"The administrator makes {user.display_name} a developer")


def show_current_user(clients: Clients, user: User) -> None:
    response = clients.auth.GetCurrentUser(auth.GetCurrentUserRequest())
    equal(response.user.id, user.id)
    equal("skills:write" in response.permissions, True)
    say(f"GetCurrentUser: {response.user.email} with {len(response.permissions)} permissions")


def publish(clients: Clients) -> skill.Skill:
    manifest = skill.Skill(
        name=f"longest-word-{SUFFIX}",
        description="Counts the words of a text and finds the longest.",
        license="Apache-2.0",
        body="Split the text at white space; count what is left.",
        parameters_schema=ParseDict(PARAMETERS_SCHEMA, Struct()),
        category="text",
        difficulty=skill.DIFFICULTY_BEGINNER,
        tags=["words"],
    )
    request = skill.CreateSkillRequest(skill=manifest, request_id=str(uuid.uuid4()))
    published = clients.skills.CreateSkill(request).skill
    equal((published.version, len(published.digest)), (1, 64))
    equal(MessageToDict(published.parameters_schema), PARAMETERS_SCHEMA)
    by_name = skill.GetSkillRequest(name=manifest.name)
    equal(clients.skills.GetSkill(by_name).skill, published)
    say(f"She publishes {published.name}: version 1, {published.digest[:12]}…")
    return published


def refuse_parameters(clients: Clients, published: skill.Skill) -> None:
    parameters = ParseDict({"text": 7, "colour": "blue"}, Struct())
    request = execution.CreateExecutionRequest(skill_id=published.id, parameters=parameters)
    refusal = refused(
        lambda: clients.executions.CreateExecution(request),
        grpc.StatusCode.INVALID_ARGUMENT,
        error.ERROR_REASON_INVALID_FIELD,
    )
    equal(sorted(refusal.violations), ["parameters.colour", "parameters.text"])
    say(f"Wrong parameters are refused: {refusal.violations}")


def issue_key(admin: Clients) -> str:
    name = f"worker {SUFFIX}"
    account = CreateServiceAccountRequest(display_name=name, role=ROLE_SERVICE)
    user = admin.users.CreateServiceAccount(account).user
    request = CreateApiKeyRequest(
        name=name,
        scopes=["executions:write"],
        expire_time=Timestamp(seconds=int(time.time()) + 3600),
        user_id=user.id,
    )
    issued = admin.api_keys.CreateApiKey(request)
    caller = with_api_key(issued.key).auth.GetCurrentUser(auth.GetCurrentUserRequest())
    equal((caller.user.id, caller.api_key_id), (user.id, issued.api_key.id))
    equal(list(caller.permissions), ["executions:write"])
    say(f"A worker gets a service account and the API key {issued.api_key.id}")
    return issued.key


def run(clients: Clients, published: skill.Skill, key: str) -> str:
    """Runs the skill on a worker of this program and watches every change."""
    request = execution.CreateExecutionRequest(
        skill_id=published.id,
        parameters=ParseDict({"text": "a skill is a reusable capability"}, Struct()),
        request_id=str(uuid.uuid4()),
    )
    created = clients.executions.CreateExecution(request).execution
    equal(created.skill_digest, published.digest)
    say(f"She runs it: execution {created.id}")

    watch = execution.WatchExecutionRequest(execution_id=created.id)
    stream = clients.executions.WatchExecution(watch)
    snapshot = next(stream).snapshot
    equal((snapshot.state, snapshot.revision), (execution.EXECUTION_STATE_QUEUED, 1))
    with working(with_api_key(key), published.name, stream.cancel):
        changes = [it.change for it in stream]

    equal([it.revision for it in changes], list(range(2, len(changes) + 2)))
    seen = [f"{state(it.state)} {it.progress_percent} {it.step}" for it in changes]
    equal(seen[:3], ["RUNNING 0 ", "RUNNING 25 split", "RUNNING 75 count"])
    equal(changes[-1].state, execution.EXECUTION_STATE_SUCCEEDED)
    say(f"She watches it: {', '.join(it.strip() for it in seen)}")
    return created.id


def state(number: "execution.ExecutionState") -> str:
    return execution.ExecutionState.Name(number).removeprefix("EXECUTION_STATE_")


def show_result(clients: Clients, execution_id: str) -> None:
    request = execution.GetExecutionRequest(execution_id=execution_id)
    ended = clients.executions.GetExecution(request).execution
    result = MessageToDict(ended.result)
    equal(ended.state, execution.EXECUTION_STATE_SUCCEEDED)
    equal(result, {"words": 6, "longest": "capability"})
    list_steps = execution.ListExecutionStepsRequest(execution_id=execution_id)
    listed = clients.executions.ListExecutionSteps(list_steps).steps
    steps = [f"{it.name} {state(it.state)}" for it in listed]
    equal(steps, ["split SUCCEEDED", "count SUCCEEDED"])
    say(f"The result: {result}; its steps: {', '.join(steps)}")


def refuse_viewer(published: skill.Skill) -> User:
    grace = register("Grace")
    session = log_in(grace.email, grace.password)
    parameters = ParseDict({"text": "please"}, Struct())
    request = execution.CreateExecutionRequest(skill_id=published.id, parameters=parameters)
    refusal = refused(
        lambda: session.clients.executions.CreateExecution(request),
        grpc.StatusCode.PERMISSION_DENIED,
        error.ERROR_REASON_PERMISSION_MISSING,
    )
    equal(refusal.metadata, {"permission": "skills:execute"})
    say("Grace, a viewer, may not run it: skills:execute is missing")
    return grace.user


def refresh_and_log_out(session: Session, published: skill.Skill) -> None:
    old, nobody = session.tokens, Clients()
    request = auth.RefreshTokenRequest(
        refresh_token=old.refresh_token, request_id=str(uuid.uuid4())
    )
    new = nobody.auth.RefreshToken(request).tokens
    equal(new.session_id, old.session_id)
    equal(new.refresh_token != old.refresh_token, True)
    # A retry does not log her out.
    equal(nobody.auth.RefreshToken(request).tokens.refresh_token, new.refresh_token)
    say("Ada refreshes her tokens, and the retry of a lost answer gets the same")

    get_skill = skill.GetSkillRequest(skill_id=published.id)
    refreshed = with_token(new.access_token)
    refreshed.skills.GetSkill(get_skill)
    refreshed.auth.Logout(auth.LogoutRequest())
    delays = []
    for clients in (refreshed, session.clients):
        current_user = auth.GetCurrentUserRequest()
        for call in (
            lambda: clients.auth.GetCurrentUser(current_user),
            lambda: clients.skills.GetSkill(get_skill),
        ):
            delays.append(soon_revoked(call))
    say(f"She logs out: both her access tokens are dead on both services in {delays} ms")


def read_audit_trail(
    admin: Clients, execution_id: str, ada: User, tokens: auth.Tokens, grace: User
) -> None:
    request = audit.ListAuditRecordsRequest(entity_type="execution", entity_id=execution_id)
    trail = admin.audit.ListAuditRecords(request).audit_records
    by = {it.action: (it.actor_id, it.session_id) for it in trail}
    equal(by.get("execution.create"), (ada.id, tokens.session_id))
    say(f"The audit trail: {', '.join(it.action for it in reversed(trail))}")

    denied = audit.ListAuditRecordsRequest(actor_id=grace.id, outcome=audit.AUDIT_OUTCOME_DENIED)
    refusals = admin.audit.ListAuditRecords(denied).audit_records
    create_execution = "/ihuman.catalog.v1.ExecutionService/CreateExecution"
    seen = [(it.action, it.reason) for it in refusals]
    equal(seen, [(create_execution, "PERMISSION_MISSING")])
    say(f"And what Grace was refused: {create_execution}")


if __name__ == "__main__":
    main()
