"""The idea: thresholds that are learned with the weights. Imports torch only."""

from strsweep.sparsity.convert import bake, sparsify, threshold_parameters
from strsweep.sparsity.measure import LayerSparsity, SparsityReport, measure
from strsweep.sparsity.threshold import SoftThreshold, soft_threshold

__all__ = [
    "LayerSparsity",
    "SoftThreshold",
    "SparsityReport",
    "bake",
    "measure",
    "soft_threshold",
    "sparsify",
    "threshold_parameters",
]
