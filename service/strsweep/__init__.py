"""strsweep: name the sparsities you want, get the trained sparse models from a Ray cluster."""

__version__ = "0.1.0"
