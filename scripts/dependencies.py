"""Every pinned package with its licence, as Markdown: what `docs/dependencies.md` is made by.

python scripts/dependencies.py > docs/dependencies.md

Licences are read from the metadata of what is installed; nothing is fetched. Exit code 1: a licence that is neither
permissive nor a weak copyleft that we know of.
"""

from __future__ import annotations

import re
import sys
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = "kaggle-jobs"

# What a word of a licence, or a classifier, is called in SPDX.
_NAMES = {
    "MIT License": "MIT",
    "BSD License": "BSD",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 2-Clause License": "BSD-2-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
PERMISSIVE = {
    *(
        "MIT",
        "MIT-0",
        "BSD",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "0BSD",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "ISC",
    ),
    *("PSF-2.0", "Python-2.0", "Zlib", "CC0-1.0", "BSL-1.0", "CNRI-Python", "Unlicense", "Artistic License"),
}
# Copyleft for changes of the package's own files, or of the library alone: we change neither.
WEAK = {"MPL-2.0", "LGPL-3.0-only"}
# Offered under several licences, of which one may be chosen; its metadata lists all of them.
CHOSEN = {"text-unidecode": "Artistic License"}


@dataclass(frozen=True)
class Package:
    """A pinned package.

    Attributes:
        name: As pinned.
        licence: SPDX where it is known; None where the package is not installed or says nothing.
        verdict: ``permissive``, ``weak copyleft``, ``not installed`` or ``UNKNOWN``.
        wanted_by: ``itself`` for what every user installs, else the extra that brings it.
    """

    name: str
    licence: str | None
    verdict: str
    wanted_by: str


def packages() -> list[Package]:
    """All pins of `constraints.txt`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"itself": project["dependencies"], **project["optional-dependencies"]}
    wanted = {who: _closure([need for need in needs if PROJECT not in need]) for who, needs in groups.items()}
    found = []
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"[\w.-]+", line):
            name = match[0]
            by = next((who for who, names in wanted.items() if canonicalize_name(name) in names), "others")
            found.append(Package(name, *_licence(name), by))
    return found


def as_markdown(found: list[Package]) -> str:
    """The page."""
    counts = {verdict: sum(p.verdict == verdict for p in found) for verdict in dict.fromkeys(p.verdict for p in found)}
    told = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    lines = [
        "# What is installed with it, and under which licences",
        "",
        f"Made by `python scripts/dependencies.py`: {len(found)} pinned packages, {told}. Licences are",
        "what each package's own metadata says. A test fails where a pin is missing here or its licence is not known.",
        "",
        "*Weak copyleft* binds changes of those files or of that library: we make none, and ship none of them. psycopg",
        "is for tests and for who shares a study through PostgreSQL. *Not installed*: of the extra `bench`, or what it",
        "needs, so that nothing could be read.",
        "",
        "Not checked: known vulnerabilities. `pip-audit -r constraints.txt` asks a database on the network for them.",
        "",
        "| package | licence | | wanted by |",
        "|---|---|---|---|",
    ]
    lines += [f"| {p.name} | {p.licence or '–'} | {p.verdict} | {p.wanted_by} |" for p in found]
    return "\n".join(lines) + "\n"


def _licence(name: str) -> tuple[str | None, str]:
    try:
        licence = CHOSEN.get(canonicalize_name(name)) or _said(distribution(name))
    except PackageNotFoundError:
        return None, "not installed"
    if licence is None:
        return None, "UNKNOWN"
    parts = re.split(r" AND | OR |; ", licence)
    if all(part in PERMISSIVE for part in parts) or (" OR " in licence and any(part in PERMISSIVE for part in parts)):
        return licence, "permissive"
    return licence, "weak copyleft" if all(part in PERMISSIVE | WEAK for part in parts) else "UNKNOWN"


def _said(package: Distribution) -> str | None:
    """The licence by its expression, its classifiers, or the first line of its text."""
    about = package.metadata
    if expression := about.get("License-Expression"):
        return str(expression)
    classifiers = [c.split("::")[-1].strip() for c in about.get_all("Classifier", []) if c.startswith("License ::")]
    names = [_NAMES.get(c, c) for c in classifiers if c != "OSI Approved"]
    text = str(about.get("License") or "").strip().split("\n")[0]
    return " AND ".join(names) or _NAMES.get(text, text) or None


def _closure(roots: list[str]) -> set[str]:
    """Canonical names of these requirements and all that they need, by what is installed."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in roots]
    while waiting:
        one = waiting.pop()
        for extra in ("", *one.extras):
            key = f"{canonicalize_name(one.name)}[{extra}]"
            if key in found:
                continue
            found |= {key, canonicalize_name(one.name)}
            with suppress(PackageNotFoundError):
                needs = [Requirement(text) for text in distribution(one.name).requires or ()]
                waiting += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return found


def main() -> None:
    """Print the page."""
    found = packages()
    sys.stdout.write(as_markdown(found))
    sys.exit(1 if any(package.verdict == "UNKNOWN" for package in found) else 0)


if __name__ == "__main__":
    main()
