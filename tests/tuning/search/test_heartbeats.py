"""Heartbeats and replaced processes, with a clock that is set by hand."""

from tuning.search.heartbeats import Heartbeats
from tuning.search.messages import Worker

OLD, NEW = Worker("anna", "old process"), Worker("anna", "new process")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_worker_is_overdue_after_the_deadline() -> None:
    clock = Clock()
    heartbeats = Heartbeats(10, clock)
    heartbeats.record(OLD)
    clock.now += 9.5
    assert (heartbeats.live, heartbeats.silent_s) == (["anna"], 9.5)
    clock.now += 0.5
    assert heartbeats.live == []
    assert heartbeats.is_overdue("anna")


def test_an_unknown_worker_has_the_whole_deadline() -> None:
    """As after a restart of the chief."""
    clock = Clock()
    heartbeats = Heartbeats(10, clock)
    clock.now += 60
    assert not heartbeats.is_overdue("anna")
    clock.now += 10
    assert heartbeats.is_overdue("anna")


def test_heartbeats_of_a_replaced_process_do_not_count() -> None:
    clock = Clock()
    heartbeats = Heartbeats(10, clock)
    assert not heartbeats.register(OLD)
    assert heartbeats.register(NEW)
    clock.now += 10
    heartbeats.record(OLD)
    heartbeats.leave(OLD)
    assert heartbeats.is_overdue("anna")
    assert heartbeats.silent_s == 10
    heartbeats.forget("anna")
    heartbeats.record(OLD)
    assert heartbeats.is_current(OLD)


def test_a_worker_that_left_is_not_live() -> None:
    heartbeats = Heartbeats(10, Clock())
    heartbeats.record(OLD)
    heartbeats.leave(OLD)
    assert heartbeats.live == []
