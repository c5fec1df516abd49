"""Data flows one way, and so do imports; see docs/architecture.md."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT

PACKAGES = ("dem", "beam_features", "trainer", "tuning", "similarity")
ALLOWED = {  # what each package may import of the others
    "dem": ("dem",),
    "beam_features": ("beam_features", "dem"),
    "trainer": ("trainer", "beam_features.schema", "dem"),
    "tuning": ("tuning", "trainer", "beam_features.schema", "dem"),
    "similarity": ("similarity", "trainer", "beam_features.schema", "dem"),
}


def imported_modules(path: Path) -> Iterator[str]:
    """Full names in all import statements, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_is_upstream(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 5
    for path in files:
        relative = path.relative_to(ROOT).as_posix()
        for name in imported_modules(path):
            if name.split(".")[0] in PACKAGES:
                allowed = any(f"{name}.".startswith(f"{prefix}.") for prefix in ALLOWED[package])
                assert allowed, f"{relative} imports {name}"


def test_the_schema_imports_nothing_else_of_the_project() -> None:
    for path in (ROOT / "beam_features" / "schema").rglob("*.py"):
        for name in imported_modules(path):
            if name.split(".")[0] in PACKAGES:
                assert name.startswith(("beam_features.schema.", "dem.")), (
                    f"{path.name} imports {name}"
                )


def test_benchmarks_import_no_tests() -> None:
    for path in (ROOT / "benchmarks").rglob("*.py"):
        assert not [name for name in imported_modules(path) if name.split(".")[0] == "tests"], path


def loaded_after(*statements: str) -> list[set[str]]:
    """Top-level modules that a fresh interpreter has loaded after each statement in turn."""
    show = "print(*{name.split('.')[0] for name in sys.modules})"
    code = "import sys\n" + "".join(f"{statement}\n{show}\n" for statement in statements)
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [set(line.split()) for line in finished.stdout.splitlines()]


def test_the_trainer_loads_no_beam_no_figures_to_train_and_codecs_only_to_embed() -> None:
    training, classifying, embedding = loaded_after(
        "import trainer.train.run",
        "import trainer.classify.run, trainer.hear",
        "import trainer.embed.recordings",
    )
    assert "tensorflow" in training
    assert "seaborn" not in training  # Keras loads pandas, scikit-learn and some of matplotlib
    assert not classifying & {"soundfile", "soxr"}
    assert {"soundfile", "soxr"} <= embedding
    assert not embedding & {"apache_beam", "librosa"}


def test_a_trial_starts_without_the_search() -> None:
    (loaded,) = loaded_after("import tuning.workers.trial")
    assert not loaded & {"keras_tuner", "tensorflow", "grpc"}


def test_beam_workers_do_not_load_tensorflow() -> None:
    (loaded,) = loaded_after("import beam_features.job.run, beam_features.job.beam")
    assert "apache_beam" in loaded
    assert not loaded & {"tensorflow", "keras", "librosa", "distributed"}


def test_dask_workers_load_neither_beam_nor_tensorflow() -> None:
    (loaded,) = loaded_after("import beam_features.job.run, beam_features.job.dask_cluster")
    assert "distributed" in loaded
    assert not loaded & {"apache_beam", "tensorflow", "keras", "librosa"}


def test_the_schema_loads_codecs_only_with_its_decoder() -> None:
    schema = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "beam_features" / "schema").glob("*.py")
    ]
    assert len(schema) > 4
    loaded, with_decoder = loaded_after(
        f"import {', '.join(schema)}, dem.settings, dem.command",
        "import beam_features.schema.audio.decode",
    )
    assert not loaded & {"tensorflow", "apache_beam", "librosa", "scipy", "soundfile", "soxr"}
    assert {"soundfile", "soxr"} <= with_decoder
    assert not with_decoder & {"tensorflow", "apache_beam", "librosa", "scipy"}
