"""The progress of a search: a log line per ended trial, and files that are up to date."""

import logging

from tuning.config import TuneConfig
from tuning.results.files import Results
from tuning.search.messages import Outcome
from tuning.search.state import Search

_LOG = logging.getLogger(__name__)


class Progress:
    """Logs trials that have ended since the last update."""

    def __init__(self, config: TuneConfig, search: Search, results: Results) -> None:
        self._config, self._search, self._results = config, search, results
        self._logged = set(search.outcomes)

    def update(self) -> None:
        """Write the results and log each trial that has ended since the last time."""
        outcomes = self._search.outcomes
        ended = [trial_id for trial_id in outcomes if trial_id not in self._logged]
        if ended:
            self._results.write()
        for trial_id in ended:
            self._logged.add(trial_id)
            self._log(trial_id, outcomes[trial_id])

    def finish(self) -> None:
        """Write the final results.

        Raises:
            JobError: no trial completed.
        """
        self._results.finish()

    def _log(self, trial_id: str, outcome: Outcome) -> None:
        best = self._results.best()
        ended, most = len(self._logged), self._config.most_trials
        value = "" if outcome.value is None else f"  {self._config.objective} {outcome.value:.4f}"
        reason = f"  ({outcome.reason})" if outcome.reason else ""
        record = f"  best: trial {best}" if best else ""
        of = f" of {most}" if most else ""
        _LOG.info(f"trial {trial_id} {outcome.status}{value}{reason}  {ended}{of} trials{record}")
