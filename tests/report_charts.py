"""What a report of a sweep draws."""

CHARTS = {
    "front-sparsity",
    "front-macs",
    "layer-sparsity",
    "layer-macs",
    "sparsity-epochs",
    "accuracy-epochs",
    "threshold-epochs",
    "thresholds",
    "aims",
}
"""Of a report, by element id."""
