"""The chief: runs the search until it is over and the workers have left."""

import logging
import time
from collections.abc import Callable

from dem.errors import JobError, Terminated
from tuning.config import TuneConfig
from tuning.results.progress import Progress
from tuning.search.messages import Leave
from tuning.search.state import Search
from tuning.workers.role import Role
from tuning.workers.rpc import ChiefServer

_LOG = logging.getLogger(__name__)

_POLL_S = 0.5


def run_chief(
    role: Role,
    config: TuneConfig,
    search: Search,
    progress: Progress,
    terminated: Callable[[], bool],
) -> None:
    """Serve workers until the search is over and they have left or missed their deadline.

    Raises:
        InputError: the address cannot be used, or settings or data do not fit.
        JobError: no trial completed, an error in the program ended the search, or there was no
            heartbeat of any worker for `abandon_after_s`.
        Terminated: `terminated()` was true; the state is saved.
    """
    server = ChiefServer(search, role.address, role.token)
    _LOG.info(f"chief at {role.address}, waiting for workers")
    try:
        while not (search.over or search.fatal):
            time.sleep(_POLL_S)
            for tuner_id, trial_id in search.reap().items():
                _LOG.warning(
                    f"no heartbeat from worker {tuner_id}: trial {trial_id} will be reassigned"
                )
            progress.update()
            if terminated():
                raise Terminated("the search's state is saved; the same command resumes it")
            if search.silent_s > config.abandon_after_s:
                raise JobError(
                    f"no heartbeat from any worker for {config.abandon_after_s:.0f} s; start "
                    "workers, and run this command again to resume the search"
                )
        failure: Exception | None = None
        try:
            server.closing = _close(search, progress)
        except JobError as error:
            server.closing, failure = Leave("broken", str(error)), error
        while search.live_workers and not terminated():
            time.sleep(_POLL_S)
        if failure:
            raise failure
        server.closing.raise_if_stopped()
    finally:
        server.stop()


def _close(search: Search, progress: Progress) -> Leave:
    """Write the results; return the answer to workers from now on."""
    progress.update()
    if search.fatal is None:
        progress.finish()
    return search.fatal or Leave()
