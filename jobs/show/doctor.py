"""How `cli doctor` is shown."""

from __future__ import annotations

from itertools import groupby

from rich.console import Console
from rich.text import Text

from jobs.doctor import DoctorReport

_STYLES = {"ok": "green", "note": "yellow", "problem": "red"}


def render_doctor(report: DoctorReport, console: Console) -> None:
    """Findings under their headings; what needs doing stands below its finding."""
    for group, findings in groupby(report.findings, key=lambda finding: finding.group):
        console.print(group, style="bold", markup=False)
        for finding in findings:
            mark = (f"{finding.level:<7}", _STYLES[finding.level])
            console.print(Text.assemble("  ", mark, f" {finding.what}: {finding.detail}"))
            if finding.next:
                console.print(f"          next: {finding.next}", markup=False)
