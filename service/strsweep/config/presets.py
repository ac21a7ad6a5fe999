"""What the paper's runs had (tables 10 and 11)."""

from __future__ import annotations

from strsweep.settings import RunSettings

_RESNET50 = (  # overall sparsity in percent, weight decay, threshold init
    ("79.55", 1.7e-5, -3200.0),
    ("81.27", 1.751757813e-5, -3200.0),
    ("87.70", 2.051757813e-5, -3200.0),
    ("90.23", 2.251757813e-5, -3200.0),
    ("90.55", 2.051757813e-5, -800.0),
    ("94.80", 3.051757813e-5, -3200.0),
    ("95.03", 3.351757813e-5, -12800.0),
    ("95.15", 3.051757813e-5, -1600.0),
    ("96.11", 3.051757813e-5, -100.0),
    ("96.53", 4.051757813e-5, -12800.0),
    ("97.78", 5.217578125e-5, -12800.0),
    ("98.05", 5.651757813e-5, -12800.0),
    ("98.22", 6.051757813e-5, -12800.0),
    ("98.79", 7.551757813e-5, -12800.0),
    ("98.98", 8.551757813e-5, -12800.0),
    ("99.10", 9.051757813e-5, -12800.0),
)
_MOBILENET_V1 = (
    ("75.28", 1.551757813e-5, -100.0),
    ("79.07", 1.551757813e-5, -25.0),
    ("85.80", 3.051757813e-5, -3200.0),
    ("89.01", 3.751757813e-5, -12800.0),
    ("89.62", 3.751757813e-5, -3200.0),
)

PRESETS: dict[str, RunSettings] = {
    f"{model}-{sparsity}": RunSettings(threshold_init=threshold_init, weight_decay=weight_decay)
    for model, rows in (("resnet50", _RESNET50), ("mobilenet_v1", _MOBILENET_V1))
    for sparsity, weight_decay, threshold_init in rows
}
"""``MODEL-SPARSITY`` -> settings, for the paper's recipe: ImageNet, 100 epochs, batch 256."""
