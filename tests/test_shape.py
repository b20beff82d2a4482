"""Architecture tests: imports between layers, asyncio twins and public names. See the design page of the docs."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from operator import attrgetter
from pathlib import Path

import pytest

import fetch_hive_sdk
from fetch_hive_sdk import AsyncStream, FetchHive, Stream, _asyncio, _blocking, _config
from fetch_hive_sdk.namespaces import Namespaces

SOURCE = Path(fetch_hive_sdk.__file__).parent

# From the bottom up. A module may import from its own layer and the layers below it.
LAYERS = [
    {"_version", "_deprecation", "_text"},
    {"models", "errors", "_config", "_secret", "_deadline", "_extensions", "_observers"},
    {"_protocol", "_net"},
    {"_blocking", "_asyncio"},
    {"_session"},
    {"streams"},
    {"prompts"},
    {"sending"},
    {"runs"},
    {"resources", "callbacks", "streaming"},
    {"conversations"},
    {"namespaces", "_vendor"},
    {"client"},
]
# Packages on the edge use the public API, and only these private names.
EDGE = {"bulk", "cli", "testing", "emulator", "telemetry", "pytest_plugin"}
SHARED_WITH_THE_EDGE = {
    "_version.__version__",
    "_text.count_of",
    "_text.in_one_line",
    "_text.pad",
    "_text.width_of",
    "_text.wrap",
    "_session.api_key_of",
    "_session.runs_asyncio",
    "_session.wrap_sender",
    "_secret.Secret",
    "_protocol.endpoint.CORRELATION",
    "_extensions.OURS",
    "_config.is_loopback",
    "_config.no_proxy_for_loopback",
    "_net.plain_clients.plain_client",
    "_net.proxies.Routes",
    "_net.proxies.check_proxies",
    "_net.tls.tls_context",
}
# The types of observers, which `telemetry` exports.
SHARED_WITH_THE_EDGE |= {
    f"_observers.{name}"
    for name in ("AttemptEnded", "AttemptStarted", "CallEnded", "CallStarted", "FirstEvent", "Observer")
}
# The emulator is built from parts of the fake.
BUILT_ON = {"emulator": "testing"}
LAYER_OF = {module: layer for layer, modules in enumerate(LAYERS) for module in modules}

FILES = {path.relative_to(SOURCE).with_suffix("").as_posix(): path for path in sorted(SOURCE.rglob("*.py"))}


def part_of(name: str) -> str:
    """The top-level module or folder of a file."""
    return name.partition("/")[0]


INSIDE = [name for name in FILES if part_of(name) in LAYER_OF]


def imports_of(name: str, *, at_run_time: bool = False) -> set[str]:
    """The names that a file imports. Those from the package are written as `.module.name`."""
    tree = ast.parse(FILES[name].read_text("utf-8"))
    nodes = tree.body if at_run_time else list(ast.walk(tree))
    package = name.split("/")[:-1]
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = (
                ".".join(filter(None, [*package[: len(package) - node.level + 1], node.module])) if node.level else ""
            )
            home = f".{home}" if node.level else node.module
            found.update(f"{home}.{alias.name}".replace("..", ".") for alias in node.names)
    return {re.sub(r"^fetch_hive_sdk\.", ".", name) for name in found}


def test_every_module_has_a_layer():
    """Every module and folder of the package has a layer."""
    assert {part_of(name) for name in FILES} - {"__init__", "__main__"} - EDGE == set(LAYER_OF)


@pytest.mark.parametrize("name", INSIDE)
def test_imports_point_down(name):
    """A module imports from its own layer and those below it, never from above and never from the edge.

    Among models, imports that are only for type checkers may point both ways.
    """
    layer = LAYER_OF[part_of(name)]
    inside = {module.split(".")[1] for module in imports_of(name) if module.startswith(".")}
    parts = {module for module in inside if module in LAYER_OF}

    assert inside <= set(LAYER_OF), f"{name} imports a module without a layer"
    assert not {part for part in parts if LAYER_OF[part] > layer}
    if layer == LAYER_OF["_net"]:
        assert not {"_net", "_protocol"} - {part_of(name)} & parts, "only the shells join _net and _protocol"


def test_there_are_no_circular_imports():
    """At run time, no module imports itself through others."""
    modules = {f".{name}".replace("/", "."): name for name in FILES}
    graph = {}
    for module, name in modules.items():
        wanted = imports_of(name, at_run_time=True)
        graph[module] = {found for found in modules if any(w == found or w.startswith(f"{found}.") for w in wanted)}
    while graph:
        leaves = {module for module, wanted in graph.items() if not wanted & graph.keys() - {module}}
        assert leaves, f"circular imports among {sorted(graph)}"
        for leaf in leaves:
            del graph[leaf]


@pytest.mark.parametrize("name", [name for name in INSIDE if LAYER_OF[part_of(name)] <= 2 and part_of(name) != "_net"])
def test_models_and_protocol_do_no_io(name):
    """Below the shells, only `_net` imports sockets, event loops or clients."""
    io = {"socket", "asyncio", "httpcore", "anyio", "threading", "urllib.request", "subprocess"}

    assert not {module.split(".")[0] for module in imports_of(name)} & io
    assert not re.search(r"httpx\.(Async)?Client\b", FILES[name].read_text("utf-8"))


@pytest.mark.parametrize("name", [name for name in FILES if part_of(name) in EDGE])
def test_edge_uses_the_public_api(name):
    """The test kit and the command line only import public names, and a short list of shared helpers."""
    parts = {f".{part_of(name)}.", f".{BUILT_ON.get(part_of(name), part_of(name))}."}
    inside = {
        module[1:] for module in imports_of(name) if module.startswith(".") and not module.startswith(tuple(parts))
    }

    private = {
        module for module in inside if any(word.startswith("_") and word != "__version__" for word in module.split("."))
    }
    assert {module.removesuffix(".__version__") for module in private} <= SHARED_WITH_THE_EDGE


@pytest.mark.parametrize("name", [name for name in FILES if "page" not in name])
def test_files_are_short(name):
    """A file has at most 450 lines of code, not counting docstrings and comments."""
    tree = ast.parse(FILES[name].read_text("utf-8"))
    lines = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.stmt) and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            last = node.end_lineno if not isinstance(body, list) else node.body[0].lineno - 1
            lines.update(range(node.lineno, last + 1))

    assert len(lines) <= 450


def same_but_async(function, twin) -> None:
    assert inspect.signature(function).parameters.keys() == inspect.signature(twin).parameters.keys()
    for name, parameter in inspect.signature(function).parameters.items():
        assert inspect.signature(twin).parameters[name].default == parameter.default
        assert inspect.signature(twin).parameters[name].kind == parameter.kind
    assert "\n" not in inspect.getdoc(twin)
    assert f"`{function.__qualname__.removeprefix('FetchHive.')}`" in inspect.getdoc(twin)


def test_signature_shows_default_values():
    """The client's signature contains the default values themselves, equal to those of the settings."""
    shown, meant = inspect.signature(FetchHive).parameters, inspect.signature(_config.read_config).parameters

    for name in shown.keys() & meant.keys():
        assert shown[name].default == meant[name].default, name


