"""Guards of the shape: who imports whom, twins, names. What they guard is in the design page of the docs."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fetch_hive_sdk
from fetch_hive_sdk import AsyncPromptStream, FetchHive, PromptStream, _asyncio, _blocking, _config

SOURCE = Path(fetch_hive_sdk.__file__).parent

# From the ground up. A module may import from its own floor and from those below it.
FLOORS = [
    {"_version", "_deprecation"},
    {"models", "errors", "_config"},
    {"_protocol", "_answers", "_events", "_sse", "_retry", "_time"},
    {"_blocking", "_asyncio", "_pool", "_sockets", "_aiohttp"},
    {"client", "streams"},
]
# At the edge, beside testing/ and cli/: uses the package from outside.
EDGE = {"pytest_plugin"}
HOUSE = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}


def imports_of(path: Path) -> set[str]:
    """Names of the modules that a file imports, those of the package with a leading dot."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found.update("." * node.level + name for name in names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


def test_the_house_is_complete():
    """Every module of the package has its floor."""
    assert {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"} - EDGE == set(HOUSE)


@pytest.mark.parametrize("module", sorted(HOUSE))
def test_imports_point_down(module):
    """A module imports from its own floor and from those below it, never from above and never from the edge."""
    inside = {name[1:] for name in imports_of(SOURCE / f"{module}.py") if name.startswith(".")}

    assert inside <= set(HOUSE), f"{module} imports from outside the house"
    assert not {name for name in inside if HOUSE[name] > HOUSE[module]}


@pytest.mark.parametrize("module", sorted(FLOORS[1] | FLOORS[2]))
def test_words_and_protocol_do_no_io(module):
    """Nothing below the shells imports a socket, an event loop or a client."""
    shells_only = {"socket", "asyncio", "httpcore", "anyio", "threading", "urllib.request", "subprocess"}

    assert not imports_of(SOURCE / f"{module}.py") & shells_only
    assert not re.search(r"httpx\.(Async)?Client\b", (SOURCE / f"{module}.py").read_text("utf-8"))


@pytest.mark.parametrize(
    "path",
    [
        *sorted((SOURCE / "testing").glob("*.py")),
        *sorted((SOURCE / "cli").glob("*.py")),
        *(SOURCE / f"{module}.py" for module in sorted(EDGE)),
    ],
    ids=str,
)
def test_the_edge_uses_the_package_from_outside(path):
    """The test kit and the command line import what every user can import."""
    inside = {name[2:] for name in imports_of(path) if name.startswith("..")}
    absolute = {name for name in imports_of(path) if name.startswith("fetch_hive_sdk.")}

    private = {name for name in inside | absolute if any(part.startswith("_") for part in name.split("."))}
    assert private <= {"_version"}


def same_but_async(function, twin) -> None:
    assert inspect.signature(function).parameters.keys() == inspect.signature(twin).parameters.keys()
    for name, parameter in inspect.signature(function).parameters.items():
        assert inspect.signature(twin).parameters[name].default == parameter.default
        assert inspect.signature(twin).parameters[name].kind == parameter.kind
    assert inspect.getdoc(function) == inspect.getdoc(twin)


def test_an_editor_shows_the_values_of_the_defaults():
    """The client's signature has the numbers themselves, and they are those of the settings."""
    shown, meant = inspect.signature(FetchHive).parameters, inspect.signature(_config.read_config).parameters

    for name in shown.keys() & meant.keys():
        assert shown[name].default == meant[name].default, name


@pytest.mark.parametrize("name", ["invoke_prompt", "invoke_prompt_stream"])
def test_twins_of_the_client_have_equal_signatures_and_docstrings(name):
    """The asyncio method takes the same arguments with the same defaults, and says the same about them."""
    same_but_async(getattr(FetchHive, name), getattr(FetchHive, f"a{name}"))


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("__iter__", "__aiter__"),
        ("__next__", "__anext__"),
        ("text", "text"),
        ("collect", "collect"),
        ("partial", "partial"),
        ("close", "aclose"),
        ("__enter__", "__aenter__"),
        ("__exit__", "__aexit__"),
    ],
)
def test_twins_of_the_streams_have_equal_signatures_and_docstrings(name, twin):
    """The asyncio stream has the methods of the blocking one, described by the same words."""
    function, other = inspect.getattr_static(PromptStream, name), inspect.getattr_static(AsyncPromptStream, twin)
    if isinstance(function, property):
        function, other = function.fget, other.fget
    same_but_async(function, other)


def test_twins_of_the_shells_have_equal_functions():
    """The shells have the same functions in the same order, described by the same words."""

    def functions(module):
        own = [
            item for item in vars(module).values() if inspect.isfunction(item) and item.__module__ == module.__name__
        ]
        return [(item.__name__, inspect.getdoc(item)) for item in own if item.__name__ != "_once"]

    assert functions(_asyncio) == functions(_blocking)


def test_all_names_are_sorted_and_complete():
    """`__all__` is sorted, and has every public class of the errors and the models."""
    names = fetch_hive_sdk.__all__
    assert names == sorted(names)

    public = set()
    for module in ("client", "errors", "models", "streams"):
        tree = ast.parse((SOURCE / f"{module}.py").read_text("utf-8"))
        public |= {node.name for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")}
    assert public <= set(names)


def test_importing_the_package_loads_nothing():
    """`import fetch_hive_sdk` is free: httpx and Pydantic are loaded with the first name that needs them."""
    code = """
        import sys
        import fetch_hive_sdk
        assert "httpx" not in sys.modules and "pydantic" not in sys.modules
        from fetch_hive_sdk import FetchHive
        assert "httpx" in sys.modules
        assert "asyncio" not in sys.modules and "httpcore" not in sys.modules
    """

    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_public_things_have_docstrings():
    """Every public class and method says what it is for."""
    for name in fetch_hive_sdk.__all__:
        value = getattr(fetch_hive_sdk, name)
        if not inspect.isclass(value):
            continue
        assert inspect.getdoc(value), name
        for attribute, member in vars(value).items():
            if not attribute.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                assert inspect.getdoc(member), f"{name}.{attribute}"
