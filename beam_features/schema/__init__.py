"""The contract between the stages: records, shapes, feature settings, and the decoder.

The only part of `beam_features` that the trainer imports. It imports neither Apache Beam nor
TensorFlow, and codecs only in `audio`, so every stage can load it in a fraction of a second.
"""
