"""All settings of the feature job: those of the features, and how the input is read.

``--help-settings`` and docs/settings.md are generated from it.
"""

import dataclasses
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from beam_features.schema.feature_spec import FeatureSpec


@dataclass(
    frozen=True,
    config=ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True),
)
class FeatureConfig(FeatureSpec):
    """The feature settings, and what models need not know."""

    label_depth: Annotated[int, Field(ge=1)] | None = None
    """Of `folder`: how many directories below `--input` make the label, 1: the first; null: all."""

    @property
    def spec(self) -> FeatureSpec:
        """The feature settings alone."""
        names = [field.name for field in dataclasses.fields(FeatureSpec)]
        return FeatureSpec(**{name: getattr(self, name) for name in names})
