"""The checks, one session each: `nox` runs the daily ones, `nox -t nightly` the nightly ones, `nox -s lint` one."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.4"
nox.options.reuse_venv = "yes"
# Few machines have every interpreter: a session whose interpreter is missing is skipped with a message.
nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"]
OLDEST, NEWEST = PYTHONS[0], PYTHONS[-1]

# The daily tests run on the Python that runs nox. The other interpreters are tested every night.
THIS = "{}.{}".format(*sys.version_info)
TESTS = f"tests-{THIS}" if THIS in PYTHONS else "tests"
nox.options.sessions = ["lint", "types", TESTS, "lowest", "docs", "build"]

PROJECT = nox.project.load_toml("pyproject.toml")["project"]
TOOLS = {re.split(r"[^\w-]", line)[0]: line for line in PROJECT["optional-dependencies"]["dev"]}
TEST_TOOLS = [line for name, line in TOOLS.items() if name not in {"mypy", "nox", "pyright", "ruff"}]
# The pytest-httpx for the oldest httpx needs an older pytest.
LOWEST_TOOLS = [line for line in TEST_TOOLS if not line.startswith("pytest-httpx")]
LOWEST = [re.sub(r"^([\w-]+)>=([\d.]+).*", r"\1==\2", line) for line in PROJECT["dependencies"]]

# Optional imports of the source, installed to check its types, and httpx2, whose clients can be injected.
TYPED_EXTRAS = [TOOLS[name] for name in ("argcomplete", "httpx2", "opentelemetry-sdk", "pytest", "rich")]

# Code that uses the API: type checkers have to accept the first files and to refuse the marked lines of the second.
ACCEPTED = ["tests/typing/api.py", "tests/typing/bulk.py", "tests/typing/kit.py"]
REFUSED = "tests/typing/refused.py"

# Every branch of these modules has to be tested: models, errors, configuration and protocol.
PURE = ["_protocol/*", "models/*", "errors", "_config"]


# --- Daily: run by `nox` and `.ci/run` -------------------------------------------------------------------------------


@nox.session
def lint(session):
    """Check the style and the format."""
    session.install(TOOLS["ruff"])
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session):
    """Check the types of the source with mypy and pyright, and that everything public is typed."""
    # Not an editable install: --verifytypes has to check the package as users install it.
    session.install(".", TOOLS["mypy"], TOOLS["pyright"], *TYPED_EXTRAS)
    session.run("mypy", f"--python-version={NEWEST}")
    session.run("pyright")
    for module in ("", ".bulk", ".testing", ".emulator", ".pytest_plugin"):
        session.run("pyright", "--verifytypes", f"fetch_hive_sdk{module}", "--ignoreexternal")


@nox.session(python=PYTHONS)
def tests(session):
    """Run the tests on one interpreter."""
    session.install(".", *TEST_TOOLS)
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs)


@nox.session(python=OLDEST)
def lowest(session):
    """Run the tests with the oldest dependencies that pyproject.toml allows."""
    session.install(".", *LOWEST, *LOWEST_TOOLS)
    # The oldest httpx always imports asyncio.
    missing = "pytest_httpx or importing_the_package_loads_no_dependencies"
    # What these test does not depend on versions of dependencies, and `tests-3.9` runs them.
    others = [
        f"--ignore=tests/{name}.py" for name in ("test_docs", "test_releases", "bulk/test_processes", "bulk/test_kill")
    ]
    session.run("python", "-m", "pytest", "-n", "auto", "-k", f"not ({missing})", *others, *session.posargs)


@nox.session
def docs(session):
    """Build the site in strict mode, follow its links, and check its examples for other packages.

    The session `tests` runs the examples for this package.
    """
    session.install(".[docs]", TOOLS["mypy"], "openai", *TEST_TOOLS)
    session.run("python", "-m", "pytest", "tests/test_site.py", "tests/test_docs.py", "-k", "site or other_packages")


@nox.session
def build(session):
    """Build wheel and sdist twice, compare their bytes, and check their contents."""
    session.install("build", "check-wheel-contents", "twine", "validate-pyproject[all]")
    session.run("validate-pyproject", "pyproject.toml")
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder)
    # The second build differs in its folder, file times, time zone and hash seed.
    ignored = [line.strip("/") for line in Path(".gitignore").read_text("utf-8").split()]
    caches = shutil.ignore_patterns(".git", *ignored)
    shutil.copytree(".", folder / "elsewhere", ignore=caches, copy_function=shutil.copy, symlinks=True)
    session.run("python", "-m", "build", "--outdir", str(folder / "dist"))
    again = ("python", "-m", "build", "--outdir", str(folder / "again"), str(folder / "elsewhere"))
    session.run(*again, env={"TZ": "Pacific/Apia", "PYTHONHASHSEED": "7"})
    wheel, sdist = sorted((folder / "dist").iterdir(), key=lambda made: made.suffix, reverse=True)
    for made in (wheel, sdist):
        if made.read_bytes() != (folder / "again" / made.name).read_bytes():
            session.error(f"{made.name} differs between two builds")
    session.run("twine", "check", "--strict", str(sdist), str(wheel))
    session.run("check-wheel-contents", str(wheel))
    source = {path.relative_to("src").as_posix() for path in Path("src").rglob("*.*") if path.suffix != ".pyc"}
    missing = source.difference(zipfile.ZipFile(wheel).namelist())
    if missing:
        session.error(f"the wheel lacks {missing}")
    # For packagers: the tests also have to run from the sdist.
    shutil.unpack_archive(sdist, folder / "unpacked")
    session.install(str(wheel), *TEST_TOOLS)
    with session.chdir(folder / "unpacked" / sdist.name[: -len(".tar.gz")]):
        chosen = ("tests/test_models.py", "tests/test_docs.py", "tests/test_seeds.py")
        session.run("python", "-m", "pytest", "-q", "-n", "auto", *chosen)


# --- Nightly: slow checks, and checks that seldom fail ---------------------------------------------------------------


@nox.session(tags=["nightly"])
def demo(session):
    """Install the package as a user does, and run its demo."""
    session.install(".")
    session.run("fetch-hive", "demo")


@nox.session(tags=["nightly"])
def bare(session):
    """Import everything without any extra, and check the messages about missing packages."""
    session.install(".")
    session.run("python", "tests/bare.py")


@nox.session(tags=["nightly"])
def recipes(session):
    """Run the recipes for other packages. A missing package fails here; elsewhere its recipes are skipped."""
    session.install(".[frameworks]", *TEST_TOOLS)
    recipes = ("tests/test_recipes.py", "tests/frameworks")
    session.run("python", "-m", "pytest", *recipes, env={"FETCH_HIVE_RECIPES": "required"})


@nox.session(tags=["nightly"])
@nox.parametrize(("python", "pytest"), [(OLDEST, "pytest==7.0.*"), ("3.13", "pytest")], ids=["oldest", "newest"])
def plugin(session, pytest):
    """Test the pytest plugin with the oldest supported pytest and the newest."""
    session.install(".", pytest)
    # Without our configuration, which is for the pytest and the plugins that we develop with.
    options = ["-c", os.devnull, "--rootdir=.", "--import-mode=importlib", "-W", "error", *session.posargs]
    session.run("python", "-m", "pytest", *options, "tests/test_pytest_plugin.py", env={"PYTHONPATH": "tests"})


@nox.session(tags=["nightly"])
def coverage(session):
    """Require tests for every branch of the modules in `PURE`, and for 98 % of all branches."""
    session.install("-e", ".", *TEST_TOOLS)
    session.run("coverage", "run", "-m", "pytest", "-m", "nightly or not nightly", *session.posargs)
    session.run("coverage", "report", "--fail-under=98")
    pure = ",".join(f"*/fetch_hive_sdk/{name}.py" for name in PURE)
    session.run("coverage", "report", "--fail-under=100", f"--include={pure}")


@nox.session(python=OLDEST, tags=["nightly"])
def types_oldest(session):
    """Check the types on the oldest Python, with the last mypy that supports it."""
    session.install(".", "mypy==1.19.*", *TYPED_EXTRAS)
    # httpx2 needs a newer Python.
    session.run("mypy", "--exclude=tests/typing/httpx2_clients.py")


@nox.session(tags=["nightly"])
def ty(session):
    """Check the public types with ty, pinned to a tested version because ty has no 1.0 yet."""
    session.install(".", "ty==0.0.105", TOOLS["pytest"])
    check = ("ty", "check", "--python", session.virtualenv.location, "--output-format=concise")
    session.run(*check, *ACCEPTED)
    refuse(session, *check)


@nox.session(tags=["nightly"])
def pyrefly(session):
    """Check the public types with pyrefly."""
    session.install(".", "pyrefly==1.4.*", TOOLS["pytest"])
    check = ("pyrefly", "check", "--output-format=min-text", "--python-interpreter-path")
    check += (str(Path(session.virtualenv.bin) / "python"),)
    session.run(*check, *ACCEPTED)
    refuse(session, *check)


def refuse(session, *check):
    """Check that a type checker refuses exactly the lines that mypy refuses."""
    output = session.run(*check, REFUSED, silent=True, success_codes=[1])
    refused = {int(line) for line in re.findall(r"refused\.py:(\d+)", output)}
    lines = Path(REFUSED).read_text("utf-8").splitlines()
    expected = {number for number, line in enumerate(lines, 1) if "# type: ignore[" in line}
    if refused != expected:
        session.error(f"{REFUSED}, lines not refused: {expected - refused}, refused by mistake: {refused - expected}")


@nox.session(tags=["nightly"])
def api(session):
    """Compare the public API with the last release. A breaking change needs a new major version: see docs/policy.md."""
    session.install(TOOLS["griffe"])
    git = ("git", "describe", "--tags", "--abbrev=0", "--match=v*")
    tag = session.run(*git, external=True, silent=True, success_codes=[0, 128]).strip()
    if not re.fullmatch(r"v\d+(\.\d+)*", tag):
        session.skip(f"there is no release to compare with: {tag} (in a shallow clone: git fetch --unshallow --tags)")
    text = Path("src/fetch_hive_sdk/_version.py").read_text("utf-8")
    (version,) = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    # griffe exits with 1 if there are breaking changes, and with 2 if there is nothing to compare.
    is_announced = int(version.partition(".")[0]) > int(tag[1:].partition(".")[0])
    allowed = [0, 1] if is_announced else [0]
    session.run("griffe", "check", "fetch_hive_sdk", "--search=src", f"--against={tag}", success_codes=allowed)


@nox.session(python="3.11", tags=["nightly"])
def guard(session):
    """Count the work of an event, a call and an import, and fail if it has grown by more than a quarter."""
    expected = json.loads(Path("benchmarks/guard.json").read_text("utf-8"))
    session.install(".", *(f"{name}=={version}" for name, version in expected["versions"].items()))
    session.run("python", "benchmarks/guard.py", *session.posargs)


@nox.session(tags=["nightly"])
def page(session):
    """Open the docs and the page of `fetch-hive serve` in Chromium, which must be installed."""
    session.install(".[docs]", *TEST_TOOLS, "playwright")
    session.run("python", "-m", "pytest", "tests/test_page.py", "tests/test_site.py", *session.posargs)


@nox.session(tags=["nightly"])
@nox.parametrize("sender", ["https", "proxy", "uvloop", "injected", "httpx2"])
def faults(session, sender):
    """Run the fault suite over a sender that the daily tests do not use. Takes minutes."""
    session.install(".", *TEST_TOOLS)
    session.run("python", "-m", "pytest", "-n", "auto", "tests/faults", f"--sender={sender}", *session.posargs)


@nox.session(tags=["nightly"])
def advisories(session):
    """Check that the lowest versions allowed have no known advisory. One that does not touch us: `--ignore-vuln`."""
    session.install("pip-audit")
    listed = Path(session.create_tmp()) / "lowest.txt"
    listed.write_text("\n".join(LOWEST), "utf-8")
    # Strict: where the index has packages and no advisories, as mirrors have, that is a failure.
    session.run("pip-audit", "--strict", "--no-deps", "--disable-pip", "-r", str(listed), *session.posargs)


@nox.session(tags=["nightly"])
def soak(session):
    """Make thousands of calls with random faults, and check for leaks. Takes minutes."""
    session.install(".", *TEST_TOOLS)
    session.run("python", "-m", "pytest", "-m", "nightly", "--ignore=tests/bulk")
    session.run("python", "tests/faults/soak.py", *session.posargs)


@nox.session(tags=["nightly"])
def bulk(session):
    """Kill jobs at fifty different moments, and measure jobs of a million rows. Takes half an hour."""
    session.install(".[bulk]", *TEST_TOOLS)
    session.run("python", "-m", "pytest", "-m", "nightly", "--ignore=tests/bulk/test_ray.py", "tests/bulk")
    session.run("python", "benchmarks/bulk.py", *session.posargs)


@nox.session(tags=["nightly"])
def ray(session):
    """Run jobs as tasks of a real Ray on this machine, and kill its workers."""
    session.install(".[ray]", *TEST_TOOLS)
    session.run("python", "-m", "pytest", "-m", "nightly", "tests/bulk/test_ray.py")


@nox.session(tags=["nightly"])
def mutation(session):
    """Make a thousand small changes to the protocol, and print those that no test detects. Takes ten minutes."""
    session.install("-e", ".", "mutmut>=3.8", *TEST_TOOLS)
    session.run("python", "tests/mutation.py", str(Path(session.create_tmp()) / "mutants"))


@nox.session(tags=["nightly"])
def fuzz(session):
    """Fuzz the decoder and the event parser for ten minutes."""
    session.install(".", "atheris")
    corpus = session.create_tmp()
    options = session.posargs or ["-max_total_time=600"]
    session.run("python", "tests/fuzz/fuzz_events.py", "-dict=tests/fuzz/events.dict", "-max_len=400", *options, corpus)


@nox.session(tags=["nightly"])
def bench(session):
    """Measure this package and others, each in its own environment. Takes a quarter of an hour."""
    session.install("certifi", "trustme")
    folder = Path(session.create_tmp()).resolve()
    pythons, made = {}, {}
    for client in sorted(Path("benchmarks/clients").glob("*.py")):
        needed = tuple(nox.project.load_toml(client)["dependencies"])
        if needed not in made:
            made[needed] = str(folder / client.stem / "bin" / "python")
            session.run("python", "-m", "venv", str(folder / client.stem))
            session.run(made[needed], "-m", "pip", "install", "--quiet", *needed, external=True)
        pythons[client.stem] = made[needed]
    (folder / "pythons.json").write_text(json.dumps(pythons), "utf-8")
    session.run("python", "benchmarks/run.py", f"--pythons={folder}/pythons.json", *session.posargs)
