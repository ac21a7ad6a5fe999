"""The idea: thresholds that are learned with the weights. The operators import torch only."""
