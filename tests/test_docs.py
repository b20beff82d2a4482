"""The README and the docs are correct: their code runs, their commands exist, and their links work."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import gc
import io
import json
import logging
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel

import fetch_hive_sdk
from fetch_hive_sdk import FetchHive, bulk, emulator, telemetry, testing
from fetch_hive_sdk.cli import build_parser
from fetch_hive_sdk.testing import FakeServer

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]

# The titles of blocks that need another package. They are tested in `test_recipes.py` and `frameworks/`.
RECIPES = {"FastAPI", "FastAPI test", "Starlette", "Flask", "Flask test", "Django", "Django test"}
RECIPES |= {
    "Celery",
    "Celery pickle",
    "Celery test",
    "Sentry",
    "IPython",
    "pandas",
    "polars",
    "Ray",
    "Dask",
    "Spark",
    "processes",
}

every_page = pytest.mark.parametrize("page", PAGES, ids=IDS)


@dataclass
class Block:
    """A fenced block of a page."""

    language: str
    title: str
    text: str
    line: int
    between: str
    """The text between the previous block and this one."""


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    blocks, end = [], 0
    for found in re.finditer(r'^```(\w*)(?: title="([^"\n]*)")?\n(.*?)^```$', text, re.DOTALL | re.MULTILINE):
        line = text.count("\n", 0, found.start()) + 2
        blocks.append(Block(found[1], found[2] or "", found[3], line, text[end : found.start()]))
        end = found.end()
    return blocks


def code_of(page: Path, block: Block) -> object:
    # Empty lines in place of the page above the block, so that a traceback shows the right line number.
    return compile("\n" * (block.line - 1) + block.text, str(page), "exec", dont_inherit=True)


def is_of_another_package(block: Block) -> bool:
    return block.title == "openai" or block.title in RECIPES


def is_test_module(block: Block) -> bool:
    has_tests = "\ndef test_" in f"\n{block.text}".replace("async def", "def")
    return block.language == "python" and has_tests and not is_of_another_package(block)


def module_name(page: Path) -> str:
    return re.sub(r"\W", "_", page.relative_to(ROOT).with_suffix("").as_posix().lower())


def succeed(module: str, *arguments: str) -> None:
    """Run a module as a program with this Python; if it fails, fail with its output."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def _service(monkeypatch, tmp_path):
    """A fake service at the URL in the environment, as from `fetch-hive serve`, with a few scripted deployments."""
    fake = FakeServer(default="As you asked.")
    fake.answers("extract-ticket", '```json\n{"title": "The shop is down", "priority": 1}\n```')
    fake.fails("no-such-prompt", 404, message="There is no such deployment")
    fake.answers("fails-halfway", pieces=["Once ", "upon "], error="The provider failed")
    with fake.serve() as url:
        monkeypatch.setenv("FETCH_HIVE_API_KEY", "fhk_docs")
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        monkeypatch.setenv("FETCH_HIVE_WORKSPACE_ID", testing.TEST_WORKSPACE)
        monkeypatch.chdir(tmp_path)  # pages write files
        yield
    logging.getLogger("fetch_hive_sdk").setLevel(logging.NOTSET)


