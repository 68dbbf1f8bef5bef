"""What documents name is there: modules, files behind links, versions, licence."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("platform", "components", "workflows", "dashboards")
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *(path for room in (*ROOMS, "infra", "tests") for path in (ROOT / room).rglob("README.md")),
    ]
)
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
MODULE_PATH = re.compile(r"`([\w./*-]+\.py)`")
MODULE_NAME = re.compile(r"`(threedrs_\w+(?:\.\w+)+)(?<!\.py)`")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def named(pattern: re.Pattern[str]) -> Iterator[tuple[Path, str]]:
    for document in DOCUMENTS:
        for match in pattern.finditer(CODE_BLOCK.sub("", document.read_text(encoding="utf-8"))):
            yield document, match[1]


def wrong(pairs: Iterator[tuple[Path, str]]) -> list[str]:
    return [f"{document.relative_to(ROOT)}: {name}" for document, name in pairs]


MODULES = [path for room in (*ROOMS, "tests") for path in (ROOT / room).rglob("*.py")]


def is_there(path: str) -> bool:
    """Whether a module lies at the end of this path; NAME stands for any name."""
    return any(module.match(path.replace("NAME", "*")) for module in MODULES)


def test_modules_that_documents_name_by_path_exist() -> None:
    recipes = {path for _, path in named(re.compile(r"^File `([^`]+)`:$", re.MULTILINE))}
    assert not wrong(
        (document, path)
        for document, path in named(MODULE_PATH)
        if path not in recipes and not is_there(path)
    )


def test_modules_that_documents_name_by_import_exist() -> None:
    assert not wrong((document, name) for document, name in named(MODULE_NAME) if not known(name))


def known(name: str) -> bool:
    """Whether a dotted name is a module, or begins with one: then its classes and functions."""
    room, *parts = name.removeprefix("threedrs_").split(".")
    place = ROOT / room / f"threedrs_{room}"
    for part in parts:
        if not (place / part).is_dir():
            inside = (place / "__init__.py").read_text(encoding="utf-8")
            return (place / f"{part}.py").is_file() or part in inside
        place /= part
    return True


GENERATED = re.compile(r"(?:\.\./)?(?:reference/)?(?:settings-\w+|commands|metrics)\.md")
"""Links to pages that are made from the code; `make docs` holds them to it."""


def test_files_behind_links_exist() -> None:
    assert not wrong(
        (document, path)
        for document, path in named(LINK)
        if not (document.parent / path).exists() and not GENERATED.fullmatch(path)
    )


def test_links_that_lead_nowhere_without_the_site_say_so() -> None:
    generated = {document for document, path in named(LINK) if GENERATED.fullmatch(path)}
    silent = [each for each in generated if "`make docs` writes" not in each.read_text()]
    assert len(generated) > 3 and not silent


def test_words_of_the_glossary_are_told_once_and_with_their_module() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", GLOSSARY.read_text(), re.MULTILINE)
    words = [word for word, _, _ in rows if word not in ("word", "---")]
    assert len(words) > 50 and len(set(words)) == len(words)
    assert all(MODULE_PATH.fullmatch(module) for word, _, module in rows if word in words)


GLOSSARY = ROOT / "docs" / "glossary.md"


def constraints() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(each.name): each for each in found}


def test_constraints_name_one_release_of_each_package_and_no_place() -> None:
    for each in constraints().values():
        (only,) = each.specifier
        assert only.operator == "==" and "+" not in only.version and each.url is None


@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
def test_constraints_hold_what_the_project_asks_for(extra: str) -> None:
    asked = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    held = constraints()
    for each in map(Requirement, asked):
        (only,) = held[canonicalize_name(each.name)].specifier
        assert each.specifier.contains(only.version), f"{each} but {only}"


def test_citation_and_changelog_speak_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (str(citation["version"]), citation["license"]) == (
        PROJECT["version"],
        PROJECT["license"],
    )
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()
    assert PROJECT["license-files"] == ["LICENSE"] and (ROOT / "LICENSE").is_file()


def test_the_readme_waits_for_no_number() -> None:
    assert not re.findall(r"\bXX\b|DEMO NUMBERS", (ROOT / "README.md").read_text())


def test_the_reading_list_is_short_and_true() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| \d \| `([^`]+)` \| (\d+) \|", text, re.MULTILINE)
    told = {path: int(lines) for path, lines in rows}
    found = {path: len((ROOT / path).read_text().splitlines()) for path in told}
    assert len(found) == 9 and sum(found.values()) <= 1500
    assert all(abs(found[path] - lines) <= lines / 10 for path, lines in told.items())
