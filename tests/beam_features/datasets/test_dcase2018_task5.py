"""DCASE 2018 task 5: which node heard what when, and in which fold."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_features.__main__ import main
from beam_features.datasets.dcase2018_task5 import list_recordings
from beam_features.datasets.split import split
from beam_features.job.plan import check_contexts
from beam_features.recording import Recording, Rejection
from beam_features.schema.audio.log_mel import log_mel
from beam_features.schema.dataset_info import parse_dataset_info
from beam_features.schema.feature_spec import FeatureSpec
from dem.errors import InputError
from tests.beam_features.datasets.conftest import DEVELOPMENT_SET
from tests.dcase import write_lines
from tests.processes import ROOT

SHARED_DATA = Path(os.environ.get("DEM_SHARED_DATA", ROOT.parent / "shared" / "data"))
SAMPLE = SHARED_DATA / "dcase2018-task5-sample"


@pytest.fixture
def development_set(write_development_set, tmp_path) -> Path:
    """Lists of the development set without audio, to be changed."""
    return write_development_set(tmp_path / "dev")


@pytest.fixture
def evaluation_set(write_evaluation_set, tmp_path) -> Path:
    """Lists of the evaluation set without audio, to be changed."""
    return write_evaluation_set(tmp_path / "eval")


def partitions_of(root: Path) -> dict[str, str]:
    return {r.recording_id: r.partition for r in list_recordings(str(root)).recordings}


def session_of(file: str) -> str:
    return file.split("_")[1].replace("ex", "s")


def refusal_of(root: Path) -> str:
    with pytest.raises(InputError) as refusal:
        list_recordings(str(root))
    return str(refusal.value)


# Development set


def test_lines_become_recordings(development_set):
    listing = list_recordings(str(development_set))
    assert listing.skipped == ()
    assert listing.recordings[2] == Recording(
        recording_id="DevNode1_ex1_4.wav",
        uri=f"{development_set}/audio/DevNode1_ex1_4.wav",
        label="cooking",
        partition="fold1",
        context_id="DevNode1_ex1",
        session_id="s1",
        sensor_id="DevNode1",
        offset_s=40.0,
    )
    check_contexts(listing.recordings)


def test_partition_is_the_fold_whose_test_list_has_the_file(development_set):
    expected = {file: f"fold{fold}" for fold, _, file in DEVELOPMENT_SET}
    assert partitions_of(development_set) == expected


def test_line_ends_of_windows_and_blank_lines_make_no_difference(development_set):
    before = list_recordings(str(development_set))
    for path in development_set.rglob("*.txt"):
        path.write_bytes(b"\r\n" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert list_recordings(str(development_set)) == before


def test_fold_lists_make_it_the_development_set(development_set):
    """Whatever else is there."""
    before = list_recordings(str(development_set))
    write_lines(development_set / "evaluation_setup" / "evaluate.txt", "audio/DevNode1_ex1_1.wav")
    assert list_recordings(str(development_set)) == before


def test_part_without_evaluation_setup_is_split_by_session(development_set):
    """All nodes of a session fall together, as they hear the same; of four, two to training."""
    shutil.rmtree(development_set / "evaluation_setup")
    sessions = split(session_of(file) for _, _, file in DEVELOPMENT_SET)
    assert partitions_of(development_set) == {
        file: sessions[session_of(file)] for _, _, file in DEVELOPMENT_SET
    }
    assert sorted(sessions.values()) == ["test", "train", "train", "validation"]


def test_tab_behind_the_files_of_a_test_list_makes_no_difference(development_set):
    """The readme of the set describes one."""
    before = list_recordings(str(development_set))
    for path in development_set.glob("evaluation_setup/fold*_test.txt"):
        path.write_text(path.read_text().replace("\n", "\t\n"))
    assert list_recordings(str(development_set)) == before


def test_file_in_no_test_list_is_skipped(development_set):
    path = development_set / "evaluation_setup" / "fold3_test.txt"
    write_lines(path, "audio/DevNode3_ex3_9.wav", "audio/DevNode3_ex3_11.wav")
    listing = list_recordings(str(development_set))
    uri = f"{development_set}/audio/DevNode3_ex3_10.wav"
    detail = "it is in no test list of evaluation_setup/"
    assert listing.skipped == (Rejection(uri, "list", "no_fold", detail),)
    assert len(listing.recordings) == len(DEVELOPMENT_SET) - 1


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line + "\n")


@pytest.mark.parametrize(
    ("list_name", "line", "message"),
    [
        (
            "evaluation_setup/fold4_test.txt",
            "audio/DevNode1_ex2_3.wav",
            "'{list}', line 2, column file: 'audio/DevNode1_ex2_3.wav' is in the test list of "
            "fold2 too; keep it in one",
        ),
        (
            "evaluation_setup/fold4_test.txt",
            "audio/DevNode1_ex9_9.wav",
            "'{list}', line {line}, column file: 'audio/DevNode1_ex9_9.wav' is not in meta.txt; "
            "correct one of them",
        ),
        (
            "evaluation_setup/fold4_train.txt",
            "audio/DevNode1_ex9_9.wav\tcooking\ts9",
            "'{list}', line {line}, column file: 'audio/DevNode1_ex9_9.wav' is not in meta.txt; "
            "correct one of them",
        ),
        (
            "evaluation_setup/fold4_evaluate.txt",
            "audio/DevNode1_ex2_3.wav\teating",
            "'{list}', line 2, column label: 'eating' for 'audio/DevNode1_ex2_3.wav', in meta.txt "
            "'working'; correct one of them",
        ),
        (
            "meta.txt",
            "audio/DevNode1_ex2_3.wav\teating\ts2",
            "'{list}', line 11, column file: 'audio/DevNode1_ex2_3.wav' is in line 5 too; "
            "remove one of the rows",
        ),
        (
            "meta.txt",
            "audio/DevNode1_ex2_4.wav\teating",
            "'{list}', line 11, column session: the row has 2 of 3 cells; the table may be "
            "truncated",
        ),
        (
            "meta.txt",
            "audio/kitchen.wav\teating\ts2",
            "'{list}', line 11, column file: 'audio/kitchen.wav' is not named like "
            "DevNode1_ex2_3.wav; rename it",
        ),
        (
            "meta.txt",
            "audio/../../x.wav\teating\ts2",
            "'{list}', line 11, column file: 'audio/../../x.wav' must be a file such as "
            "audio/1.wav, separated from other cells by a tab",
        ),
        (
            "meta.txt",
            "audio/DevNode1_ex2_4.wav\tca\x00fe\ts2",
            "'{list}', line 11, column label: byte 0x00 is not UTF-8 text; save the table as CSV "
            "in UTF-8",
        ),
    ],
    ids=[
        "two-folds",
        "test",
        "train",
        "other-label",
        "twice",
        "two-columns",
        "other-name",
        "outside",
        "NUL",
    ],
)
def test_lists_that_disagree_are_refused(development_set, list_name, line, message):
    append(development_set / list_name, line)
    line_number = len((development_set / list_name).read_text().splitlines())
    assert refusal_of(development_set) == message.format(
        list=development_set / list_name, line=line_number
    )


@pytest.mark.parametrize("separator", [",", ";", " "])
def test_list_with_other_separators_is_refused(development_set, separator):
    path = development_set / "meta.txt"
    path.write_text(path.read_text().replace("\t", separator))
    first = separator.join(("audio/DevNode1_ex1_1.wav", "cooking", "s1"))
    assert refusal_of(development_set) == (
        f"{str(path)!r}, line 1, column file: {first!r} must be a file such as audio/1.wav, "
        "separated from other cells by a tab"
    )


def test_separators_of_lines_in_unicode_are_no_ends_of_lines(development_set):
    """U+0085, U+2028 and form feeds end no line of a file."""
    path = development_set / "meta.txt"
    path.write_text(path.read_text().replace("cooking", "coo\u2028king"))
    assert refusal_of(development_set) == (
        f"{str(path)!r}, line 1, column label: a line break or another control character in "
        "'coo\\u2028king'; check the quotes"
    )


def test_blanks_and_unicode_forms_of_labels_are_normalised(development_set):
    path = development_set / "meta.txt"
    path.write_text(path.read_text().replace("watching_tv", " e\u0301ating "), encoding="utf-8-sig")
    shutil.rmtree(development_set / "evaluation_setup")
    listing = list_recordings(str(development_set))
    assert {r.label for r in listing.recordings} == {"cooking", "working", "\xe9ating", "absence"}
    assert listing.remarks == (
        r"label: 3 rows normalised, such as ' e\u0301ating ' to '\xe9ating'",
    )


@pytest.mark.parametrize("name", ["meta.txt", "evaluation_setup/fold3_test.txt"])
def test_missing_list_is_refused(development_set, name):
    (development_set / name).unlink()
    assert refusal_of(development_set) == (
        f"{str(development_set / name)!r} does not exist; --input takes the directory that holds "
        "meta.txt, audio/ and evaluation_setup/, as released, or the one that holds "
        "DCASE2018-task5-dev and DCASE2018-task5-eval"
    )


@pytest.mark.parametrize("name", ["meta.txt", "evaluation_setup/fold3_test.txt"])
def test_empty_list_is_refused(development_set, name):
    (development_set / name).write_text("\n")
    assert refusal_of(development_set) == (
        f"{str(development_set / name)!r} is empty; take it from the release"
    )


def test_session_over_two_folds_is_refused_as_a_leak(development_set):
    for fold, files in ((1, ("DevNode1_ex1_1", "DevNode2_ex1_1")), (2, ("DevNode1_ex1_2",))):
        path = development_set / "evaluation_setup" / f"fold{fold}_test.txt"
        write_lines(path, *(f"audio/{file}.wav" for file in files))
    with pytest.raises(InputError, match="context 'DevNode1_ex1' has recordings of two partitions"):
        check_contexts(list_recordings(str(development_set)).recordings)


# Evaluation set


def test_map_tells_node_and_time(evaluation_set):
    """Nodes 1 to 4 are those of the development set."""
    (third,) = (r for r in list_recordings(str(evaluation_set)).recordings if "3" in r.recording_id)
    assert third == Recording(
        recording_id="3.wav",
        uri=f"{evaluation_set}/audio/3.wav",
        label="eating",
        partition="eval-unknown",
        context_id="EvalNode5_ex7",
        session_id="s7",
        sensor_id="EvalNode5",
        offset_s=60.0,
    )
    assert partitions_of(evaluation_set) == {
        "1.wav": "eval-known",
        "2.wav": "eval-unknown",
        "3.wav": "eval-unknown",
        "4.wav": "eval-unknown",
    }


def test_list_of_unknown_microphones_decides_where_it_exists(evaluation_set):
    """Without the map nothing tells when a file was heard, so each is a context of its own."""
    (evaluation_set / "evaluation_setup" / "map.txt").unlink()
    write_lines(evaluation_set / "unknown_mic_meta.txt", "audio/4.wav\tother\ts8")
    first, *_ = list_recordings(str(evaluation_set)).recordings
    assert (first.context_id, first.session_id, first.sensor_id) == ("1.wav", "s7", "")
    assert partitions_of(evaluation_set) == {
        "1.wav": "eval-known",
        "2.wav": "eval-known",
        "3.wav": "eval-known",
        "4.wav": "eval-unknown",
    }


def test_evaluation_set_of_which_nothing_tells_the_microphones(evaluation_set):
    shutil.rmtree(evaluation_set / "evaluation_setup")
    assert set(partitions_of(evaluation_set).values()) == {"eval"}


def test_evaluation_set_as_it_was_before_the_labels_were_released(evaluation_set):
    write_lines(evaluation_set / "meta.txt", "audio/1.wav", "audio/9.wav")
    first, ninth = list_recordings(str(evaluation_set)).recordings
    assert (first.label, first.session_id, first.partition) == (None, "ex7", "eval-known")
    assert (ninth.label, ninth.session_id, ninth.partition) == (None, "9.wav", "eval")


def test_unknown_microphone_that_meta_does_not_list_is_refused(evaluation_set):
    write_lines(evaluation_set / "unknown_mic_meta.txt", "audio/7.wav\tother\ts8")
    assert refusal_of(evaluation_set) == (
        f"'{evaluation_set}/unknown_mic_meta.txt', line 1, column file: 'audio/7.wav' is not in "
        "meta.txt; correct one of them"
    )


# Both


@pytest.fixture
def both_sets(write_development_set, write_evaluation_set, tmp_path) -> Path:
    """Lists of both sets side by side, without audio."""
    write_development_set(tmp_path / "DCASE2018-task5-dev")
    write_evaluation_set(tmp_path / "DCASE2018-task5-eval")
    return tmp_path


def test_sets_side_by_side_are_one_dataset_of_different_sessions(both_sets):
    """Both number their sessions from 1: without a prefix, sensors would share an instant."""
    path = both_sets / "DCASE2018-task5-eval" / "meta.txt"
    path.write_text(path.read_text().replace("\ts7", "\ts1"))
    recordings = list_recordings(str(both_sets)).recordings
    sessions = {
        partition: {r.session_id for r in recordings if r.partition == partition}
        for partition in sorted({r.partition for r in recordings})
    }
    assert sessions == {
        "eval-known": {"eval-s1"},
        "eval-unknown": {"eval-s1", "eval-s8"},
        "fold1": {"s1"},
        "fold2": {"s2"},
        "fold3": {"s3"},
        "fold4": {"s40"},
    }
    check_contexts(recordings)
    alone = list_recordings(str(both_sets / "DCASE2018-task5-dev")).recordings
    assert recordings[: len(alone)] == alone


def test_one_set_below_the_directory_of_both_is_listed(both_sets):
    shutil.rmtree(both_sets / "DCASE2018-task5-eval")
    assert set(partitions_of(both_sets).values()) == {"fold1", "fold2", "fold3", "fold4"}


def test_a_set_without_lists_is_not_left_out(both_sets):
    path = both_sets / "DCASE2018-task5-eval" / "meta.txt"
    path.unlink()
    assert refusal_of(both_sets).startswith(f"{str(path)!r} does not exist; --input takes")


def test_skipped_files_and_remarks_of_both_are_kept(both_sets):
    development, evaluation = (both_sets / f"DCASE2018-task5-{name}" for name in ("dev", "eval"))
    write_lines(development / "evaluation_setup" / "fold4_test.txt", "audio/DevNode1_ex2_3.wav")
    write_lines(development / "evaluation_setup" / "fold2_test.txt", "audio/DevNode2_ex2_7.wav")
    path = evaluation / "meta.txt"
    path.write_text(path.read_text().replace("other", " other"))
    listing = list_recordings(str(both_sets))
    assert [rejection.reason for rejection in listing.skipped] == ["no_fold"]
    assert listing.remarks == ("label: 1 row normalised, such as ' other' to 'other'",)


# Through the whole job


@pytest.fixture(scope="module")
def heard(write_development_set, tmp_path_factory) -> tuple[Path, Path]:
    """The development set with 10 s of audio per file, and its features."""
    root = write_development_set(tmp_path_factory.mktemp("dcase") / "dev", seconds=10.0)
    output = root.parent / "features"
    words = ["--dataset", "dcase2018-task5", "--input", str(root), "--output", str(output)]
    assert main([*words, "--shards", "1", "--max-failure-rate", "0.1"]) == 0
    return root, output


def test_strips_join_segments_and_end_at_gaps(heard, read_strips):
    """Tiles are 1 s: segment k begins at tile 10 k, whatever file it is in.

    Another strip begins at every 64th tile, here at 128.
    """
    _, output = heard
    info = parse_dataset_info((output / "dataset_info.json").read_text(), "")
    assert info.label_names == ("absence", "cooking", "watching_tv", "working")
    strips = {
        (
            fold,
            strip.session_id,
            strip.sensor_id,
            strip.first_tile,
            len(strip.log_mel),
            tuple(dict.fromkeys(strip.recording_ids)),
            *{info.label_names[label] for label in strip.labels},
        )
        for fold in ("fold1", "fold2", "fold3", "fold4")
        for strip in read_strips(output / f"{fold}-00000-of-00001.tfrecord", FeatureSpec())
    }
    node1, node3 = "DevNode1_ex1_{}.wav".format, "DevNode3_ex3_{}.wav".format
    assert strips == {
        ("fold1", "s1", "DevNode1", 10, 20, (node1(1), node1(2)), "cooking"),
        ("fold1", "s1", "DevNode1", 40, 10, (node1(4),), "cooking"),
        ("fold1", "s1", "DevNode2", 10, 10, ("DevNode2_ex1_1.wav",), "cooking"),
        ("fold2", "s2", "DevNode1", 30, 10, ("DevNode1_ex2_3.wav",), "working"),
        ("fold3", "s3", "DevNode3", 90, 30, (node3(9), node3(10), node3(11)), "watching_tv"),
        ("fold4", "s40", "DevNode4", 120, 8, ("DevNode4_ex40_12.wav",), "absence"),
        ("fold4", "s40", "DevNode4", 128, 2, ("DevNode4_ex40_12.wav",), "absence"),
    }


@pytest.mark.parametrize("channels", ["mean", "all"])
def test_the_trainer_finds_the_same_instant_at_the_other_node(
    heard, tmp_path, channels, read_strips
):
    """Node 1 heard tiles 10 to 29 and 40 to 49 of session 1, node 2 tiles 10 to 19."""
    from tests.trainer.corpora import corpus_of
    from trainer.data.features import Features

    root, output = heard
    if channels == "all":
        output = tmp_path / "features"
        words = ["--dataset", "dcase2018-task5", "--input", str(root), "--output", str(output)]
        options = ["--max-failure-rate", "0.1", "--set", "channels=all"]
        assert main([*words, "--shards", "1", *options]) == 0
    info = parse_dataset_info((output / "dataset_info.json").read_text(), "")
    features = Features(str(output), info)
    corpus = corpus_of(
        features, train_partitions=["fold1", "fold2"], positives=["sensor"], batch_size=16
    )
    shards = [path for fold in (1, 2) for path in output.glob(f"fold{fold}-*.tfrecord")]
    strips = [strip for path in shards for strip in read_strips(path, FeatureSpec())]
    nodes = ("DevNode1", "DevNode2")
    names = nodes if channels == "mean" else [f"{n}#channel{c}" for n in nodes for c in range(4)]
    assert {strip.sensor_id for strip in strips} == set(names)

    spectra = {  # a frame tells where it is from
        (strip.session_id, strip.sensor_id, strip.first_tile): strip.log_mel.reshape(-1, 64)
        for strip in strips
    }
    met = set()
    for batch in corpus.pairs.batches((0, 8), (1, 0, 1), cut=None).as_numpy_iterator():
        for pair in corpus.store.frames[batch["starts"]]:
            places = [
                (sensor, (session, first * 100 + int(frame)))
                for spectrum in pair
                for (session, sensor, first), frames in spectra.items()
                for frame in np.flatnonzero((frames == spectrum).all(axis=1))
            ]
            (one, here), (other, there) = places
            assert here == there
            met.add((one, other))
    assert len(met) >= len(names)
    assert all(one != other for one, other in met)


def test_tiles_are_of_the_mean_of_the_four_channels(heard, read_strips):
    root, output = heard
    strips = read_strips(output / "fold4-00000-of-00001.tfrecord", FeatureSpec())
    samples, rate_hz = soundfile.read(root / "audio/DevNode4_ex40_12.wav", dtype="float32")
    assert (samples.shape, rate_hz) == ((160_000, 4), 16_000)
    frames = log_mel(samples.mean(axis=1), FeatureSpec())
    expected = frames[:1000].reshape(10, 100, 64)
    tiles = np.concatenate([strip.log_mel for strip in strips])
    np.testing.assert_allclose(tiles, expected, rtol=2**-11)


def test_listed_file_that_is_not_on_disk_is_rejected(heard):
    root, output = heard
    (line,) = (output / "rejected-00000-of-00001.jsonl").read_text().splitlines()
    uri = f"{root}/audio/DevNode2_ex2_7.wav"
    expected = Rejection(uri, "read", "missing", "there is no such file")
    assert json.loads(line) == dataclasses.asdict(expected)


@pytest.mark.skipif(
    not SAMPLE.is_dir(), reason=f"no {SAMPLE}; DEM_SHARED_DATA names the directory above it"
)
def test_real_sample(tmp_path, read_strips):
    """Two recordings of 10 s; two sessions are too few for a partition besides train."""
    output = tmp_path / "out"
    words = ["--dataset", "dcase2018-task5", "--input", str(SAMPLE), "--output", str(output)]
    assert main(words) == 0
    info = parse_dataset_info((output / "dataset_info.json").read_text(), "")
    assert info.label_names == ("eating",)
    assert info.rejected == {}
    assert set(info.partitions) == {"train"}
    paths = sorted(output.glob("train-*.tfrecord"))
    strips = [strip for path in paths for strip in read_strips(path, info.feature_spec)]
    expected = [("DevNode2", "ex66", 40), ("DevNode3", "ex67", 50)]
    for strip, (node, session, first_tile) in zip(
        sorted(strips, key=lambda strip: strip.context_id), expected, strict=True
    ):
        assert strip.context_id == f"{node}_{session}"
        assert (strip.session_id, strip.sensor_id) == (session, node)
        assert (strip.first_tile, strip.log_mel.shape) == (first_tile, (10, 100, 64))
        assert np.isfinite(strip.log_mel).all()
