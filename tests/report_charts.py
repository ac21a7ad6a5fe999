"""What a report of a sweep draws."""

CHARTS = {
    "front-sparsity",
    "front-macs",
    "layer-sparsity",
    "layer-macs",
    "sparsity-epochs",
    "score-epochs",
    "thresholds",
}
"""Of a report, by element id."""
