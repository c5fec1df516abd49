"""Beam's local runner with worker processes that are forked, and whose end is noticed.

Beam's own starts a Python per worker, each of which imports Beam, and waits for ever for one that
was killed.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2, beam_runner_api_pb2, endpoints_pb2
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    GrpcWorkerHandler,
    WorkerHandler,
)
from google.protobuf import json_format, text_format

from beam_features.job.background import in_background
from beam_features.job.fork import ForkServer

_URN = "dem:env:forked:v1"
_POLL_S = 0.2
_COMPLAINING = (  # about connections, when a worker is lost
    "apache_beam.runners.portability.fn_api_runner.worker_handlers",
    "apache_beam.runners.worker.data_plane",
)


class ForkingRunner(FnApiRunner):  # type: ignore[misc]
    """The local runner, whose worker processes are those of a `ForkServer`."""

    def __init__(self, server: ForkServer) -> None:
        super().__init__()
        self._server = server

    def run_via_runner_api(self, pipeline_proto: beam_runner_api_pb2.Pipeline, options: Any) -> Any:
        """Run the pipeline; an exception says that a worker was lost."""
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:
                environment.urn, environment.payload = _URN, b""
        handlers: list[_Handler] = []

        def make(_payload: None, state: Any, provision: Any, grpc_server: Any) -> _Handler:
            handlers.append(_Handler(self._server, state, provision, grpc_server))
            return handlers[-1]

        WorkerHandler.register_environment(_URN, None)(make)
        with _quiet_about_connections(), _failing_if_lost(self._server, handlers):
            return super().run_via_runner_api(pipeline_proto, options)


class _Handler(GrpcWorkerHandler):  # type: ignore[misc]
    """Beam's view of a worker."""

    def __init__(self, server: ForkServer, state: Any, provision: Any, grpc_server: Any) -> None:
        super().__init__(state, provision, grpc_server)
        self._server, self._options = server, provision.provision_info.pipeline_options

    def start_worker(self) -> None:
        control = endpoints_pb2.ApiServiceDescriptor(url=self.control_address)
        self._server.start_worker(
            {
                "WORKER_ID": self.worker_id,
                "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(control),
                "PIPELINE_OPTIONS": json_format.MessageToJson(self._options),
            }
        )

    def close(self) -> None:
        self._server.expect_end()
        super().close()

    def stop_worker(self) -> None:
        """Nothing: the worker ends when its connection does."""

    def fail(self, why: str) -> None:
        """End whatever waits for an answer of this worker."""
        for name, future in list(self.control_conn._futures_by_id.items()):  # noqa: SLF001
            if not future.is_done():
                future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=name, error=why))


@contextmanager
def _failing_if_lost(server: ForkServer, handlers: list[_Handler]) -> Iterator[None]:
    """While the body runs: where a worker is lost, end all that waits for any of them."""

    def watch(done: threading.Event) -> None:
        while not done.wait(_POLL_S):
            if server.lost:
                for handler in list(handlers):
                    handler.fail(server.lost)

    with in_background(watch):
        yield


@contextmanager
def _quiet_about_connections() -> Iterator[None]:
    """Leave it to `ForkServer.lost` to say in one line what Beam's threads say in many."""
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in _COMPLAINING}
    hook = threading.excepthook

    def ignore(what: threading.ExceptHookArgs) -> None:
        if not issubclass(what.exc_type, grpc.RpcError):
            hook(what)

    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    threading.excepthook = ignore
    try:
        yield
    finally:
        threading.excepthook = hook
        for logger, level in loggers.items():
            logger.setLevel(level)
