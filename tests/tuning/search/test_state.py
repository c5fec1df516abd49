"""The state of a search, with a clock that is set by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dem.errors import InputError
from tests.tuning.test_space import only
from tuning.config import TuneConfig
from tuning.search.messages import Leave, Outcome, Worker
from tuning.search.oracle import build_oracle
from tuning.search.state import SEARCH, Search
from tuning.space import read_space

MARGIN = only(margin={"low": 0.1, "high": 1.0})
ANNA, BERT = Worker("anna", "1"), Worker("bert", "2")
DEADLINE_S = 60.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def begin(tmp_path: Path, clock: Clock) -> Callable[..., Search]:
    """Begin or resume a search."""

    def build(space: dict[str, Any] = MARGIN, **settings: Any) -> Search:
        config = TuneConfig(worker_deadline_s=DEADLINE_S, space=space, **settings)
        read = read_space(config.space)
        oracle = build_oracle(config, read)
        return Search(config, read, oracle, str(tmp_path), {"fingerprint": "f"}, clock)

    return build


def completed(value: float, epochs: int = 3) -> Outcome:
    return Outcome("completed", value, epochs, 1.0)


def run_all(
    search: Search, value_of: Callable[[dict[str, Any]], float], worker=ANNA
) -> list[float]:
    """Run a whole search whose objective is a function of the settings."""
    values = []
    while assignment := search.ask(ANNA):
        values.append(value_of(assignment.settings))
        search.end(ANNA, assignment.trial_id, completed(values[-1]))
    assert search.over
    return values


def test_trials_have_the_settings_of_the_space_and_of_the_data(begin) -> None:
    search = begin(trials=2)
    first = search.ask(ANNA)
    assert first.trial_id == "0"
    assert first.settings == {**MARGIN, "margin": first.settings["margin"], "fingerprint": "f"}
    assert first.searched == {"margin": first.settings["margin"]}
    assert 0.1 <= first.settings["margin"] <= 1


def test_a_search_ends_after_all_trials(begin) -> None:
    search = begin(trials=3)
    assert len(run_all(search, lambda settings: settings["margin"])) == 3
    assert search.ask(ANNA) is None
    assert {key: one.status for key, one in search.outcomes.items()} == dict.fromkeys(
        "012", "completed"
    )


def test_the_seed_decides_what_is_tried(begin, tmp_path: Path) -> None:
    tried = []
    for seed in (0, 0, 1):
        (tmp_path / SEARCH).unlink(missing_ok=True)
        tried.append(run_all(begin(trials=4, seed=seed), lambda settings: settings["margin"]))
    assert tried[0] == tried[1] != tried[2]


def test_bayesian_search_comes_closer_than_random(begin, tmp_path: Path) -> None:
    """A peak at 0.77: after 4 random points of 8, distances of the last four are small."""

    def value_of(settings: dict[str, Any]) -> float:
        return -((settings["margin"] - 0.77) ** 2)

    bayesian = run_all(begin(trials=8, initial_points=4, algorithm="bayesian"), value_of)
    (tmp_path / SEARCH).unlink()
    random = run_all(begin(trials=8, algorithm="random"), value_of)
    assert max(bayesian) > -(0.02**2)
    assert sum(bayesian[4:]) > sum(random[4:])


def test_a_small_space_is_over_when_all_of_it_was_tried(begin) -> None:
    search = begin(only(encoder={"choices": ["gru", "dense", "conv1d"]}), trials=10)
    assert len(run_all(search, lambda _: 0.5)) == 3


def test_two_workers_have_different_trials_and_wait_for_each_other(begin) -> None:
    """The one without a trial waits, because the other may be lost."""
    search = begin(trials=2)
    first, second = search.ask(ANNA), search.ask(BERT)
    assert (first.trial_id, second.trial_id) == ("0", "1")
    search.end(ANNA, "0", completed(0.5))
    assert search.ask(ANNA) is None
    assert not search.over
    search.end(BERT, "1", completed(0.6))
    assert search.over


def test_who_comes_back_gets_its_own_trial(begin) -> None:
    search = begin(trials=4)
    search.ask(BERT)
    before = search.ask(ANNA)
    again = search.ask(Worker("anna", "another process"))
    assert again == before


def test_the_process_that_was_replaced_is_told_to_drop(begin) -> None:
    search = begin(trials=4)
    search.ask(ANNA)
    search.ask(Worker("anna", "another process"))
    assert search.report(ANNA, "0") == "drop"
    assert search.end(ANNA, "0", completed(0.5)) == "drop"
    assert search.report(Worker("anna", "another process"), "0") == "continue"
    assert not search.outcomes


def test_a_silent_worker_loses_its_trial_after_the_deadline(begin, clock: Clock) -> None:
    search = begin(trials=2)
    lost = search.ask(ANNA)
    clock.now += DEADLINE_S / 2
    search.ask(BERT)
    clock.now += DEADLINE_S / 2 - 1
    assert search.reap() == {}
    clock.now += 1
    search.report(BERT, "1")
    assert search.reap() == {"anna": "0"}
    search.end(BERT, "1", completed(0.4))
    assert not search.over  # trial 0 waits
    assert search.ask(BERT) == lost
    assert search.report(ANNA, "0") == "drop"
    search.end(BERT, "0", completed(0.5))
    assert search.over
    assert search.trials().keys() == {"0", "1"}


def test_a_report_is_a_sign_of_life(begin, clock: Clock) -> None:
    search = begin(trials=2)
    search.ask(ANNA)
    for _ in range(5):
        clock.now += DEADLINE_S - 1
        assert search.reap() == {}
        assert search.report(ANNA, "0") == "continue"
    assert search.live_workers == ["anna"]
    search.leave(ANNA)
    assert search.live_workers == []


def test_a_trial_that_takes_its_workers_along_has_failed(begin, clock: Clock) -> None:
    search = begin(trials=1)
    for number in range(3):
        assert search.ask(Worker(f"worker-{number}", "x")).trial_id == "0"
        clock.now += DEADLINE_S
        assert search.reap() == {f"worker-{number}": "0"}
    assert search.outcomes["0"].reason.startswith("3 workers were lost in this trial")
    assert search.over


def test_a_worker_that_comes_back_again_and_again_has_failed_the_trial(begin) -> None:
    search = begin(trials=2)
    for number in range(3):
        assert search.ask(Worker("anna", str(number))).trial_id == "0"
    assert search.ask(Worker("anna", "3")).trial_id == "1"
    assert search.outcomes["0"].status == "failed"


def test_a_trial_that_gets_on_may_lose_any_number_of_workers(begin) -> None:
    search = begin(trials=2)
    for number in range(6):
        worker = Worker("anna", str(number))
        assert search.ask(worker).trial_id == "0"
        search.report(worker, "0", number + 1, 0.5)
    assert search.outcomes == {}


def test_an_error_in_the_algorithm_stops_the_search_and_hangs_nobody(
    begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """keras-tuner does not release its lock then."""
    search = begin(trials=3)
    search.ask(ANNA)

    def fail(_: str) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(search._oracle, "populate_space", fail)
    assert search.ask(BERT) is None
    assert search.fatal.status == "broken"
    assert search.fatal.reason.startswith("ZeroDivisionError: a bug")
    assert search.ask(BERT) is None
    assert search.report(ANNA, "0") == "drop"
    assert search.end(ANNA, "0", completed(0.5)) == "drop"
    assert not search.over


def test_storage_that_cannot_be_written_stops_the_search(begin, tmp_path: Path) -> None:
    search = begin(trials=3)
    (tmp_path / SEARCH).mkdir()
    assert search.ask(ANNA) is None
    assert search.fatal.status == "broken"
    assert search.fatal.reason.startswith(f"cannot write to {tmp_path}/{SEARCH}: ")


def test_who_goes_on_alone_takes_the_trials_of_all(begin) -> None:
    first = begin(trials=1).ask(ANNA)
    alone = begin(trials=1)
    alone.take_over(BERT)
    assert alone.ask(BERT) == first


def test_a_released_trial_goes_to_the_next_at_once(begin) -> None:
    search = begin(trials=2)
    released = search.ask(ANNA)
    search.end(ANNA, "0", Outcome("released"))
    assert search.ask(BERT) == released
    assert search.outcomes == {}


def test_failures_in_a_row_do_not_end_the_search(begin) -> None:
    search = begin(trials=6)
    for number in range(5):
        search.ask(ANNA)
        search.end(ANNA, str(number), Outcome("failed", reason="collapsed"))
    search.ask(ANNA)
    search.end(ANNA, "5", completed(0.5))
    assert search.over
    assert [one.status for one in search.outcomes.values()] == ["failed"] * 5 + ["completed"]


@pytest.mark.parametrize("status", ["refused", "broken"])
def test_bad_settings_and_bugs_end_the_search_but_burn_no_trial(begin, status: str) -> None:
    search = begin(trials=3)
    first = search.ask(ANNA)
    search.ask(BERT)
    search.end(ANNA, "0", Outcome(status, reason="margin is bad"))
    assert search.fatal == Leave(status, "margin is bad")
    assert search.ask(ANNA) is None
    assert search.report(BERT, "1") == "drop"
    repaired = begin(trials=3)
    assert repaired.fatal is None
    assert repaired.ask(ANNA) == first


def test_a_restarted_search_goes_on_with_trials_where_they_are(begin, clock: Clock) -> None:
    search = begin(trials=4)
    search.ask(ANNA)
    search.end(ANNA, "0", completed(0.5))
    running = [search.ask(ANNA), search.ask(BERT)]
    again = begin(trials=4)
    assert again.outcomes == {"0": completed(0.5)}
    assert again.report(ANNA, "1") == "continue"  # Anna has noticed nothing
    assert again.ask(Worker("bert", "a new process")) == running[1]
    clock.now += DEADLINE_S - 1
    assert again.reap() == {}
    again.report(ANNA, "1")
    clock.now += 1
    assert again.reap() == {"bert": "2"}


def test_a_restarted_search_gives_out_what_a_dead_worker_had(begin, clock: Clock) -> None:
    first = begin(trials=1).ask(ANNA)
    again = begin(trials=1)
    assert again.ask(BERT) is None
    again.reap()  # from here on Anna is missed
    clock.now += DEADLINE_S
    assert again.reap() == {"anna": "0"}
    assert again.ask(BERT) == first


def test_a_restarted_search_tries_nothing_twice(begin) -> None:
    search = begin(trials=8, algorithm="random")
    values = [search.ask(ANNA).settings["margin"]]
    for number in range(7):
        search.end(ANNA, str(number), completed(0.5))
        search = begin(trials=8, algorithm="random")
        values.append(search.ask(ANNA).settings["margin"])
    assert len(set(values)) == 8


def test_more_trials_may_be_asked_for_later(begin) -> None:
    run_all(begin(trials=2, initial_points=10), lambda _: 0.5)
    more = begin(trials=12, initial_points=10)
    assert not more.over
    assert len(run_all(more, lambda _: 0.5)) == 10
    assert list(more.trials()) == [str(i) if i < 2 else f"{i:02}" for i in range(12)]


def curve_to_the_end(search: Search, values: list[float]) -> str:
    """Run a trial with this curve; return the last order."""
    trial_id = search.ask(ANNA).trial_id
    for epoch, value in enumerate(values, start=1):
        order = search.report(ANNA, trial_id, epoch, value)
        if order == "stop":
            search.end(ANNA, trial_id, Outcome("stopped", value, epoch))
            return order
    search.end(ANNA, trial_id, completed(values[-1], len(values)))
    return order


def test_a_trial_below_the_median_is_stopped_and_scored_by_what_it_had(begin) -> None:
    search = begin(trials=9)
    assert [curve_to_the_end(search, [0.3, 0.5, 0.6]) for _ in range(3)] == ["continue"] * 3
    assert curve_to_the_end(search, [0.1, 0.2, 0.9]) == "stop"
    assert curve_to_the_end(search, [0.1, 0.5, 0.9]) == "continue"
    assert search.outcomes["3"].value == 0.2
    again = begin(trials=9)  # which remembers the curves
    assert curve_to_the_end(again, [0.1, 0.2, 0.9]) == "stop"


@pytest.mark.parametrize(
    "settings", [{"stop_early": False}, {"objective": "macro_f1"}, {"algorithm": "hyperband"}]
)
def test_where_no_trial_is_stopped_early(begin, settings: dict[str, Any]) -> None:
    search = begin({**MARGIN, "epochs": 3}, trials=9, **settings)
    for _ in range(3):
        curve_to_the_end(search, [0.3, 0.5, 0.6])
    assert curve_to_the_end(search, [0.1, 0.2, 0.3]) == "continue"


def test_hyperband_goes_on_with_the_best_of_each_round(begin) -> None:
    """Nine epochs at most, one in three continues.

    Brackets: 9 trials of 1 epoch, 3 of 3, 1 of 9 are 13; then 5 of 3, 2 of 9; then 3 of 9.
    """
    search = begin({**MARGIN, "epochs": 9}, algorithm="hyperband")
    told = []
    while assignment := search.ask(ANNA):
        told.append(assignment)
        search.end(ANNA, assignment.trial_id, completed(assignment.settings["margin"]))
    assert search.over
    rounds = [(one.settings["epochs"], one.continues is not None) for one in told]
    assert rounds[:9] == [(1, False)] * 9
    margins = {one.trial_id: one.settings["margin"] for one in told}
    promoted = [one for one in told if one.continues]
    assert all(margins[one.trial_id] == margins[one.continues] for one in promoted)
    first_round = sorted((one.settings["margin"] for one in told[:9]), reverse=True)
    second_round = [one.settings["margin"] for one in told[9:] if one.settings["epochs"] == 3]
    assert sorted(second_round[:3], reverse=True) == first_round[:3]
    assert max(rounds) == (9, True)


def test_hyperband_needs_to_know_the_epochs(begin) -> None:
    with pytest.raises(InputError, match=r"--set space.epochs=27"):
        begin(algorithm="hyperband")


def test_a_space_without_anything_to_search_is_refused(begin) -> None:
    with pytest.raises(InputError, match="no key is searched"):
        begin(only())
