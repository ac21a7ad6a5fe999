"""Names to networks: ours, torchvision's, or a user's own by import path."""

from strsweep.models.build import build, check_options
from strsweep.models.start import Start, load_start

__all__ = ["Start", "build", "check_options", "load_start"]
