"""Links of the README and the manual: what they point at is there."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MANUAL = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *MANUAL]
_BLOCK = re.compile(r"^(```+).*?^\1$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\[\]]*\]\(([^()\s]+)\)")
_PAGE_UNLINKED = re.compile(r"(?<![(/])\bdocs/[\w-]+\.md\b(?!\))|`[\w-]+\.md`")


def text_of(page: Path) -> str:
    """The page without its code, where brackets are no links."""
    return re.sub(r"`[^`\n]*`", "", _BLOCK.sub("", page.read_text()))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub and GitLab make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.*)$", _BLOCK.sub("", page.read_text()), re.MULTILINE):
        plain = re.sub(r"\[([^\[\]]*)\]\([^()]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while (unique := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(unique)
    return frozenset(found)


def dead(page: Path) -> list[str]:
    """The page's relative links that lead nowhere."""
    links = [link for link in _LINK.findall(text_of(page)) if "://" not in link]
    wrong = []
    for link in links:
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link leads to a file of the tree, and its anchor to a heading there."""
    assert dead(page) == []


@pytest.mark.parametrize("page", MANUAL, ids=lambda page: page.name)
def test_pages_are_linked(page: Path) -> None:
    """A page of the manual that mentions another one links to it."""
    without_links = re.sub(r"\[[^\[\]]*\]\([^()]*\)", "", _BLOCK.sub("", page.read_text()))
    assert _PAGE_UNLINKED.findall(without_links) == []


def test_every_page_is_reached_from_the_readme() -> None:
    """Whoever begins at the README finds every page of the manual by following links."""
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        names = (link.partition("#")[0] for link in _LINK.findall(text_of(page)))
        waiting += [(page.parent / name).resolve() for name in names if name]
    assert set(MANUAL) <= reached
