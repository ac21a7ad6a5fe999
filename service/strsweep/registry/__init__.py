"""MLflow as a view of the journal: pages, charts, registered models."""

from strsweep.registry.delivery import Delivery, print_delivery
from strsweep.registry.live import LiveDelivery
from strsweep.registry.publish import publish_journal, publish_sweep
from strsweep.registry.tracker import OwnTrackers, Tracker
from strsweep.registry.tracking import Tracking

__all__ = [
    "Delivery",
    "LiveDelivery",
    "OwnTrackers",
    "Tracker",
    "Tracking",
    "print_delivery",
    "publish_journal",
    "publish_sweep",
]
