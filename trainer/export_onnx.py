"""``python -m trainer.export_onnx``: the exported model as ONNX, for runtimes without TensorFlow.

Needs the ``onnx`` extra. Inputs and outputs are those of the SavedModel.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence

from beam_features.schema.feature_spec import FEATURE_SPEC, dump_feature_spec
from dem.command import Parser, run_command
from dem.errors import InputError
from dem.termination import watch_sigterm
from trainer.runtime.startup import load_tensorflow

_PROG = "python -m trainer.export_onnx"
_OPSET = 18


def parse_arguments(arguments: Sequence[str] | None, prog: str = _PROG) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog,
        "Write a trained model as ONNX: waveform in, embeddings and start_s out.",
        "--job-dir JOB --output encoder.onnx",
    )
    parser.add_argument("--job-dir", metavar="JOB", required=True, help="directory of the training")
    parser.add_argument("--output", metavar="FILE.onnx", required=True, help="what to write")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = parse_arguments(arguments, prog)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    watch_sigterm(ctrl_c=True)
    export_onnx(parsed.job_dir, parsed.output)


def export_onnx(job_dir: str, output: str) -> None:
    """Convert ``JOB/export/encoder.keras`` together with the log-mel front-end.

    Raises:
        InputError: it does not exist, or the converter is not installed.
    """
    load_tensorflow()
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise InputError(f"no module {error.name!r}; install the onnx extra") from error
    import keras
    import numpy as np
    import tensorflow as tf

    from dem import storage
    from trainer.model.files import load_keras
    from trainer.model.front_end import dft_power
    from trainer.model.load import keras_spec
    from trainer.model.waveform import WaveformEncoder
    from trainer.runtime.job_dir import ENCODER

    uri = storage.join(job_dir, ENCODER)
    if not storage.exists(uri):
        raise InputError(f"{uri} does not exist: the training of {job_dir} has not finished")
    spec, encoder = keras_spec(uri), load_keras(uri)
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.Normalization):  # tensors would become inputs
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
    model = WaveformEncoder(encoder, spec, dft_power)
    waveform = tf.TensorSpec([None], tf.float32, name="waveform")
    function = tf.function(lambda waveform: model(waveform), input_signature=[waveform])
    converted, _ = tf2onnx.convert.from_function(function, [waveform], opset=_OPSET)
    onnx.helper.set_model_props(converted, {FEATURE_SPEC: dump_feature_spec(spec)})
    with tempfile.TemporaryDirectory() as directory:
        local = os.path.join(directory, "model.onnx")
        onnx.save(converted, local)
        storage.copy(local, output)


if __name__ == "__main__":
    sys.exit(main())
