"""README and docs: links resolve, commands parse, the command line's reference is true."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from docs.command_line import PAGE, plain, reference
from preprocess.__main__ import app as preprocess
from train.__main__ import app as train

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MANUAL = [page for page in PAGES if page.parent.name != "experiments" and page != PAGE]
"""Pages about the present; experiments may name options of their time outside of code blocks."""

FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
CODE = re.compile(r"`([^`\n]+)`")
FOREIGN = {"dask", "export", "pip"}
"""Programs of others, which are not checked."""
FOREIGN_OPTIONS = {"--help", "--logdir"}


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text())


def named(pages: list[Path], found: Any) -> list[Any]:
    """Test parameters: each thing found in a page once, named after page and thing."""
    return [
        pytest.param(thing, id=f"{page.relative_to(ROOT)}: {thing}")
        for page in pages
        for thing in dict.fromkeys(found(page))
    ]


def block_commands(page: Path) -> list[str]:
    lines = [
        line.partition("  #")[0].strip()
        for language, block in FENCED.findall(page.read_text())
        if language != "text"
        for line in block.replace("\\\n", " ").splitlines()
    ]
    programs = ("make", "python", "dvdm-preprocess", "dvdm-train", *FOREIGN)
    return [line for line in lines if re.sub(r"^([A-Z_]+=\S+ )+", "", line).startswith(programs)]


def inline_commands(page: Path) -> list[str]:
    return [
        code
        for code in CODE.findall(prose(page))
        if re.match(r"(make|python -m|dvdm-preprocess|dvdm-train) ", code)
    ]


@cache
def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and the site make them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.lower())
        found |= {words.replace(" ", "-"), re.sub(r"[\s-]+", "-", words)}
    return found


@cache
def program(name: str) -> Any:
    return plain({"preprocess": preprocess, "train": train}[name])


def option_names(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


def test_readme_ends_within_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES])
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in map("".join, LINK.findall(prose(page))):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{link}: no such file"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES])
def test_source_files_that_pages_name_exist(page: Path) -> None:
    folders = "train|preprocess|shared|tests|benchmarks|docs|data_manifests"
    for code in CODE.findall(prose(page)):
        if re.fullmatch(rf"({folders})/[a-z0-9_./-]*\w", code):
            assert (ROOT / code).exists(), code


def test_tests_that_pages_name_exist() -> None:
    found = {code for page in PAGES for code in CODE.findall(prose(page)) if "::" in code}
    assert len(found) > 45
    for code in found:
        file, _, name = code.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), code


def test_every_condition_has_a_test() -> None:
    lines = (ROOT / "docs" / "conditions.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| **")]
    assert len(rows) - 2 >= 45  # less the heading and the line below it
    for row in rows[2:]:
        condition, outcome, test = (cell.strip() for cell in row.strip("|").split("|"))
        assert condition and outcome and re.match(r"`tests/\S+::test_\w+`", test), row


@pytest.mark.parametrize("line", [*named(PAGES, block_commands), *named(MANUAL, inline_commands)])
def test_commands_parse(line: str) -> None:
    words = shlex.split(line)
    while re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    if words[0] == "make":
        check_make(words[1:])
    elif words[0] in ("dvdm-preprocess", "dvdm-train"):
        check_module(words[0].removeprefix("dvdm-"), words[1:])
    elif words[:2] == ["python", "-m"]:
        check_module(words[2], words[3:])
    else:
        assert words[0] in FOREIGN, f"unknown program {words[0]}"


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    values = dict(word.split("=", 1) for word in words if "=" in word)
    for target in (word for word in words if "=" not in word):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"
    for name in values:
        assert re.search(rf"\b{name}\b", makefile), f"no variable {name}"
    if "SET" in values:
        check_recipe(values.get("RECIPE", "ed_vdm_demo"), values["SET"].split())


def check_module(module: str, words: list[str]) -> None:
    if module.startswith("benchmarks"):
        parts = module.split(".")[1:] or ["__main__"]
        source = ROOT.joinpath("benchmarks", *parts).with_suffix(".py").read_text()
        for word in words:
            assert not word.startswith("--") or f'"{word}"' in source, f"{module} has no {word}"
        return
    group = program(module)
    if not words or words == ["--help"]:
        return
    assert words[0] in group.commands, f"{module} has no command {words[0]}"
    command = group.commands[words[0]]
    if words[1:]:
        given = command.make_context(words[0], words[1:]).params
        if given.get("set_"):
            check_recipe(given.get("recipe", "ed_vdm_demo"), list(given["set_"]))


def check_recipe(name: str, overrides: list[str]) -> None:
    from train.recipes import load_recipe

    load_recipe(name, overrides)


@pytest.mark.parametrize("page", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in MANUAL])
def test_options_that_pages_name_exist(page: Path) -> None:
    known = set(FOREIGN_OPTIONS)
    for group in (program("preprocess"), program("train")):
        known |= {name for command in group.commands.values() for name in option_names(command)}
    for source in (ROOT / "benchmarks").glob("*.py"):
        known |= set(re.findall(r'"(--[\w-]+)"', source.read_text()))
    named_there = {name for code in CODE.findall(prose(page)) for name in options_in(code)}
    assert named_there <= known, named_there - known


def options_in(code: str) -> list[str]:
    return re.findall(r"(?<![\w-])--[a-z][\w-]*", code)


def test_the_reference_of_the_command_line_is_what_help_says() -> None:
    assert PAGE.read_text() == reference(), "make docs writes it again"


def test_the_site_builds_and_needs_no_network(tmp_path: Path) -> None:
    pytest.importorskip("material")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = re.compile(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="?(?:https?:)?//')
    for page in tmp_path.rglob("*.html"):
        assert not loaded.search(page.read_text()), page
    notebook = (tmp_path / "notebooks" / "store.html").read_text()
    assert "frame_(n-1)" in notebook and 'href="store.ipynb"' in notebook
    assert (tmp_path / "notebooks" / "store.ipynb").is_file()
    assert 'href="notebooks/store.html"' in (tmp_path / "index.html").read_text()
