"""The report command on small jobs, and the page that it writes."""

import contextlib
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from beam_features.schema.strip import NO_LABEL
from dem.errors import InputError
from tests.trainer.synthetic import LABELS, SPEC, label_songs, write_features
from tests.trainer.vectors import tile_table
from trainer.classify.outputs import read_runs
from trainer.classify.run import evaluate
from trainer.config import ClassifyConfig, TrainConfig
from trainer.data.features import Features
from trainer.data.vector_table import recording_table
from trainer.model.vectors import as_representation, log_mel_statistics
from trainer.plots.heat_map import confusion_png
from trainer.report.__main__ import main
from trainer.report.baselines import RIVALS, Recalls
from trainer.report.page import Library, Neighbour, Report, choose_run, render
from trainer.report.run import _find_library, _neighbours, frequent_mistakes, write_report
from trainer.train.run import train

NASTY = '<b>&"x"</b>'
SETTINGS = {
    "encoder": "dense",
    "encoder_width": 0.125,
    "batch_size": 16,
    "epochs": 2,
    "embedding_size": 8,
    "margin": 1.0,
}


class Page(HTMLParser):
    """What a browser would find: texts, tags and their attributes, cells by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1] and self.tags[-1][0] in ("td", "th", "code"):
            self.rows[-1][-1] += data.strip()

    def row(self, name: str) -> list[str]:
        (found,) = (row for row in self.rows if row[0] == name)
        return found


def assert_self_contained(page: Page) -> None:
    assert not {"script", "link", "iframe", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not attributes.keys() & {"href", "srcset", "style"}
        if tag == "img":
            assert str(attributes["src"]).startswith("data:image/png;base64,")
        else:
            assert "src" not in attributes
    assert not [word for word in ("http", "url(", "@import") if word in page.text]


def n_images(page: Page) -> int:
    return [tag for tag, _ in page.tags].count("img")


@pytest.fixture(scope="module")
def nasty_features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features whose first label is markup."""
    songs = {"train": 24, "validation": 9, "test": 12}
    features = write_features(tmp_path_factory.mktemp("report") / "features", songs)
    info = features / "dataset_info.json"
    values = json.loads(info.read_text())
    info.write_text(json.dumps(values | {"label_names": [NASTY, *values["label_names"][1:]]}))
    return features


@pytest.fixture(scope="module")
def job(nasty_features: Path) -> Path:
    job = nasty_features.parent / "job"
    train(str(nasty_features), str(job), TrainConfig(**SETTINGS), lambda: False)
    for encoder in ("none", "trained"):
        evaluate(str(nasty_features), str(job), encoder, "logistic", ClassifyConfig())
    return job


@pytest.fixture(scope="module")
def page(nasty_features: Path, job: Path) -> Page:
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        assert main(["--data", str(nasty_features), "--job-dir", str(job)]) == 0
    assert stdout.getvalue() == f"{job}/report.html\n"
    return Page((job / "report.html").read_text())


def test_the_page_needs_nothing_else(page: Page) -> None:
    assert_self_contained(page)
    curves, confusion, by_label, by_context = 2, 1, 3, 2
    assert n_images(page) == curves + confusion + by_label + by_context


def test_numbers_are_those_of_the_files(page: Page, job: Path) -> None:
    training = json.loads((job / "metrics.json").read_text())
    header = page.row("steps")
    row = dict(zip(header, page.rows[page.rows.index(header) + 1], strict=True))
    assert row["steps"] == "18"
    assert row["loss"] == f"{training['loss']:.3f}"
    assert row["recall_at_1"] == f"{training['recall_at_1']:.3f}"
    for name in ("none-logistic", "trained-logistic"):
        results = json.loads((job / "classifier" / name / "metrics.json").read_text())
        recording, tile = results["recording"], results["tile"]
        shown = page.row(name)
        for column, value in (
            (1, recording["macro_f1"]),
            (3, recording["accuracy"]),
            (5, tile["macro_f1"]),
            (6, tile["accuracy"]),
        ):
            assert shown[column] == f"{value:.3f}"
        low, high = recording["macro_f1_ci95"]
        assert shown[2] == f"{low:.3f}–{high:.3f}"
    scores = json.loads((job / "classifier/trained-logistic/metrics.json").read_text())
    assert f"job: macro-F1 {scores['recording']['macro_f1']:.3f}" in page.text


