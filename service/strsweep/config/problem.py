"""What model and data add to the settings: measured once, before anything runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from strsweep.config.section import Section


class Problem(Section, frozen=True):
    """The numbers that a search needs to know of the network and its images."""

    steps_per_epoch: Annotated[int, Field(ge=1)]
    """Optimizer steps of one epoch."""
    weights: Annotated[int, Field(ge=1)]
    """Convolution and linear weights of the network."""
    dense_macs: Annotated[int, Field(ge=1)]
    """Multiply-adds of the dense network for one input."""
    weight_scale: Annotated[float, Field(gt=0)]
    """Median magnitude of those weights before training."""
