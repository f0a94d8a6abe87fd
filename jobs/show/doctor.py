"""How `cli doctor` is shown."""

from __future__ import annotations

from itertools import groupby

from rich.console import Console

from jobs.doctor import DoctorReport

_MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "problem": "[red]problem[/]"}


def render_doctor(report: DoctorReport, console: Console) -> None:
    """Findings under their headings; what needs doing stands below its finding."""
    for group, findings in groupby(report.findings, key=lambda finding: finding.group):
        console.print(f"[bold]{group}[/]")
        for finding in findings:
            console.print(f"  {_MARKS[finding.level]:<7} ", end="")
            console.print(f"{finding.what}: {finding.detail}", markup=False)
            if finding.next:
                console.print(f"          next: {finding.next}", markup=False)
