"""Progress lines of a run."""

import re
import time

from beam_features.job.finished import FinishedShard
from beam_features.job.plan import Shard
from beam_features.job.progress import Progress, reported
from beam_features.job.shard_writer import ShardSummary
from beam_features.recording import Outcome
from beam_features.schema.dataset_info import Moments

SUMMARY = ShardSummary(
    strips=1,
    tiles=1800,
    bytes_written=500_000,
    moments=Moments(0, (), ()),
    outcomes=(Outcome("a.wav", seconds=1800.0, bytes_read=2_000_000),),
)


def finish(directory, name: str) -> None:
    finished = FinishedShard(Shard("train", 0, 1, ()), {}, SUMMARY)
    (directory / name).write_text(finished.dump())


def test_only_new_shards_of_this_run_count(tmp_path):
    """Of four shards one was there before, and two are finished one after the other."""
    finish(tmp_path, "before.json")
    progress = Progress(frozenset(f"{tmp_path}/{name}.json" for name in ("a", "b", "c")))
    assert not progress.update(str(tmp_path))
    finish(tmp_path, "a.json")
    assert progress.update(str(tmp_path))
    assert not progress.update(str(tmp_path))
    finish(tmp_path, "c.json")
    assert progress.update(str(tmp_path))
    assert (len(progress.finished), progress.seconds) == (2, 3600.0)
    assert (progress.bytes_read, progress.bytes_written) == (4_000_000, 1_000_000)


def test_line_tells_how_many_times_real_time():
    finished = FinishedShard(Shard("train", 0, 1, ()), {}, SUMMARY)
    progress = Progress(frozenset({"a", "b"}), finished={"a": finished}, seconds=3600.0)
    progress.begin -= 10.0
    assert re.fullmatch(
        r"1 of 2 shards, 1\.00 h of audio in 10 s \((359|360) times real time\), "
        r"0\.0 MB read, 0\.0 MB written",
        progress.line(),
    )


def test_told_while_it_runs_and_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("beam_features.job.progress._FIRST_INTERVAL_S", 0.01)
    progress = Progress(frozenset(f"{tmp_path}/{name}.json" for name in ("a", "b")))
    lines: list[str] = []
    with reported(progress, str(tmp_path), lines.append):
        finish(tmp_path, "a.json")
        while not lines:
            time.sleep(0.001)
        finish(tmp_path, "b.json")
    assert lines[0].startswith("1 of 2 shards, 0.50 h of audio in 0 s (")
    assert lines[-1].startswith("2 of 2 shards, 1.00 h of audio in ")
    assert lines[-1].endswith("4.0 MB read, 1.0 MB written")
