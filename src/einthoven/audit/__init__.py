"""The leak audit: what a task's labels owe to the words of the reports, without torch and without ECGs."""

from einthoven.audit.job import Audit, audit, audit_job
from einthoven.audit.learn import from_text
from einthoven.audit.material import SHOWN, reports_of
from einthoven.audit.verdict import Verdict, quick

__all__ = ["SHOWN", "Audit", "Verdict", "audit", "audit_job", "from_text", "quick", "reports_of"]
