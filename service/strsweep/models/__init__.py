"""Names to networks: ours, torchvision's, or a user's own by import path."""

from strsweep.models.authors import load_authors_checkpoint
from strsweep.models.build import build, check_options

__all__ = ["build", "check_options", "load_authors_checkpoint"]
