"""What a person looks at after a sweep: one page that works offline, and its numbers."""

from strsweep.registry.report.comparison import COMPARISON, comparison_files
from strsweep.registry.report.contents import SweepContents, contents_of
from strsweep.registry.report.mlflow_pages import artifact_page, model_page, run_page, runs_page
from strsweep.registry.report.stored_sweep import read_sweep
from strsweep.registry.report.sweep_report import REPORT, report_files

__all__ = [
    "COMPARISON",
    "REPORT",
    "SweepContents",
    "artifact_page",
    "comparison_files",
    "contents_of",
    "model_page",
    "read_sweep",
    "report_files",
    "run_page",
    "runs_page",
]
