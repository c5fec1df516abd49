from pathlib import Path

import pytest

from trainer.runtime import storage


def test_files_are_written_in_one_piece_and_replaced(tmp_path: Path) -> None:
    uri = str(tmp_path / "new" / "directory" / "file.txt")
    storage.write_text(uri, "first, ünicode")
    storage.write_text(uri, "second")
    assert storage.read_text(uri) == "second"
    assert [path.name for path in Path(uri).parent.iterdir()] == ["file.txt"]


def test_a_missing_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        storage.read_text(str(tmp_path / "nothing"))


def test_join_keeps_the_scheme() -> None:
    assert storage.join("gs://bucket/job/", "logs", "x") == "gs://bucket/job/logs/x"
