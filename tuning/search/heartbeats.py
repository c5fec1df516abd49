"""Which workers are alive, and which process stands for a worker's id."""

from collections.abc import Callable

from tuning.search.messages import Worker


class Heartbeats:
    """The latest heartbeat and the current process of each worker."""

    def __init__(self, deadline_s: float, clock: Callable[[], float]) -> None:
        self._deadline_s, self._clock = deadline_s, clock
        self._instances: dict[str, str] = {}  # by worker id
        self._latest: dict[str, float] = {}  # by worker id
        self._latest_of_any = clock()

    @property
    def live(self) -> list[str]:
        """Ids of workers with a heartbeat within the deadline that have not left."""
        return sorted(tuner_id for tuner_id in self._latest if not self.is_overdue(tuner_id))

    @property
    def silent_s(self) -> float:
        """Seconds since the latest heartbeat of any worker."""
        return self._clock() - self._latest_of_any

    def record(self, worker: Worker) -> None:
        """Record a heartbeat; one from a process that was replaced does not count."""
        self._instances.setdefault(worker.tuner_id, worker.instance)
        if self.is_current(worker):
            self._latest[worker.tuner_id] = self._latest_of_any = self._clock()

    def register(self, worker: Worker) -> bool:
        """Make this process the current one of its id; return whether it replaces another."""
        before = self._instances.get(worker.tuner_id, worker.instance)
        self._instances[worker.tuner_id] = worker.instance
        self.record(worker)
        return before != worker.instance

    def is_current(self, worker: Worker) -> bool:
        """Whether no other process has taken the place of this one."""
        return self._instances.get(worker.tuner_id) == worker.instance

    def is_overdue(self, tuner_id: str) -> bool:
        """Whether the deadline has passed; for an id without a heartbeat it starts now."""
        now = self._clock()
        return self._latest.setdefault(tuner_id, now) <= now - self._deadline_s

    def forget(self, tuner_id: str) -> None:
        """Remove a worker that is lost."""
        self._instances.pop(tuner_id, None)
        self._latest.pop(tuner_id, None)

    def leave(self, worker: Worker) -> None:
        """Stop expecting heartbeats of a worker that has left."""
        if self.is_current(worker):
            self._latest.pop(worker.tuner_id, None)
