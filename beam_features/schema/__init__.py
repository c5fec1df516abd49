"""The contract between the stages: records, shapes, settings, errors and exit codes.

The only part of `beam_features` that the trainer imports. It imports neither Apache Beam nor
TensorFlow, so every stage can load it in a fraction of a second.
"""
