"""The protocol between workers and the chief: JSON over gRPC, four calls.

keras-tuner's own service waits forever for a worker that died, and cannot report why a trial
failed; see docs/decisions/tuning.md.
"""

import dataclasses
import hmac
import json
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

import grpc

from dem.errors import InputError, JobError, Terminated
from tuning.search.messages import Assignment, Leave, Order, Outcome, Worker
from tuning.search.state import Search
from tuning.workers.role import TOKEN

_SERVICE = "deep_embedded_music.Search"
_THREADS = 16
_CALL_S = 10.0  # timeout of one call, which is then retried
_HEARTBEATS_PER_DEADLINE = 8
_SHARE_OF_DEADLINE = 0.7  # without an answer for this long, a worker drops its trial
_METADATA_KEY = "authorization"
_CHANNEL_OPTIONS = [("grpc.max_reconnect_backoff_ms", 2000), ("grpc.enable_http_proxy", 0)]


class ChiefServer:
    """Serves a `Search` to workers; once `closing` is set, it is the answer to each `ask`."""

    def __init__(self, search: Search, address: str, token: str) -> None:
        """Listen at the address; calls without the token are refused.

        Raises:
            InputError: the address is not of this machine, or in use.
        """
        self._search = search
        self.closing: Leave | None = None
        self._server = grpc.server(
            futures.ThreadPoolExecutor(_THREADS),
            options=[("grpc.so_reuseport", 0)],
            interceptors=[_RequireToken(token)],
        )
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                _answering(method), request_deserializer=json.loads, response_serializer=_dump
            )
            for name, method in {
                "ask": self._ask,
                "report": self._report,
                "end": self._end,
                "leave": self._leave,
            }.items()
        }
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(_SERVICE, handlers)]
        )
        try:
            self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise InputError(
                f"cannot listen on {address}; set KERASTUNER_ORACLE_IP to an address of this "
                "machine, and KERASTUNER_ORACLE_PORT to a free port"
            ) from error
        self._server.start()

    def stop(self) -> None:
        """Stop the server."""
        self._server.stop(grace=1).wait()

    def _ask(self, worker: Worker, _: Mapping[str, Any]) -> dict[str, Any]:
        if self.closing:
            return {"leave": dataclasses.asdict(self.closing)}
        assignment = self._search.ask(worker)
        return {"trial": dataclasses.asdict(assignment)} if assignment else {}

    def _report(self, worker: Worker, message: Mapping[str, Any]) -> dict[str, Any]:
        trial_id, epoch, value = (message[key] for key in ("trial_id", "epoch", "value"))
        return {"order": self._search.report(worker, trial_id, epoch, value)}

    def _end(self, worker: Worker, message: Mapping[str, Any]) -> dict[str, Any]:
        outcome = Outcome(**message["outcome"])
        return {"order": self._search.end(worker, message["trial_id"], outcome)}

    def _leave(self, worker: Worker, _: Mapping[str, Any]) -> dict[str, Any]:
        self._search.leave(worker)
        return {}


