"""The command ``strsweep``; the programs in ``jobs/`` are its commands for ``ray job submit``."""

from strsweep.cli.commands import main
from strsweep.cli.endings import exit_codes, stops_in_order
from strsweep.cli.options import tracking_uri_of

__all__ = ["exit_codes", "main", "stops_in_order", "tracking_uri_of"]
