"""A trained model as files that outlast the sweep: weights, budget and receipt; exports of them."""

from strsweep.packages.export import export_model, print_exports
from strsweep.packages.finished_model import evaluate_model, read_budget

__all__ = ["evaluate_model", "export_model", "print_exports", "read_budget"]
