"""Settings of the feature job."""

from beam_features.config import FeatureConfig
from beam_features.schema.feature_spec import FeatureSpec


def test_what_models_need_not_know_is_not_in_their_spec():
    config = FeatureConfig(hop_s=0.02, label_depth=1)
    assert config.spec == FeatureSpec(hop_s=0.02)
    assert config.spec.fingerprint == FeatureSpec(hop_s=0.02).fingerprint
