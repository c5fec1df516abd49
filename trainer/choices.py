"""The names that settings and options choose from; a new one is added here and nowhere else.

`trainer.model.encoders` and the other modules below say what such a function takes and returns.
Importing this module imports none of them.
"""

from typing import Literal, get_args

from dem.registry import Registry

_ENCODERS, _LOSSES = "trainer.model.encoders", "trainer.model.losses"
_MINING, _SIMILARITY = "trainer.model.mining", "trainer.model.similarity"
_AUGMENT = "trainer.data.augment"

ENCODERS = Registry(
    "encoder",
    {
        "dense": f"{_ENCODERS}:dense",
        "conv1d": f"{_ENCODERS}:conv1d",
        "conv2d": f"{_ENCODERS}:conv2d",
        "gru": f"{_ENCODERS}:gru",
        "conv_gru": f"{_ENCODERS}:conv_gru",
        "conv_dense": f"{_ENCODERS}:conv_dense",
        "resnet18": f"{_ENCODERS}:resnet18",
        "resnet34": f"{_ENCODERS}:resnet34",
        "resnet50": f"{_ENCODERS}:resnet50",
        "resnet101": f"{_ENCODERS}:resnet101",
        "resnet152": f"{_ENCODERS}:resnet152",
        "mobilenet_v3_small": f"{_ENCODERS}:mobilenet_v3_small",
        "efficientnet_v2_b0": f"{_ENCODERS}:efficientnet_v2_b0",
    },
    extensible=True,
)
LOSSES = Registry(
    "loss",
    {
        "triplet": f"{_LOSSES}:build_triplet_loss",
        "infonce": f"{_LOSSES}:build_info_nce",
        "vicreg": "trainer.model.vicreg:build_vicreg",
        "byol": "trainer.model.byol:build_byol",
    },
    extensible=True,
)
MININGS = Registry(
    "mining",
    {
        "random": f"{_MINING}:mine_random",
        "all": f"{_MINING}:mine_all",
        "semi_hard": f"{_MINING}:mine_semi_hard",
        "hard": f"{_MINING}:mine_hard",
    },
)
SIMILARITIES = Registry(
    "similarity",
    {"cosine": f"{_SIMILARITY}:build_cosine", "bilinear": f"{_SIMILARITY}:build_bilinear"},
)
AUGMENTATIONS = Registry(
    "augmentation",
    {  # in the order in which they are applied
        "mix": f"{_AUGMENT}:mix_neighbours",
        "shift": f"{_AUGMENT}:shift_tiles",
        "noise": f"{_AUGMENT}:add_noise_to_tiles",
        "gain": f"{_AUGMENT}:change_gain",
        "equaliser": f"{_AUGMENT}:equalise_tiles",
        "time_mask": f"{_AUGMENT}:mask_time",
        "mel_mask": f"{_AUGMENT}:mask_mels",
    },
)
HEADS = Registry(
    "head",
    {
        "logistic": "trainer.classify.heads.logistic:LogisticHead",
        "dense": "trainer.classify.heads.dense:DenseHead",
    },
)
StatisticsKind = Literal["none", "modulation"]
STATISTICS_KINDS: tuple[StatisticsKind, ...] = get_args(StatisticsKind)
"""Vectors that depend on the features alone: no weight is drawn or learned."""
EmbeddingKind = Literal[StatisticsKind, "random", "trained"]
EMBEDDING_KINDS: tuple[EmbeddingKind, ...] = get_args(EmbeddingKind)
"""What turns tiles into vectors, without labels."""
EncoderKind = Literal[EmbeddingKind, "supervised"]
ENCODER_KINDS: tuple[EncoderKind, ...] = get_args(EncoderKind)
"""What turns tiles into vectors for a classifier."""
