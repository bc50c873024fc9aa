"""From a run folder to one page that a cardiologist and a statistician can read. Never imports torch."""

from einthoven.report.page import report

__all__ = ["report"]
