"""A client of every service of the story, with one caller's credentials."""

import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import grpc

from ihuman.auth.v1.api_key_pb2_grpc import ApiKeyServiceStub
from ihuman.auth.v1.auth_pb2_grpc import AuthServiceStub
from ihuman.auth.v1.user_pb2_grpc import UserServiceStub
from ihuman.catalog.v1.audit_pb2_grpc import AuditServiceStub
from ihuman.catalog.v1.execution_pb2_grpc import ExecutionServiceStub
from ihuman.catalog.v1.skill_pb2_grpc import SkillServiceStub
from ihuman.catalog.v1.worker_pb2_grpc import WorkerServiceStub

# The longest that a call may take.
TIMEOUT_SECONDS = 30


class Clients:
    """Clients that send this header, such as ("x-api-key", key); none if left out."""

    def __init__(self, *credentials: tuple[str, str]) -> None:
        auth = _channel(environment("IHUMAN_AUTH_URL"), credentials)
        self.auth = AuthServiceStub(auth)
        self.users = UserServiceStub(auth)
        self.api_keys = ApiKeyServiceStub(auth)
        catalog = _channel(environment("IHUMAN_CATALOG_URL"), credentials)
        self.skills = SkillServiceStub(catalog)
        self.executions = ExecutionServiceStub(catalog)
        self.workers = WorkerServiceStub(catalog)
        self.audit = AuditServiceStub(catalog)


def with_token(access_token: str) -> Clients:
    """Clients of a session."""
    return Clients(("authorization", f"Bearer {access_token}"))


def with_api_key(key: str) -> Clients:
    """Clients of a program."""
    return Clients(("x-api-key", key))


def environment(name: str) -> str:
    """The value of an environment variable, which must be set."""
    return os.environ.get(name) or sys.exit(f"set {name}")


def _channel(url: str, credentials: tuple[tuple[str, str], ...]) -> grpc.Channel:
    channel = grpc.insecure_channel(urlsplit(url).netloc)
    return grpc.intercept_channel(channel, _Caller(credentials))


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: tuple[tuple[str, str], ...]
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Caller(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Puts the credentials and a deadline on every call."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.metadata = metadata

    def _call(self, proceed: Callable[..., Any], details: Any, request: Any) -> Any:
        mine = _Details(details.method, TIMEOUT_SECONDS, self.metadata, None, None, None)
        return proceed(mine, request)

    intercept_unary_unary = _call
    intercept_unary_stream = _call
