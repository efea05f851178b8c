"""The examples of the documentation: Python runs, command lines fit the program, and links lead somewhere."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from gencore.cli import VERBS, _verb
from gencore.cli.parser import Parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OTHER_PROGRAMS = {"make", "pip", "python", "torchrun"}


def blocks(page: Path, *languages: str) -> list[tuple[int, str]]:
    """(line number, text) of the code blocks in any of `languages`."""
    text = page.read_text(encoding="utf-8")
    found = (m for m in FENCE.finditer(text) if m[1] in languages)
    return [(text.count("\n", 0, m.start()) + 2, m[2]) for m in found]


def commands() -> list[tuple[str, list[str]]]:
    """Every command of every shell block: where it stands, and its words."""
    found = []
    for page in PAGES:
        for start, text in blocks(page, "bash", "sh", ""):
            for offset, line in enumerate(text.splitlines()):
                words = shlex.split(line, comments=True)
                while words:
                    end = next((i for i, word in enumerate(words) if word in ("&&", "|", ";")), len(words))
                    command = [w for i, w in enumerate(words[:end]) if "=" not in w or i > 0]
                    found.append((f"{page.relative_to(ROOT)}:{start + offset}", command))
                    words = words[end + 1 :]
    return found


def made() -> set[str]:
    """Modalities that a page makes before it uses them; here an installed one stands for them."""
    return {words[2] for _, words in commands() if words[:2] == ["gencore", "new"]}


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=ids)
def test_the_python_of_a_page_runs_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for line, source in blocks(page, "python"):
        # Blank lines before the source make a traceback point into the page.
        exec(compile("\n" * (line - 1) + source, str(page), "exec"), names)


@pytest.mark.parametrize(("where", "words"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_command_line_fits_the_program(where: str, words: list[str]) -> None:
    if words[:3] == ["torchrun", "--nproc-per-node", "2"]:
        assert words[3:5] == ["-m", "gencore"]
        words = words[4:]
    if words[0] != "gencore":
        _other(words)
        return
    if words[1] != "new":
        words = ["images" if word in made() else word for word in words]
    verb = _verb(words[1])
    parser = Parser(prog=f"gencore {words[1]}", words=words[2:])
    verb.add_arguments(parser)
    if "--help" in words:
        with pytest.raises(SystemExit) as left:
            parser.parse_args()
        assert left.value.code == 0
    else:
        parser.parse_args()


def _other(words: list[str]) -> None:
    """A command of another program names what is there."""
    program, *rest = words
    assert program in OTHER_PROGRAMS, program
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert rest[0] in targets
    elif program == "pip":
        for word in rest[1:]:
            name, _, extra = word.rstrip("]").partition("[")
            if name.removeprefix("gencore-") in made():
                continue
            if name.startswith("gencore"):
                project = ROOT if name == "gencore" else ROOT / "modalities" / name.removeprefix("gencore-")
                facts = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
                assert not extra or extra in facts["optional-dependencies"]
            elif name.startswith("."):
                assert (ROOT / name / "pyproject.toml").is_file()
    elif program == "python" and rest[0] != "-m":
        assert (ROOT / rest[0]).is_file()


def test_every_verb_is_shown_somewhere() -> None:
    shown = {words[1] for _, words in commands() if words[0] == "gencore"}
    assert set(VERBS) <= shown


def test_no_block_is_of_a_language_nobody_checks() -> None:
    told = {m[1] for page in PAGES for m in FENCE.finditer(page.read_text(encoding="utf-8"))}
    assert told <= {"python", "bash", "text", "toml", ""}


def test_every_page_is_in_the_navigation_and_every_link_leads_to_one() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    for page in PAGES[1:]:
        assert str(page.relative_to(ROOT / "docs")) in nav
        for target in re.findall(r"\]\(([^)#]+\.md)[^)]*\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).is_file(), f"{ids(page)}: {target}"