@every_page
@pytest.mark.usefixtures("_service")
def test_python_blocks_run(page):
    """The Python blocks of a page run one after the other in one program, and print the output that the page shows."""
    program = {"__name__": "__main__"}
    printed = None
    for block in blocks_of(page):
        if block.language == "text" and printed is not None and not block.between.strip():
            assert printed == block.text, f"{page.name}:{block.line}"
        printed = None
        if block.language == "python" and not is_test_module(block) and not is_of_another_package(block):
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(code_of(page, block), program)
            printed = output.getvalue()
    program.clear()
    gc.collect()  # warnings about unclosed resources belong to this test, not to the next one


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder with one program for each page: its Python blocks, in order."""
    folder = tmp_path_factory.mktemp("programs")
    for page in PAGES:
        blocks = [block for block in blocks_of(page) if block.language == "python" and not is_of_another_package(block)]
        program = "\n".join(block.text for block in blocks if not is_test_module(block))
        (folder / f"{module_name(page)}.py").write_text(program, "utf-8")
        for number, block in enumerate(filter(is_test_module, blocks)):
            (folder / f"test_{module_name(page)}_{number}.py").write_text(block.text, "utf-8")
    return folder


def test_test_blocks_pass(programs):
    """A block that defines tests is a complete test module, and its tests pass."""
    options = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(programs), "-p", "no:cacheprovider"]
    succeed("pytest", *options, *map(str, sorted(programs.glob("test_*.py"))))


@every_page
def test_code_fits_the_site(page):
    """Code in the docs has at most 88 characters in a line, which fit into a block of the site at 1280 pixels."""
    if page.parent == ROOT:
        return
    code = [line for block in blocks_of(page) if block.language != "text" for line in block.text.splitlines()]

    assert [line for line in code if len(line) > 88] == []


def test_blocks_pass_mypy(programs):
    """The Python blocks of each page pass mypy in strict mode."""
    pytest.importorskip("mypy", reason="needs mypy")

    # A page may define `main` more than once.
    succeed("mypy", "--disable-error-code=no-redef", *map(str, sorted(programs.glob("*.py"))))


@pytest.mark.skipif(sys.version_info < (3, 10), reason="the newest pytest for Python 3.9 leaves `request.node` untyped")
def test_blocks_pass_pyright(programs):
    """The Python blocks of each page pass pyright in strict mode."""
    pytest.importorskip("pyright", reason="needs pyright")
    # A page may define `main` and import a module more than once, and assign variables that it does not use.
    rules = dict.fromkeys(["reportRedeclaration", "reportDuplicateImport", "reportUnusedVariable"], False)
    (programs / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict", **rules}), "utf-8")

    succeed("pyright", "--project", str(programs), "--pythonpath", sys.executable)


def test_blocks_of_other_packages_are_typed(tmp_path):
    """The examples for other packages pass mypy with those packages installed."""
    pytest.importorskip("mypy", reason="needs mypy")
    pytest.importorskip("openai", reason="needs openai")
    for page in PAGES:
        program = "\n".join(block.text for block in blocks_of(page) if block.title == "openai")
        (tmp_path / f"{module_name(page)}.py").write_text(program, "utf-8")

    succeed("mypy", *map(str, sorted(tmp_path.glob("*.py"))))


@every_page
def test_commands_exist(page, tmp_path, monkeypatch):
    """The parser of the command line accepts every `fetch-hive` command in a shell block."""
    monkeypatch.chdir(tmp_path)
    for block in blocks_of(page):
        if block.language == "bash":
            for command in re.split(r"&&|\||\n", block.text.replace("\\\n", " ")):
                words = shlex.split(command, comments=True)
                if words and words[0] == "echo" and words[-2] == ">":
                    Path(words[-1]).write_text(words[1], "utf-8")
                if words and Path(words[0]).name == "fetch-hive":
                    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}")))
                    build_parser().parse_args(words[1:])


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / "src").rglob("*.py")], ids=lambda page: page.name)
def test_nothing_is_installed_by_name(page):
    """Nothing tells users to install `fetch-hive-sdk` from an index, where that name belongs to the vendor."""
    text = page.read_text("utf-8")
    assert not re.search(r"pip install\s.*\bfetch.hive.sdk(?!.*\.whl)", text)


def anchors_of(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@every_page
def test_links_work(page):
    """Every link between pages leads to an existing file and heading."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name) if name else page
        assert other.exists(), target
        assert not anchor or anchor in anchors_of(other), target


def test_plots_match_the_measurements():
    """The plots and the tables of the page on performance are those that `benchmarks/plots.py` makes."""
    made = runpy.run_path(str(ROOT / "benchmarks" / "plots.py"))["made"]()

    assert [path.name for path, text in made.items() if path.read_text("utf-8") != text] == []


