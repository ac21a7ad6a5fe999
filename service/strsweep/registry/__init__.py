"""Results that last: MLflow as a view of the journal, published models, picture and table."""

from strsweep.registry.delivery import Delivery
from strsweep.registry.evaluate import evaluate_model
from strsweep.registry.export import export_model, print_exports
from strsweep.registry.publish import publish_journal, publish_single, publish_sweep
from strsweep.registry.receipt_table import print_delivery
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
]
