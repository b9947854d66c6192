"""What the story insists on."""

import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status

from ihuman.error.v1.error_reason_pb2 import ERROR_REASON_CREDENTIALS_REVOKED, ErrorReason

# The longest until a revocation must have reached every service.
REVOCATION_MAX_SECONDS = 5

_steps = itertools.count(1)

Call = Callable[[], Any]


class Refusal(NamedTuple):
    """A refusal as a program reads it: from the error's details, never from its message."""

    metadata: dict[str, str]
    violations: dict[str, str]


def say(line: str) -> None:
    """Prints one step that was as it should be."""
    print(f"{next(_steps):2}. {line}", flush=True)


def equal(got: object, expected: object) -> None:
    """Insists that both are the same; unlike `assert`, under every flag of Python."""
    if got != expected:
        raise AssertionError(f"expected {expected!r}, got {got!r}")


def refused(call: Call, code: grpc.StatusCode, reason: "ErrorReason") -> Refusal:
    """Insists that the call is refused with this code and this reason."""
    try:
        answer = call()
    except grpc.RpcError as error:
        info, bad_request = ErrorInfo(), BadRequest()
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            # Unpacks what is of its type, and leaves alone what is not.
            detail.Unpack(info) or detail.Unpack(bad_request)
        name = ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
        equal((error.code(), info.domain, info.reason), (code, "ihuman.dev", name))
        violations = {it.field: it.description for it in bad_request.field_violations}
        return Refusal(dict(info.metadata), violations)
    raise AssertionError(f"expected a refusal, got {answer!r}")


def soon_revoked(call: Call) -> int:
    """Insists that the credentials are soon refused as revoked; returns after how many ms."""
    since = time.monotonic()
    while _works(call) and time.monotonic() - since < REVOCATION_MAX_SECONDS:
        time.sleep(0.02)
    elapsed = time.monotonic() - since
    refused(call, grpc.StatusCode.UNAUTHENTICATED, ERROR_REASON_CREDENTIALS_REVOKED)
    return round(elapsed * 1000)


def _works(call: Call) -> bool:
    try:
        call()
    except grpc.RpcError:
        return False
    return True
