"""A chief and its workers over a real connection, in one process."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from dem import storage
from dem.errors import InputError, JobError, Terminated
from tests.cluster import free_ports
from tests.tuning.test_space import only
from tuning.config import TuneConfig
from tuning.search.messages import Leave, Outcome, Worker
from tuning.search.oracle import build_oracle
from tuning.search.state import Search
from tuning.space import read_space
from tuning.workers.rpc import ChiefServer, RemoteSearch

TOKEN = "known-to-chief-and-workers"


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture
def search(tmp_path: Path) -> Search:
    config = TuneConfig(trials=2, space=only(margin={"low": 0.1, "high": 1.0}))
    space = read_space(config.space)
    return Search(config, space, build_oracle(config, space), str(tmp_path), {})


@pytest.fixture
def chief(search: Search, address: str) -> Iterator[ChiefServer]:
    chief = ChiefServer(search, address, TOKEN)
    yield chief
    chief.stop()


def remote(
    address: str,
    *,
    name: str = "worker-0",
    token: str = TOKEN,
    deadline_s: float = 20.0,
    abandon_after_s: float = 1.0,
    terminated: Callable[[], bool] = lambda: False,
    is_done: Callable[[], bool] = lambda: False,
) -> RemoteSearch:
    worker = Worker(name, "first process")
    return RemoteSearch(address, token, worker, deadline_s, abandon_after_s, terminated, is_done)


def test_a_trial_comes_through_whole(chief: ChiefServer, search: Search, address: str) -> None:
    worker = remote(address)
    assignment = worker.ask()
    assert assignment == search.assignment("0")
    assert assignment.settings["margin"] == search.trials()["0"]["margin"]
    assert worker.report("0", 1, 0.25) == "continue"
    worker.end("0", Outcome("completed", 0.5, 3, 1.5, worker="worker-0"))
    assert search.outcomes == {"0": Outcome("completed", 0.5, 3, 1.5, worker="worker-0")}
    assert worker.report("0", 4, 0.25) == "drop"  # it has ended


def test_a_released_trial_is_there_for_the_next(
    chief: ChiefServer, search: Search, address: str
) -> None:
    worker = remote(address)
    first = worker.ask()
    worker.release("0")
    assert search.live_workers == []
    assert search.ask(Worker("another", "x")) == first


def test_without_a_trial_there_is_nothing_until_the_end(
    chief: ChiefServer, search: Search, address: str
) -> None:
    for name in ("a", "b"):
        search.ask(Worker(name, "x"))
    worker = remote(address)
    assert worker.ask() is None
    assert search.live_workers == ["a", "b", "worker-0"]
    chief.closing = Leave()
    assert worker.ask() == Leave()
    worker.leave()
    assert search.live_workers == ["a", "b"]


@pytest.mark.parametrize(("status", "error"), [("refused", InputError), ("broken", JobError)])
def test_the_last_word_says_why(chief: ChiefServer, address: str, status: str, error: type) -> None:
    chief.closing = Leave(status, "margin is bad")
    told = remote(address).ask()
    with pytest.raises(error, match="margin is bad"):
        told.raise_if_stopped()


@pytest.mark.parametrize("token", ["", TOKEN[:-1], f"{TOKEN}1", TOKEN.upper()])
def test_calls_without_the_token_are_refused(
    chief: ChiefServer, search: Search, address: str, token: str
) -> None:
    """A trial goes on, and is dropped when it could be somebody else's."""
    stranger = remote(address, token=token)
    with pytest.raises(InputError, match="has another DEM_SEARCH_TOKEN; set the same value"):
        stranger.ask()
    with pytest.raises(InputError, match="has another DEM_SEARCH_TOKEN"):
        stranger.end("0", Outcome("completed", 0.5))
    assert stranger.report("0", 1, 0.5) == "continue"
    stranger.release("0")
    stranger.leave()
    assert search.trials() == {}
    assert search.live_workers == []
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/deep_embedded_music.Search/ask")(b"not even JSON", timeout=5)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_a_write_that_stalls_drops_no_trial_of_a_healthy_worker(
    chief: ChiefServer, search: Search, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For 80 % of the deadline; a worker without an answer drops its trial after 70 %."""
    deadline_s = 4.0
    healthy, other = (remote(address, name=name, deadline_s=deadline_s) for name in "ab")
    assert healthy.ask() == search.assignment("0")
    write_text, stalled = storage.write_text, threading.Event()

    def stall(uri: str, text: str) -> None:
        stalled.set()
        time.sleep(0.8 * deadline_s)
        write_text(uri, text)

    monkeypatch.setattr(storage, "write_text", stall)
    with futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(other.ask)
        assert stalled.wait(2)
        orders = set()
        begin = time.monotonic()
        while time.monotonic() - begin < 1.1 * deadline_s:
            orders.add(healthy.report("0", None, None))
            time.sleep(0.05)
        assert orders == {"continue"}
        assert asked.result() == search.assignment("1")
    assert "1" in json.loads(Path(search.uri).read_text())["trials"]


def test_a_trial_is_given_out_once_it_is_written(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other's asks return, so that they do not occupy the chief's threads."""
    write_text, may_write = storage.write_text, threading.Event()
    first, second = Worker("first", "x"), Worker("second", "x")

    def stall(uri: str, text: str) -> None:
        assert may_write.wait(10)
        write_text(uri, text)

    monkeypatch.setattr(storage, "write_text", stall)
    with futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(search.ask, first)
        while not search.trials():
            time.sleep(0.01)
        assert search.ask(second) is None
        assert not Path(search.uri).exists()
        may_write.set()
        assert asked.result() == search.assignment("0")
    assert set(json.loads(Path(search.uri).read_text())["trials"]) == {"0", "1"}
    assert search.ask(second) == search.assignment("1")


def test_reports_without_an_epoch_are_rare(
    chief: ChiefServer, search: Search, address: str
) -> None:
    """Eight per deadline: 0.2 s apart here."""
    worker = remote(address, deadline_s=1.6)
    worker.ask()
    worker.report("0", None, None)
    search.end(Worker("worker-0", "first process"), "0", Outcome("failed"))
    assert worker.report("0", None, None) == "continue"  # not asked
    time.sleep(0.25)
    assert worker.report("0", None, None) == "drop"


def test_a_chief_that_is_away_for_long_may_have_given_the_trial_to_another(
    chief: ChiefServer, address: str
) -> None:
    worker = remote(address, deadline_s=1.0)
    worker.ask()
    chief.stop()
    assert worker.report("0", 1, 0.5) == "continue"
    time.sleep(1.1)
    assert worker.report("0", 2, 0.5) == "drop"


def test_waiting_for_a_chief_ends(address: str) -> None:
    with pytest.raises(JobError, match=f"no chief answered at {address} for 1 s; start it, or"):
        remote(address, deadline_s=1.0).ask()
    with pytest.raises(Terminated):
        remote(address, deadline_s=1.0, abandon_after_s=60, terminated=lambda: True).ask()
    done = remote(address, deadline_s=1.0, abandon_after_s=60, is_done=lambda: True)
    assert done.ask() == Leave()


def test_an_address_of_another_machine_is_refused(search: Search) -> None:
    with pytest.raises(InputError, match=r"cannot listen on 192.0.2.1:80; set KERASTUNER_"):
        ChiefServer(search, "192.0.2.1:80", TOKEN)
