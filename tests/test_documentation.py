"""The guides name files, headings, commands and endpoints that exist."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import Resolver404, resolve

ROOT = Path(__file__).resolve().parents[1]
GUIDES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "mltraining/**/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"manage\.py ([a-z][a-z_]+)")
CALL = re.compile(r"\$API(/[^\s\"?#]+)")
NAMED_FILE = re.compile(r"`((?:voiceauth|enrollment|mltraining|tests)/[\w/.]*)`")
EXAMPLES = {"NUMBER": "7", "UUID": "6c0f2f0e-6f3f-4a0b-9d52-0d3f6f6b1a11", "VERSION": "20261126-120000-abcdef"}


@cache
def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a file."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def found(pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Yield each match once a guide, with the guide's name."""
    for guide in GUIDES:
        for match in sorted(set(pattern.findall(guide.read_text(encoding="utf-8")))):
            yield str(guide.relative_to(ROOT)), match


@pytest.mark.parametrize(("guide", "link"), [pair for pair in found(LINK) if "://" not in pair[1]])
def test_a_link_leads_to_a_file_and_a_heading(guide: str, link: str) -> None:
    name, _, anchor = link.partition("#")
    target = (ROOT / guide).parent / name if name else ROOT / guide
    assert target.exists()
    assert not anchor or anchor in anchors(target)


@pytest.mark.parametrize(("guide", "name"), list(found(COMMAND)))
def test_a_command_exists(guide: str, name: str) -> None:
    assert name in get_commands()


@pytest.mark.parametrize(("guide", "name"), list(found(NAMED_FILE)))
def test_a_named_file_exists(guide: str, name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize(("guide", "path"), list(found(CALL)))
def test_an_example_calls_an_endpoint_that_exists(guide: str, path: str) -> None:
    for value in EXAMPLES.values():
        try:
            resolve("/api/v1" + re.sub(r"\$[A-Z]+", value, path))
        except Resolver404:
            continue
        return
    pytest.fail(f"no endpoint is at {path}")


def test_no_file_depends_on_a_folder_beside_the_repository() -> None:
    places = [ROOT / "README.md", ROOT / "Makefile", *GUIDES]
    for folder in ("voiceauth", "enrollment", "mltraining", "docker"):
        places += [path for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".yaml", ".json", ".md"}]
    assert [str(path) for path in places if "../shared" in path.read_text(encoding="utf-8")] == []
