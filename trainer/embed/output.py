"""The directory that the embedding command writes: its markers, and which files in it are ours.

Names that start with an underscore are skipped by readers of Parquet directories. `INCOMPLETE` is
there while a run is in progress; `EMBEDDINGS_INFO` is written last.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dem import storage
from dem.errors import InputError
from dem.settings import describe_differences
from trainer.embed.parquet import EMBEDDED_SOURCES, EMBEDDINGS_INFO
from trainer.model.load import ExportedModel

RECORDINGS_FILE = "recordings.parquet"  # vectors of audio files, which have no partitions
INCOMPLETE = "_incomplete"
_RUN = "run.json"  # in `INCOMPLETE`: arguments of the run in progress, and the files it may write
_MAY_CHANGE = ("input", "content_sha256")  # of the source, between two runs on one output


@dataclass(frozen=True)
class Output:
    """An output directory."""

    uri: str
    model: str | None = None  # where the model is; not part of what decides about a rerun

    def at(self, *names: str) -> str:
        """URI of a file in it."""
        return storage.join(self.uri, *names)

    def check(self, arguments: Mapping[str, Any], *, overwrite: bool) -> None:
        """Check that a run may write here.

        Raises:
            InputError: another program wrote Parquet files, or the output was made with other
                arguments and may not be overwritten.
        """
        foreign = sorted(set(storage.list_names(self.uri, ".parquet")) - self._files())
        if foreign:
            raise InputError(
                f"{self.uri} holds {foreign[0]!r}, which this command did not write; "
                "choose another --output"
            )
        stored = self._read(EMBEDDINGS_INFO).get("arguments", arguments)
        if not overwrite and (different := _differences(stored, arguments)):
            raise InputError(
                f"{self.uri} was made with other arguments: {different}; "
                "choose another --output, or replace it with --overwrite"
            )

    @property
    def is_complete(self) -> bool:
        """Whether the last run got to its end."""
        return storage.exists(self.at(EMBEDDINGS_INFO)) and not self._read(INCOMPLETE, _RUN)

    @property
    def complete_files(self) -> set[str]:
        """Names of its files, if it is complete."""
        return set(self._read(EMBEDDINGS_INFO)["files"]) if self.is_complete else set()

    def begin(self, arguments: Mapping[str, Any], files: Iterable[str]) -> None:
        """Note that a run begins; drop what a run with other arguments has left."""
        started = self._read(INCOMPLETE, _RUN)
        ours = sorted(self._files().union(files) - {EMBEDDED_SOURCES})
        if started and _differences(started["arguments"], arguments):
            storage.delete_tree(self.at(INCOMPLETE))
        run = {"arguments": arguments, "files": ours}
        storage.write_text(self.at(INCOMPLETE, _RUN), json.dumps(run))

    def replace(self) -> None:
        """Note that files are about to be replaced: until `finish`, the output is incomplete."""
        storage.delete(self.at(EMBEDDINGS_INFO))

    def finish(
        self, arguments: Mapping[str, Any], rows: Mapping[str, int], rejected: Mapping[str, str]
    ) -> None:
        """Delete files of earlier runs, then write the marker of completeness.

        Args:
            arguments: all that determines the content.
            rows: of each file.
            rejected: reasons by URI.
        """
        for name in self._files() - {*rows, EMBEDDED_SOURCES}:
            storage.delete(self.at(name))
        info = {
            "arguments": arguments,
            "model": self.model,
            "files": rows,
            "rejected": rejected,
        }
        storage.write_text(self.at(EMBEDDINGS_INFO), json.dumps(info, indent=2) + "\n")
        self.end()

    def end(self) -> None:
        """Note that no run is in progress any more."""
        storage.delete_tree(self.at(INCOMPLETE))

    def _files(self) -> set[str]:
        """Names of the files that this run and earlier ones wrote or were about to write."""
        markers = (self._read(EMBEDDINGS_INFO), self._read(INCOMPLETE, _RUN))
        return {EMBEDDED_SOURCES}.union(*(marker.get("files", ()) for marker in markers))

    def _read(self, *names: str) -> dict[str, Any]:
        """Content of a JSON file, or nothing."""
        try:
            return dict(json.loads(storage.read_text(self.at(*names))))
        except FileNotFoundError:
            return {}


def arguments_of(model: ExportedModel, source: Mapping[str, Any]) -> dict[str, Any]:
    """All that determines the content of an output."""
    return {
        "model_sha256": model.sha256,
        "fingerprint": model.spec.fingerprint,
        "embedding_size": model.embedding_size,
        "source": dict(source),
    }


def _differences(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> str:
    """Name the arguments that keep two runs from sharing an output."""
    keys = {"data", *requested["source"]}.difference(_MAY_CHANGE)
    before, now = (
        {**arguments, "source": {key: arguments["source"].get(key) for key in keys}}
        for arguments in (stored, requested)
    )
    return describe_differences(before, now)