RUNS = ["invoke_prompt", "invoke_prompt_stream", "invoke_workflow", "invoke_agent", "invoke_agent_stream"]
RUNS += ["invoke_hive_agent", "invoke", "stream"]


@pytest.mark.parametrize("name", RUNS)
def test_asyncio_methods_of_the_client_match(name):
    """The asyncio method takes the same arguments with the same defaults; its docstring names its twin in one line."""
    same_but_async(getattr(FetchHive, name), getattr(FetchHive, f"a{name}"))


def classes_of_resources():
    for name in sorted(FILES):
        if name.startswith("resources/") or name == "conversations":
            module = importlib.import_module(f"fetch_hive_sdk.{name.replace('/', '.')}".removesuffix(".__init__"))
            for value in vars(module).values():
                if (
                    inspect.isclass(value)
                    and value.__module__ == module.__name__
                    and not value.__name__.startswith("_")
                ):
                    yield value


NO_TWIN = {"conversation"}  # sends nothing


@pytest.mark.parametrize("owner", [*classes_of_resources(), Namespaces], ids=lambda owner: owner.__name__)
def test_asyncio_methods_of_the_resources_match(owner):
    """Every public method has a twin with the same arguments; the twin's docstring names it in one line."""
    methods = {
        name: method
        for name, method in vars(owner).items()
        if inspect.isfunction(method) and not name.startswith("_") and name not in NO_TWIN
    }
    siblings = {name: "await_" if name == "wait" else f"a{name}" for name in methods}
    firsts = [name for name in methods if siblings[name] in methods]

    assert {*firsts, *(siblings[name] for name in firsts)} == methods.keys()
    for name in firsts:
        same_but_async(methods[name], methods[siblings[name]])


