"""The page of `cli report` in a real browser without network."""

import pytest

from jobs import report
from tests.browser.chromium import Visit, browser
from tests.kaggle_tools.report.workspaces import CLASSES, add_run, make_workspace

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = make_workspace(tmp_path_factory.mktemp("workspace"))
    for seed in range(9):
        add_run(folder, f"run-{seed}", seed=seed)
    return report.run(report.ReportOptions(output=folder / "report.html", start=folder)).path


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark", "viewport": {"width": 390, "height": 800}}])
def test_the_report_opens_without_network_and_complaints(path, options):
    with browser() as running:
        visit = Visit(running, path, **options)
        page = visit.page
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        drawn = page.locator(".plot:visible svg").evaluate_all(
            "all => all.map(svg => svg.getBoundingClientRect().height * svg.querySelectorAll('path, line').length)"
        )
        assert len(drawn) >= 15
        assert min(drawn) > 0
        text = page.locator("main").inner_text()
        assert CLASSES[0] in text
        assert CLASSES[2] in text
        runs = page.locator("#runs .table").first
        runs.locator("th button", has_text="macro F1").click()
        shown = runs.locator("tbody tr").evaluate_all("rows => rows.map(row => Number(row.cells[2].textContent))")
        assert shown == sorted(shown)
        runs.locator("input[type=search]").fill("run-7")
        assert runs.locator("tbody tr:not([hidden])").count() == 1
        assert visit.errors == []
        assert visit.asked == []
