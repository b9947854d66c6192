"""A worker: leases executions of one skill, carries them out and reports."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value

from clients import Clients
from expect import equal
from ihuman.catalog.v1.worker_pb2 import (
    LEASE_STATE_HELD,
    CompleteExecutionsRequest,
    Completion,
    Lease,
    LeaseExecutionsRequest,
    LeasedExecution,
    Progress,
    ReportProgressRequest,
)


@contextmanager
def working(
    clients: Clients, skill_name: str, on_failure: Callable[[], object]
) -> Iterator[None]:
    """A worker that works meanwhile; a failure of its own is raised at the end."""
    stop = Event()
    with ThreadPoolExecutor(max_workers=1) as pool:
        work = pool.submit(_work, clients, skill_name, stop)
        work.add_done_callback(lambda it: it.exception() and on_failure())
        try:
            yield
        finally:
            stop.set()
            work.result()


def _work(clients: Clients, skill_name: str, stop: Event) -> None:
    request = LeaseExecutionsRequest(
        worker="python", skill_names=[skill_name], wait=Duration(seconds=1)
    )
    while not stop.is_set():
        for leased in clients.workers.LeaseExecutions(request).leased_executions:
            _carry_out(clients, leased)


def _carry_out(clients: Clients, leased: LeasedExecution) -> None:
    lease = Lease(execution_id=leased.execution.id, lease_id=leased.lease_id)

    def report(step: str, percent: int, message: str) -> None:
        progress = Progress(lease=lease, step=step, percent=percent, message=message)
        _counted(clients.workers.ReportProgress(ReportProgressRequest(progress=[progress])))

    report("split", 25, "Splitting the text into words")
    words = str(leased.execution.parameters["text"]).split()

    report("count", 75, f"Counting {len(words)} words")
    result = ParseDict({"words": len(words), "longest": max(words, key=len)}, Value())
    completions = [Completion(lease=lease, result=result)]
    request = CompleteExecutionsRequest(completions=completions)
    _counted(clients.workers.CompleteExecutions(request))


def _counted(response: Any) -> None:
    equal([it.state for it in response.reports], [LEASE_STATE_HELD])
