"""Bad files of every form: each is read whole or rejected, and the good ones are not affected.

The fast tests take an even part of the corpus. For all of it, with a table of the verdicts:
``python -m tests.beam_features.tiles.corpus``.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from beam_features.schema.audio.files import AUDIO_SUFFIXES
from beam_features.schema.dataset_info import parse_dataset_info
from beam_features.schema.feature_spec import FeatureSpec
from tests.beam_features.encoded import all_forms, noisy_tone
from tests.beam_features.tiles.corpus import FAULTS, Verdict, corpus, judge

GOOD = ("WAV PCM_16", "FLAC PCM_16", "OGG VORBIS", "mp3/mp3", "m4a/aac")


def judged(home: Path, every_form: int, every_change: int) -> list[Verdict]:
    files = corpus(home, every_form, every_change)
    return [judge(form, mutant, home) for form, mutant in files]


@pytest.mark.parametrize(
    ("every_form", "every_change", "at_least"),
    [(14, 11, 150), pytest.param(1, 4, 5000, marks=pytest.mark.slow)],
)
def test_no_bad_file_is_shortened(ffmpeg, tmp_path, capfd, every_form, every_change, at_least):
    verdicts = judged(tmp_path, every_form, every_change)
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    with capfd.disabled():
        print(f"\n{len(verdicts)} files: {dict(outcomes)}")
    assert [str(verdict) for verdict in verdicts if verdict.outcome in FAULTS] == []
    assert outcomes.total() > at_least
    assert min(outcomes["whole"], outcomes["rejected"]) > at_least // 4


def write_good(folder: Path) -> Path:
    for form in all_forms():
        if form.name in GOOD:
            path = folder / "good" / f"{form.name.replace('/', ' ')}.{form.suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(form.encode(noisy_tone(2.0), form.rate_hz))
    return folder


@pytest.mark.parametrize(
    ("every_form", "every_change"), [(20, 13), pytest.param(3, 13, marks=pytest.mark.slow)]
)
def test_a_job_among_bad_files(ffmpeg, tmp_path, run_job, read_strips, every_form, every_change):
    good, mixed = write_good(tmp_path / "good"), write_good(tmp_path / "mixed")
    (mixed / "bad").mkdir()
    expected = {}
    for index, (form, mutant) in enumerate(corpus(tmp_path, every_form, every_change)):
        path = mixed / "bad" / f"{index:04d}.{form.suffix}"
        if path.suffix in AUDIO_SUFFIXES:
            path.write_bytes(mutant.data)
            expected[str(path)] = judge(form, mutant, tmp_path).outcome
    for source in (good, mixed):
        assert run_job(source, f"{source}.out", "--max-failure-rate", "1") == 0
    output = Path(f"{mixed}.out")
    info = parse_dataset_info((output / "dataset_info.json").read_text(), "")
    lines = [
        json.loads(line)
        for path in output.glob("rejected-*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert sorted(line["uri"] for line in lines) == sorted(
        uri for uri, outcome in expected.items() if outcome == "rejected"
    )
    assert all(line["reason"] and line["detail"] for line in lines)
    used = sum(part.recordings for part in info.partitions.values())
    assert used == len(GOOD) + len(expected) - len(lines)
    assert len(lines) > len(expected) // 5

    alone = tiles_of_good_files(Path(f"{good}.out"), read_strips)
    assert len(alone) == len(GOOD)
    assert tiles_of_good_files(output, read_strips) == alone


def tiles_of_good_files(output: Path, read_strips) -> dict[str, bytes]:
    shards = sorted(output.glob("*.tfrecord"))
    strips = [strip for shard in shards for strip in read_strips(shard, FeatureSpec())]
    good = [strip for strip in strips if strip.context_id.startswith("good/")]
    return {strip.context_id: strip.log_mel.tobytes() for strip in good}
