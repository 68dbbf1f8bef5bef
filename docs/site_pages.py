"""MkDocs hook: adds the repository's own documents and the generated reference to the site.

Nothing is copied: pages are read from where they stand, and their links are turned to the site's.
A link to a file of the source that is no page becomes its name.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from threedrs_workflows.reference.pages import generated_pages

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *(f"{room}/README.md" for room in ("platform", "components", "workflows", "dashboards")),
    "infra/README.md",
    *(f"components/threedrs_components/{each}/README.md" for each in ("benchmarks", "teachers")),
)
NOTEBOOK = "notebooks/first_results.ipynb"
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
CODE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)
PICTURES = (".png", ".svg")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages and the pictures that they show."""
    for name in DOCUMENTS:
        _add(files, config, name, (ROOT / name).read_text(encoding="utf-8"))
    for name, text in generated_pages().items():
        _add(files, config, name, text)
    _add(files, config, NOTEBOOK.replace(".ipynb", ".md"), _notebook(ROOT / "docs" / NOTEBOOK))
    for room in ("components", "dashboards"):
        for path in sorted((ROOT / room / "pictures").glob("*.png")):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: object, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    name = page.file.src_uri  # type: ignore[attr-defined]
    here = name if name in DOCUMENTS else f"docs/{name}"
    known = {file.src_uri for file in files}
    parts = CODE.split(markdown)
    return "".join(
        part if part.startswith("```") else LINK.sub(lambda m: _link(m, here, name, known), part)
        for part in parts
    )


def _link(match: re.Match[str], here: str, name: str, known: set[str]) -> str:
    picture, words, target = match.groups()
    path, hash_sign, anchor = target.partition("#")
    if ":" in path or not path:
        return match[0]
    words = LINK.sub(lambda inner: _link(inner, here, name, known), words)
    meant = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
    for candidate in (meant.removeprefix("docs/"), f"{meant}/README.md", f"{meant}.md"):
        if candidate in known:
            relative = posixpath.relpath(candidate, posixpath.dirname(name) or ".")
            return f"{picture}[{words}]({relative}{hash_sign}{anchor})"
    if (ROOT / meant).exists() and not meant.endswith(PICTURES):
        return words
    return match[0]


def _add(files: Files, config: MkDocsConfig, name: str, text: str) -> None:
    files.append(File.generated(config, name, content=text))


def _notebook(path: Path) -> str:
    """A notebook's words and code as Markdown."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = [("".join(cell["source"]), cell["cell_type"]) for cell in cells]
    return "\n\n".join(t if kind == "markdown" else f"```python\n{t}\n```" for t, kind in texts)