def test_data_settings_and_versions_are_there(page: Page, nasty_features: Path, job: Path) -> None:
    info = json.loads((nasty_features / "dataset_info.json").read_text())
    assert page.row("fingerprint")[1] == info["fingerprint"]
    assert page.row("validation")[1:4] == ["validation", "9", "54"]
    assert (job / "config.yaml").read_text().strip() in page.text
    assert page.row("numpy")[2] == np.__version__


def test_quality_is_that_of_the_embedding_and_of_other_encoders(page: Page, job: Path) -> None:
    assert page.row("measure") == ["measure", "recordings", "tiles", "recordings, none"]
    for name, column in (("none-logistic", 3), ("trained-logistic", 1)):
        results = json.loads((job / "classifier" / name / "metrics.json").read_text())
        expected = results["quality"]["recording"]["hubness"]
        assert page.row("hubness")[column] == f"{expected:.3f}"


def test_names_are_text_not_markup(page: Page, job: Path) -> None:
    assert NASTY not in (job / "report.html").read_text()
    assert "b" not in {tag for tag, _ in page.tags}
    (scores,) = (row for row in page.rows if row[0] == NASTY and len(row) == 5)
    assert scores[4] == "4"


def test_neighbours_are_of_recordings_other_than_the_query(page: Page) -> None:
    assert [tag for tag, _ in page.tags].count("article") == 6
    assert [tag for tag, _ in page.tags].count("li") == 6 * 5
    right = [attributes for _, attributes in page.tags if attributes.get("class") == "same"]
    assert page.text.count("✓") == len(right) + 1  # and the remark
    assert len(right) > 15  # of 30; 3 labels


def test_unlabelled_features_without_validation_are_reported(tmp_path: Path) -> None:
    data = write_features(tmp_path / "features", {"train": 24, "test": 5}, labelled=False)
    job = tmp_path / "job"
    train(str(data), str(job), TrainConfig(**SETTINGS), lambda: False)
    page = Page(Path(write_report(str(data), str(job))).read_text())
    assert_self_contained(page)
    assert n_images(page) == 3  # loss; contexts by PCA and by t-SNE
    assert "Classifiers" not in page.text
    assert "✓" not in page.text
    assert "job: recall by song " in page.text
    assert "tiles of train, test, from 29 recordings" in page.text
    assert [tag for tag, _ in page.tags].count("article") == 6
    assert [row[0] for row in page.rows if row[0] in (*RIVALS.values(), "this training")] == [
        "log-mel statistics",
        "log-mel and modulation statistics",
        "untrained",
        "this training",
    ]
    assert "dem index --model" in page.text


def test_of_one_test_song_other_partitions_are_shown(tmp_path: Path) -> None:
    """One recording has no neighbours, and of one context or label every rank is right."""
    data = write_features(tmp_path / "features", {"train": 6, "validation": 1, "test": 1})
    label_songs(data, "train", [NO_LABEL] * 5 + [1])
    job = tmp_path / "job"
    settings = SETTINGS | {"epochs": 1, "steps_per_epoch": 1}
    train(str(data), str(job), TrainConfig(**settings), lambda: False)
    page = Page(Path(write_report(str(data), str(job))).read_text())
    assert "all 36 tiles of train, from 6 recordings" in page.text
    assert [tag for tag, _ in page.tags].count("article") == 6
    assert n_images(page) == 3  # loss; contexts by PCA and by t-SNE; a single label has no picture
    assert "recall_at_1_by_context" in page.text
    assert "by_label" not in page.text
    assert "job: recall by song " in page.text


