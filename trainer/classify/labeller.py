"""The model of a classifier run: an encoder and classifiers, from recordings to labels.

`MODEL` holds ``encoder.keras``, a file per classifier and `MODEL_INFO`, which is written last. A
``.joblib`` file is a pickle, which can run any code when it is loaded: use only models from people
you trust.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np
import numpy.typing as npt

from beam_features.schema.feature_spec import FEATURE_SPEC, FeatureSpec, dump_feature_spec
from beam_features.schema.strip import NO_LABEL
from dem import storage
from dem.errors import InputError
from trainer.choices import HEADS
from trainer.classify.examples import Examples
from trainer.classify.heads import Classifiers
from trainer.data.vector_table import VectorTable
from trainer.model.files import load_keras, save_keras
from trainer.model.load import keras_spec
from trainer.model.vectors import Float32, Representation, as_representation

MODEL = "model"
MODEL_INFO = "model.json"
_ENCODER = "encoder.keras"


@dataclass(frozen=True)
class Labeller:
    """An encoder and the classifiers that were fitted to its vectors."""

    encoder: keras.Model
    spec: FeatureSpec
    classifiers: Classifiers
    head: str
    label_names: tuple[str, ...]
    overlap: int

    def save(self, directory: str, about: Mapping[str, Any]) -> None:
        """Write a directory that needs no other file; files of an earlier run are deleted first.

        Args:
            directory: where to write.
            about: more entries for `MODEL_INFO`.
        """
        storage.delete(storage.join(directory, MODEL_INFO))
        storage.delete_tree(directory)
        beside = {FEATURE_SPEC: dump_feature_spec(self.spec)}
        save_keras(self.encoder, storage.join(directory, _ENCODER), beside)
        self.classifiers.save(directory)
        info = {
            "label_names": self.label_names,
            "head": self.head,
            "recording_from": self.classifiers.recording_from,
            "overlap": self.overlap,
            "fingerprint": self.spec.fingerprint,
        }
        text = json.dumps(info | dict(about), indent=2) + "\n"
        storage.write_text(storage.join(directory, MODEL_INFO), text)

    @classmethod
    def open(cls, run: str) -> Self:
        """Load the model of a classifier run.

        Raises:
            InputError: there is none, or it takes other vectors of recordings.
        """
        directory = storage.join(run, MODEL)
        info_uri = storage.join(directory, MODEL_INFO)
        try:
            info = json.loads(storage.read_text(info_uri))
        except FileNotFoundError as error:
            raise InputError(
                f"{info_uri} does not exist; give a directory that python -m trainer.classify has "
                "written, such as JOB/classifier/trained-logistic"
            ) from error
        if info["recording_from"] == "vectors" and "overlap" not in info:
            raise InputError(
                f"{info_uri} is of a version before 0.4, whose vectors of recordings had no "
                "deviation; fit the classifier again with python -m trainer.classify"
            )
        encoder_uri = storage.join(directory, _ENCODER)
        classifiers = Classifiers.load(HEADS[info["head"]], directory, info["recording_from"])
        return cls(
            load_keras(encoder_uri),
            keras_spec(encoder_uri),
            classifiers,
            info["head"],
            tuple(info["label_names"]),
            info.get("overlap", 1),
        )

    def posteriors(
        self, vectors: Float32, audible: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.floating]:
        """Class probabilities of a recording, computed as in evaluation: ``[n_classes]``.

        Args:
            vectors: of its tiles ``[n, size]``, which overlap as `overlap` says, of all channels
                where each is a sensor.
            audible: ``[n]``; false: digital silence.
        """
        n_tiles = len(vectors)
        no_ids = np.full(n_tiles, "")
        tiles = VectorTable(
            vectors=vectors,
            recording_ids=no_ids,
            context_ids=no_ids,
            session_ids=no_ids,
            start_ms=np.zeros(n_tiles, np.int64),
            labels=np.full(n_tiles, NO_LABEL),
            audible=audible,
        )
        (posteriors,) = self.classifiers.of_recordings(Examples(tiles, tiles)).probabilities
        return np.asarray(posteriors)

    @functools.cached_property
    def represent(self) -> Representation:
        """From tiles to the vectors of the encoder."""
        return as_representation(self.encoder)