def test_resources_have_docstrings():
    """Every class and method, and every field of a TypedDict of keyword arguments."""
    for owner in classes_of_resources():
        assert inspect.getdoc(owner), owner
        for name, method in vars(owner).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                assert inspect.getdoc(method), f"{owner.__name__}.{name}"
    for name in (name for name in FILES if name.startswith("models/")):
        for node in ast.walk(ast.parse(FILES[name].read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and any("TypedDict" in ast.unparse(base) for base in node.bases):
                for field, text in zip(node.body, [*node.body[1:], None]):
                    if isinstance(field, ast.AnnAssign):
                        assert isinstance(text, ast.Expr), f"{node.name}.{field.target.id}"


def test_fields_do_not_shadow_dict_methods():
    """`result.items` must stay a method."""
    methods = {"items", "keys", "values", "get", "copy", "raw"}

    for name in fetch_hive_sdk.__all__:
        value = getattr(fetch_hive_sdk, name)
        assert not methods & getattr(value, "model_fields", {}).keys() if inspect.isclass(value) else True


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
    ],
)
def test_asyncio_methods_of_the_streams_match(name, twin):
    """The asyncio stream has the methods of the blocking one; the docstring names the twin in one line."""
    function, other = inspect.getattr_static(Stream, name), inspect.getattr_static(AsyncStream, twin)
    if isinstance(function, property):
        function, other = function.fget, other.fget
    same_but_async(function, other)


def test_asyncio_shell_matches_the_blocking_shell():
    """The shells have the same functions in the same order, with the same docstrings."""

    def functions(module):
        own = [
            item for item in vars(module).values() if inspect.isfunction(item) and item.__module__ == module.__name__
        ]
        return [(item.__name__, inspect.getdoc(item)) for item in own if item.__name__ != "_once"]

    assert functions(_asyncio) == functions(_blocking)


def test_all_is_sorted_and_complete():
    """`__all__` is sorted, and contains every public class of the errors and the models."""
    names = fetch_hive_sdk.__all__
    assert names == sorted(names)

    public = set()
    for name in ("client", "errors", "streams", *(name for name in FILES if name.startswith("models/"))):
        tree = ast.parse(FILES[name].read_text("utf-8"))
        public |= {node.name for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")}
    inside = {"Received", "Sent", "AgentTrigger", "DecisionFields", "PartialJSON", "SearchFields", "WorkflowTrigger"}
    assert public - inside <= set(names)


def test_importing_the_package_loads_no_dependencies():
    """Only the first use of a name imports httpx and Pydantic."""
    code = """
        import sys
        import fetch_hive_sdk
        assert "httpx" not in sys.modules and "pydantic" not in sys.modules
        from fetch_hive_sdk import FetchHive
        assert "httpx" in sys.modules
        assert "asyncio" not in sys.modules and "httpcore" not in sys.modules
    """

    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_public_names_have_docstrings():
    """Every public class and method has a docstring."""
    for name in fetch_hive_sdk.__all__:
        value = getattr(fetch_hive_sdk, name)
        if not inspect.isclass(value):
            continue
        assert inspect.getdoc(value), name
        for attribute in dir(value):
            member = inspect.getattr_static(value, attribute)
            function = member.fget if isinstance(member, property) else member
            if not str(getattr(function, "__module__", None)).startswith("fetch_hive_sdk"):
                continue
            if not attribute.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                assert inspect.getdoc(member), f"{name}.{attribute}"


def test_every_call_is_type_checked():
    """Each method of the client and of its resources has a line in `tests/typing`."""
    checked = "".join(path.read_text() for path in sorted((Path(__file__).parent / "typing").glob("*.py")))
    client = FetchHive("fhk_0123456789")
    families = ["requests", "delegations", "approvals", "agents", "agents.chats", "knowledge_bases"]
    families += ["knowledge_bases.items", "assets", "catalogue", "triggers"]
    calls = [f".{name}(" for name in methods_of(FetchHive) if name not in {"close", "aclose"}]
    for family in families:
        calls += [f".{family}.{name}(" for name in methods_of(type(attrgetter(family)(client)))]

    assert len(calls) > 120
    assert [call for call in calls if call not in checked] == []


def methods_of(owner: type) -> list[str]:
    return [name for name, _ in inspect.getmembers(owner, inspect.isfunction) if not name.startswith("_")]