def test_silence_is_no_neighbour(features: Features) -> None:
    tiles = tile_table(features, ["test"], as_representation(log_mel_statistics(SPEC.tile_shape)))
    recordings = recording_table(tiles)
    silent = recordings.recording_ids == "test/7"
    queries = _neighbours(replace(recordings, audible=~silent), LABELS, 0)
    named = {other.recording for query, others in queries for other in (query, *others)}
    assert len(queries) == 6
    assert "test/7" not in named
    assert _neighbours(replace(recordings, audible=silent), LABELS, 0) == []


def test_features_that_changed_after_the_training_are_refused(job: Path, tmp_path: Path) -> None:
    songs = {"train": 25, "validation": 9, "test": 12}
    data = write_features(tmp_path / "features", songs)
    with pytest.raises(InputError, match=r"trained on, or has changed since; give the features of"):
        write_report(str(data), str(job))


def test_an_unfinished_training_is_refused(nasty_features: Path, job: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text((job / "config.yaml").read_text())
    with pytest.raises(InputError, match=r"has not finished; finish it with python -m trainer\.tr"):
        write_report(str(nasty_features), str(tmp_path))


def test_predictions_of_other_labels_are_refused(
    features_dir: Path, nasty_features: Path, job: Path
) -> None:
    with pytest.raises(InputError, match=r"has label '<b>.*run python -m trainer.classify again"):
        write_report(str(features_dir), str(job))


def test_index_and_map_are_linked(nasty_features: Path, job: Path, tmp_path: Path) -> None:
    for words, message in (
        (["--map", str(tmp_path / "no.html")], "write it with dem map"),
        (["--index", str(tmp_path)], "holds no index; build one with dem index"),
    ):
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            assert main(["--data", str(nasty_features), "--job-dir", str(job), *words]) == 2
        assert message in stderr.getvalue()
    library = Library("my index", "a/map #1.html", "../map%20%231.html")
    query = Neighbour("it's.ogg", None)
    page = Page(render(made_report(library=library, neighbours=[(query, [])])))
    assert ("a", {"href": "../map%20%231.html"}) in page.tags
    assert """dem similar 'it'"'"'s.ogg' --index 'my index' -k 3""" in page.text
    assert "dem index --model" not in page.text
    remote = Page(render(made_report(library=Library(None, "gs://bucket/map.html"))))
    assert "a" not in {tag for tag, _ in remote.tags}
    assert "gs://bucket/map.html" in remote.text


def test_the_link_is_relative_to_the_page(tmp_path: Path) -> None:
    (tmp_path / "map #1.html").write_text("")
    library = _find_library(str(tmp_path / "job"), None, str(tmp_path / "map #1.html"))
    assert library.map_link == "../map%20%231.html"
    assert _find_library("gs://bucket/job", None, library.map).map_link is None


def test_an_encoder_below_the_untrained_one_is_red() -> None:
    recalls = Recalls({"trained": 0.4, "random": 0.5, "none": 0.3}, 10.0, 7)
    page = Page(render(made_report(recalls=recalls)))
    assert [attributes["class"] for tag, attributes in page.tags if tag == "strong"] == [
        "bad",
        "good",
    ]
    assert next(a.get("class") for tag, a in page.tags if tag == "div") == "bad"
    assert "is below untrained by 10.0 points and ahead of log-mel statistics by 10.0" in page.text
    assert page.row("untrained") == ["untrained", "0.500"]
    assert "less than 10 s apart" in page.text


def scores(value: float) -> dict:
    interval = [value - 0.1, value + 0.1]
    return {
        "macro_f1": value,
        "macro_f1_ci95": interval,
        "accuracy": value,
        "accuracy_ci95": interval,
    }


def made_run(encoder: str, value: float, **more: object) -> dict:
    classes = {"a": {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 4}}
    recording = scores(value) | {"per_class": classes}
    return {"encoder": encoder, "recording": recording, "tile": scores(value), **more}


def test_the_run_that_is_shown_is_the_best_clean_one_of_the_trained_encoder() -> None:
    runs = {
        "none-logistic": made_run("none", 0.95),
        "trained-dense": made_run("trained", 0.9, transductive=True),
        "trained-logistic": made_run("trained", 0.8),
        "trained-other": made_run("trained", 0.7),
    }
    assert choose_run(runs) == "trained-logistic"
    assert choose_run({"none-logistic": made_run("none", 0.5)}) == "none-logistic"
    assert choose_run({}) is None


def made_report(**more: object) -> Report:
    empty = Report(
        job_dir="gs://bucket/job",
        training={"steps": 5, "loss": 0.1, "recall_at_1": float("nan"), "seconds": 7200.0},
        curves={},
        runs={},
        shown_run=None,
        confusion=None,
        mistakes=[],
        sample="",
        pictures={},
        recalls=None,
        quality={},
        neighbours=[],
        library=Library(),
        data={},
        partitions=[],
        settings="",
        versions={},
    )
    return replace(empty, **more)


def test_keys_that_only_some_runs_have_are_shown() -> None:
    runs = {"none-logistic": made_run("none", 0.5), "trained-logistic": made_run("trained", 0.8)}
    runs["trained-logistic"]["transductive"] = True
    runs["trained-logistic"]["recording"]["knn_accuracy"] = 0.625
    page = Page(render(made_report(runs=runs, shown_run="trained-logistic")))
    assert page.row("none-logistic")[-2:] == ["–", ""]
    assert page.row("trained-logistic")[-2:] == ["0.625", "transductive"]


def test_what_few_recordings_do_not_allow_is_left_out() -> None:
    run = made_run("trained", 0.5, unseen_labels={"x": 1, "y": 2})
    run["recording"] |= {"macro_f1_ci95": None, "accuracy_ci95": None}
    page = Page(render(made_report(runs={"trained-logistic": run}, shown_run="trained-logistic")))
    assert page.row("trained-logistic")[1:5] == ["0.500", "–", "0.500", "–"]
    assert "95 %: " not in page.text
    assert "No training recording has labels 'x', 'y', so test recordings" in page.text


def test_measures_without_a_classifier_are_shown() -> None:
    quality = {
        "recordings": {"hubness": 1.25, "silhouette": None, "v": None},
        "tiles": {"hubness": 2.0, "v": 0.5},
    }
    page = Page(render(made_report(quality=quality)))
    assert page.row("measure") == ["measure", "recordings", "tiles"]
    assert page.row("hubness") == ["hubness", "1.250", "2.000"]
    assert page.row("v") == ["v", "–", "0.500"]
    assert "silhouette" not in page.text


def test_hundreds_of_labels_make_a_page() -> None:
    names = [f"label {index}" for index in range(500)]
    confusion = np.full((500, 500), 1) + 50 * np.eye(500, dtype=int)
    one = made_run("trained", 0.5)
    one["recording"]["per_class"] = dict.fromkeys(names, one["recording"]["per_class"]["a"])
    report = made_report(
        runs={"trained-logistic": one},
        shown_run="trained-logistic",
        confusion=confusion_png(confusion, names),
        mistakes=frequent_mistakes(confusion, names),
    )
    html = render(report)
    assert len(html) < 2_000_000
    assert len(Page(html).rows) < 550


def test_mistakes_are_sorted_by_how_often_they_occur() -> None:
    confusion = np.array([[9, 0, 2], [1, 9, 0], [0, 5, 9]])
    assert frequent_mistakes(confusion, "abc") == [("c", "b", 5), ("a", "c", 2), ("b", "a", 1)]
    assert frequent_mistakes(np.array([[3]]), "a") == []


def test_only_finished_runs_are_read(tmp_path: Path) -> None:
    for name in ("none-logistic", "trained-logistic"):
        (tmp_path / "classifier" / name).mkdir(parents=True)
    (tmp_path / "classifier" / "none-logistic" / "metrics.json").write_text('{"head": "logistic"}')
    assert read_runs(str(tmp_path)) == {"none-logistic": {"head": "logistic"}}
    assert read_runs(str(tmp_path / "none")) == {}
