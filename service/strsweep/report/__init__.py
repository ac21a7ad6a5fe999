"""What a person looks at after a sweep: one page that works offline, and its numbers."""

from strsweep.report.contents import SweepContents, contents_of, read_sweep
from strsweep.report.live import REPORT_FILE, LiveReport, store_report, write_report
from strsweep.report.page import COMPARISON, comparison_files, report_files

__all__ = [
    "COMPARISON",
    "REPORT_FILE",
    "LiveReport",
    "SweepContents",
    "comparison_files",
    "contents_of",
    "read_sweep",
    "report_files",
    "store_report",
    "write_report",
]
