"""The idea: thresholds that are learned with the weights. Imports torch only."""

from strsweep.sparsity.allocation import check_fits
from strsweep.sparsity.budget import Budget
from strsweep.sparsity.convert import (
    activate_thresholds,
    bake,
    set_threshold_parameters,
    sparsify,
    threshold_parameters,
)
from strsweep.sparsity.landing import land
from strsweep.sparsity.layer_budget import LayerBudget
from strsweep.sparsity.layers import WeightTensor, weight_tensors
from strsweep.sparsity.magnitude import obey, ramp
from strsweep.sparsity.measure import SparsityReport, measure
from strsweep.sparsity.quantile import Uses, weight_uses
from strsweep.sparsity.scheduled import ScheduledThreshold, schedulable
from strsweep.sparsity.steering import SteeredThreshold, bound_gradients, steer, steerable
from strsweep.sparsity.threshold import SoftThreshold, soft_threshold

__all__ = [
    "Budget",
    "LayerBudget",
    "ScheduledThreshold",
    "SoftThreshold",
    "SparsityReport",
    "SteeredThreshold",
    "Uses",
    "WeightTensor",
    "activate_thresholds",
    "bake",
    "bound_gradients",
    "check_fits",
    "land",
    "measure",
    "obey",
    "ramp",
    "schedulable",
    "set_threshold_parameters",
    "soft_threshold",
    "sparsify",
    "steer",
    "steerable",
    "threshold_parameters",
    "weight_tensors",
    "weight_uses",
]