def test_the_time_of_a_call_is_the_measured_one():
    """The README and the first page of the docs have the CPU time of a call that was measured."""
    data = json.loads((ROOT / "benchmarks" / "performance.json").read_text("utf-8"))
    ours, vendor = data["clients"]["rows"]["a call"][:2]

    for page, joined in (("README.md", " | "), ("docs/index.md", " of CPU time instead of ")):
        assert f"{ours / 1000:.1f} ms{joined}{vendor / 1000:.0f} ms" in (ROOT / page).read_text("utf-8")


def test_reference_is_complete():
    """The page of all names lists every public name, every method and every field."""
    reference = (ROOT / "docs" / "reference" / "index.md").read_text("utf-8")
    words = set(re.findall(r"\w+", reference))

    for module in (fetch_hive_sdk, bulk, telemetry, testing):
        for name in module.__all__:
            value = getattr(module, name)
            members = [*getattr(value, "model_fields", ()), *vars(value)] if isinstance(value, type) else []
            own = {member for member in members if not member.startswith("_") and member != "model_config"}
            assert {name} | own - set(dir(BaseModel)) <= words, name


def test_every_public_name_is_on_one_page():
    """The pages of the reference show the docstring of every public name exactly once."""
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    shown = re.findall(r"^::: (?!fetch_hive_sdk\.resources)([\w.]+)$", pages, re.MULTILINE)

    modules = (fetch_hive_sdk, bulk, telemetry, testing, emulator)
    names = [f"{module.__name__}.{name}" for module in modules for name in module.__all__]
    # The page on the emulator has these.
    names = [name for name in names if name not in {f"fetch_hive_sdk.testing.{name}" for name in emulator.__all__}]
    names.remove("fetch_hive_sdk.__version__")
    others = ["fetch_hive_sdk.bulk.ray.run", "fetch_hive_sdk.pytest_plugin.fetch_hive"]
    assert sorted(shown) == sorted([*names, *others])


EXAMPLE = re.compile(r"^ *```python\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def examples_of_docstrings():
    for path in sorted(Path(fetch_hive_sdk.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                for code in EXAMPLE.findall(ast.get_docstring(node) or ""):
                    yield pytest.param(textwrap.dedent(code), id=f"{path.stem}-{node.name}")


def summarise(client: FetchHive, text: str) -> str:
    return client.invoke_prompt(deployment="summarise", inputs={"text": text}).response


class Ticket(BaseModel):
    title: str


@fetch_hive_sdk.prompt("extract-ticket")
def extract_ticket(mail: str) -> Ticket:
    raise NotImplementedError


@pytest.mark.parametrize("code", list(examples_of_docstrings()))
def test_examples_of_docstrings_run(code, monkeypatch, tmp_path):
    """The examples in docstrings run, given a client, a fake and a recording."""
    monkeypatch.chdir(tmp_path)
    fake = FakeServer(default="Short.")
    program = {name: getattr(module, name) for module in (fetch_hive_sdk, bulk, testing) for name in module.__all__}
    fake.answers("extract-ticket", '{"title": "The shop is down"}')
    program.update(client=fake.client(), fake=fake, summarise=summarise, Ticket=Ticket, extract_ticket=extract_ticket)
    with testing.record("cassettes/summary.json", program["client"]):
        summarise(program["client"], "A long text.")

    with fake.serve() as url:
        monkeypatch.setenv("FETCH_HIVE_API_KEY", "fhk_docs")
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        exec("async def example() -> None:\n" + textwrap.indent(code, "    "), program)
        asyncio.run(program["example"]())


def test_changelog_has_this_version():
    """The changelog has an entry with a date for this version, or an entry *Unreleased* for a development version."""
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    version = fetch_hive_sdk.__version__

    entry = "Unreleased" if ".dev" in version else rf"{re.escape(version)} - \d{{4}}-\d\d-\d\d"
    assert re.search(rf"^## {entry}$", changelog, re.MULTILINE)
