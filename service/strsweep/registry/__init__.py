"""Results that last: MLflow as a view of the journal, published models, picture and table."""

from strsweep.registry.delivery import Delivery, print_delivery
from strsweep.registry.export import export_model, print_exports
from strsweep.registry.finished_model import evaluate_model, read_budget
from strsweep.registry.publish import publish_journal, publish_single, publish_sweep
from strsweep.registry.tracking import Tracking

__all__ = [
    "Delivery",
    "Tracking",
    "evaluate_model",
    "export_model",
    "print_delivery",
    "print_exports",
    "publish_journal",
    "publish_single",
    "publish_sweep",
    "read_budget",
]
