"""What a person looks at after a sweep: one page that works offline, and its numbers."""

from strsweep.registry.report.contents import SweepContents, contents_of, read_sweep
from strsweep.registry.report.page import COMPARISON, REPORT, comparison_files, report_files

__all__ = [
    "COMPARISON",
    "REPORT",
    "SweepContents",
    "comparison_files",
    "contents_of",
    "read_sweep",
    "report_files",
]
