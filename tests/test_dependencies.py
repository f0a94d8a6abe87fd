"""Every pinned package has a licence that is known and permissive, and stands in docs/dependencies.md."""

import runpy

from tests.conftest import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "dependencies.py"))


def test_every_pinned_package_has_a_known_licence():
    found = SCRIPT["packages"]()
    assert len(found) > 100
    assert [package.name for package in found if package.verdict == "UNKNOWN"] == []
    weak = {package.name for package in found if package.verdict == "weak copyleft"}
    assert weak <= {"certifi", "hypothesis", "pathspec", "psycopg", "psycopg-binary", "tqdm"}


def test_the_page_lists_every_pin():
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    missing = [package.name for package in SCRIPT["packages"]() if f"| {package.name} |" not in page]
    assert missing == [], "run: python scripts/dependencies.py > docs/dependencies.md"


def test_a_licence_that_is_not_known_is_found(monkeypatch):
    licence = SCRIPT["_licence"]
    globals_ = licence.__globals__
    for said, verdict in (
        ("MIT AND PSF-2.0", "permissive"),
        ("GPL-3.0-only OR MIT", "permissive"),
        ("GPL-3.0-only", "UNKNOWN"),
        ("MIT AND LGPL-3.0-only", "weak copyleft"),
        (None, "UNKNOWN"),
    ):
        monkeypatch.setitem(globals_, "_said", lambda _package, said=said: said)
        assert licence("numpy")[1] == verdict
    assert licence("no-such-package-anywhere")[1] == "not installed"
