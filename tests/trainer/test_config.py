import pytest

from dem.errors import InputError
from dem.settings import load_settings
from trainer.config import ClassifyConfig, TrainConfig


def from_words(*words: str) -> TrainConfig:
    return load_settings(TrainConfig, None, words, read_text=str)


def test_words_become_typed_settings() -> None:
    config = from_words(
        "margin=0.3",
        "learning_rate=1e-3",
        "train_partitions=[fold1, fold2]",
        "projection_size=null",
    )
    assert config.margin == 0.3
    assert config.learning_rate == 0.001
    assert config.train_partitions == ("fold1", "fold2")
    assert config.projection_size is None


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("margn=0.3", "unknown key 'margn'; choose one of: .*; did you mean 'margin'"),
        ("projection_size=null\nprojection_hidden=8", "projection_hidden=8 without a projection"),
        ("margin=-1", "margin: Input should be greater than 0, not -1"),
        (
            "loss=contrastive",
            "unknown loss 'contrastive'; choose one of: triplet, infonce, vicreg, byol, module:",
        ),
        ("encoder=conv3d", "unknown encoder 'conv3d'; choose one of: .*; did you mean 'conv2d'"),
        ("encoder=':tiny'", "unknown encoder ':tiny'; choose one of: .*, module:function"),
        ("reducer=sum", "reducer: Input should be 'mean' or 'active_mean', not 'sum'"),
        ("similarity=dot", "unknown similarity 'dot'; choose one of: cosine, bilinear$"),
        ("temperature=0", "temperature: Input should be greater than 0, not 0"),
        ("temperature=.inf", "temperature: Input should be a finite number, not inf"),
        ("variance_weight=0", "variance_weight: Input should be greater than 0, not 0"),
        ("covariance_weight=.nan", "covariance_weight: Input should be a finite number, not nan"),
        ("target_momentum=1", "target_momentum: Input should be less than 1, not 1"),
        ("target_momentum=-0.1", "target_momentum: Input should be greater than or equal to 0"),
        ("learning_rate_decay=step", "learning_rate_decay: Input should be 'none' or 'cosine'"),
        ("warmup_steps=-1", "warmup_steps: Input should be greater than or equal to 0, not -1"),
        ("clip_norm=0", "clip_norm: Input should be greater than 0, not 0"),
        ("mining=hardest", "unknown mining 'hardest'; .*, semi_hard, hard; did you mean 'hard'"),
        ("batch_size=many", "batch_size: Input should be a valid integer.*, not 'many'"),
        ("positives=[channel]", "positives.0: Input should be 'time' or 'sensor', not 'channel'"),
        ("positives=[]", "positives: Tuple should have at least 1 item"),
        ("augment=[reverb]", "unknown augmentation 'reverb'; choose one of: mix, shift, noise"),
        ("corrupt_records_budget=-1", "corrupt_records_budget: Input should be greater than or"),
        ("label_use=all", "label_use: Input should be 'none', not 'all'"),
    ],
)
def test_bad_settings_are_named_with_the_remedy(word: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_words(*word.split("\n"))


def test_a_partition_has_one_role() -> None:
    with pytest.raises(
        InputError, match="partition 'fold2' is listed twice among train_partitions"
    ):
        from_words("train_partitions=[fold1,fold2]", "test_partitions=[fold2]")


def test_strengths_must_not_be_empty() -> None:
    with pytest.raises(InputError, match="strengths is empty"):
        load_settings(ClassifyConfig, None, ["strengths=[]"], read_text=str)


def test_a_classifier_is_not_measured_on_what_it_was_fitted_to() -> None:
    with pytest.raises(
        InputError, match="partition 'fold1' is listed twice among train_partitions"
    ):
        load_settings(
            ClassifyConfig, None, ["train_partitions=[fold1]", "test_partitions=[fold1]"], str
        )