class _RequireToken(grpc.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls without the token, before their message is read."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._refusal = grpc.unary_unary_rpc_method_handler(_refuse)

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Let a call through, or answer it with UNAUTHENTICATED."""
        tokens = [value for key, value in details.invocation_metadata if key == _METADATA_KEY]
        given = tokens[0].encode() if len(tokens) == 1 else b""
        # Takes the same time wherever the two differ, so that it cannot be guessed by parts.
        same = hmac.compare_digest(given, self._token)
        return continuation(details) if same else self._refusal


def _refuse(_message: bytes, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, f"{TOKEN} is not that of the chief")


class RemoteSearch:
    """The `Source` of a worker on another machine: the chief."""

    def __init__(
        self,
        address: str,
        token: str,
        worker: Worker,
        deadline_s: float,
        abandon_after_s: float,
        terminated: Callable[[], bool],
        is_done: Callable[[], bool],
    ) -> None:
        """`is_done`: whether the chief has finished the search; checked when it does not answer."""
        self._address, self._worker = address, worker
        self._metadata = [(_METADATA_KEY, token)]
        self._deadline_s, self._abandon_after_s = deadline_s, abandon_after_s
        self._terminated, self._is_done = terminated, is_done
        self._channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._last_answer = time.monotonic()
        self._last_heartbeat = -float("inf")

    def ask(self) -> Assignment | Leave | None:
        """Ask for a trial; None: there is none now."""
        answer = self._call_until_answered("ask")
        if answer is None:
            return Leave()
        if "leave" in answer:
            return Leave(**answer["leave"])
        return Assignment(**answer["trial"]) if "trial" in answer else None

    def report(self, trial_id: str, epoch: int | None, value: float | None) -> Order:
        """Send a heartbeat, and the objective after an epoch.

        Heartbeats without an epoch are limited to a few per deadline. If the chief does not answer,
        the trial continues, but it is dropped before the chief would reassign it.
        """
        now = time.monotonic()
        if now - self._last_answer > _SHARE_OF_DEADLINE * self._deadline_s:
            return "drop"
        interval_s = self._deadline_s / _HEARTBEATS_PER_DEADLINE
        if epoch is None and now - self._last_heartbeat < interval_s:
            return "continue"
        self._last_heartbeat = now
        message = {"trial_id": trial_id, "epoch": epoch, "value": value}
        try:
            order: Order = self._call("report", message, wait=False)["order"]
        except grpc.RpcError:
            return "continue"
        return order

    def end(self, trial_id: str, outcome: Outcome) -> None:
        """Report the outcome of a trial."""
        message = {"trial_id": trial_id, "outcome": dataclasses.asdict(outcome)}
        self._call_until_answered("end", message)

    def release(self, trial_id: str) -> None:
        """Give a trial back, in one attempt: the chief reassigns it after the deadline anyway."""
        outcome = dataclasses.asdict(Outcome("released"))
        try:
            self._call("end", {"trial_id": trial_id, "outcome": outcome}, wait=False)
        except grpc.RpcError:
            return
        self.leave()

    def leave(self) -> None:
        """Report that this worker will not ask again, in one attempt."""
        try:
            self._call("leave", {}, wait=False)
        except grpc.RpcError:
            return

    def _call_until_answered(
        self, name: str, message: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Retry until the chief answers; None: it has finished the search and left.

        Raises:
            InputError: the chief has another token.
            JobError: there was no answer for `abandon_after_s`.
            Terminated: this process has received SIGTERM.
        """
        begin = time.monotonic()
        while True:
            try:
                return self._call(name, message or {}, wait=True)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                    raise InputError(
                        f"the chief at {self._address} has another {TOKEN}; set the same value for "
                        "the chief and all workers"
                    ) from error
                if error.code() not in (
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    grpc.StatusCode.UNAVAILABLE,
                ):
                    raise JobError(
                        f"the chief at {self._address} failed: {error.details()}"
                    ) from error
            if self._terminated():
                raise Terminated("while waiting for the chief; run the same command to wait again")
            if self._is_done():
                return None
            if time.monotonic() - begin > self._abandon_after_s:
                raise JobError(
                    f"no chief answered at {self._address} for {self._abandon_after_s:.0f} s; "
                    "start it, or check KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT"
                )

    def _call(self, name: str, message: Mapping[str, Any], *, wait: bool) -> dict[str, Any]:
        call = self._channel.unary_unary(
            f"/{_SERVICE}/{name}", request_serializer=_dump, response_deserializer=json.loads
        )
        signed = {**message, "worker": dataclasses.asdict(self._worker)}
        timeout_s = min(_CALL_S, self._deadline_s / (1 if wait else _HEARTBEATS_PER_DEADLINE))
        answer: dict[str, Any] = call(
            signed, timeout=timeout_s, metadata=self._metadata, wait_for_ready=wait
        )
        self._last_answer = time.monotonic()
        return answer


def _answering(
    method: Callable[[Worker, Mapping[str, Any]], dict[str, Any]],
) -> Callable[[dict[str, Any], grpc.ServicerContext], dict[str, Any]]:
    def answer(message: dict[str, Any], _: grpc.ServicerContext) -> dict[str, Any]:
        worker = Worker(**message.pop("worker"))
        return method(worker, message)

    return answer


def _dump(message: Any) -> bytes:
    return json.dumps(message).encode()
