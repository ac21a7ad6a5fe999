"""Results that last: MLflow as a view of the journal, published models, picture and table."""

from strsweep.registry.evaluate import EvaluatedModel, evaluate_model
from strsweep.registry.publish import Delivered, Delivery, publish_single, publish_sweep
from strsweep.registry.receipt_table import print_delivery
from strsweep.registry.tracking import Tracking

__all__ = [
    "Delivered",
    "Delivery",
    "EvaluatedModel",
    "Tracking",
    "evaluate_model",
    "print_delivery",
    "publish_single",
    "publish_sweep",
]
