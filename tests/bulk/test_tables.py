"""Tables as rows, Parquet input and output, and messages about missing packages."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import json
import subprocess
import sys
import textwrap

import httpx
import pytest
from pydantic import BaseModel, TypeAdapter

from driving import KEY
from fetch_hive_sdk import ConfigurationError, FetchHive, prompt
from fetch_hive_sdk.bulk import Job, OutputError, RowError
from fetch_hive_sdk.bulk.files import FileRows
from fetch_hive_sdk.bulk.tables import rows_of
from fetch_hive_sdk.cli import main
from fetch_hive_sdk.testing import FakeServer

NANOSECONDS = 1_735_689_600_123_456_789
EXACT = "2025-01-01T00:00:00.123456789"


@pytest.fixture(params=["run", "arun"])
def start(request):
    """`Job.run`, then `Job.arun` in a new event loop."""

    def start(job, *args, **options):
        if request.param == "run":
            return job.run(*args, progress=False, **options)
        return asyncio.run(job.arun(*args, progress=False, **options))

    return start


class Service:
    """An in-process service that answers with the text of a row."""

    def __init__(self):
        self.inputs = []

    async def __call__(self, request):
        inputs = json.loads(request.content)["inputs"]
        self.inputs.append(inputs)
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        text = str(inputs.get("text"))
        return httpx.Response(200, json={"response": text, "request_id": "req_1", "usage": usage})

    def client(self):
        return FetchHive(KEY, async_http_client=httpx.AsyncClient(transport=httpx.MockTransport(self)))


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "job.db")


# --- Tables as rows ---------------------------------------------------------------------------------------------------

COLUMNS = {"id": [1, 2, 3], "text": ["One.", None, "Three."], "score": [0.5, float("nan"), 2.0]}
ROWS = [
    {"id": 1, "text": "One.", "score": 0.5},
    {"id": 2, "text": None, "score": None},
    {"id": 3, "text": "Three.", "score": 2.0},
]


def pandas_frame(columns):
    pytest.importorskip("narwhals")
    return pytest.importorskip("pandas").DataFrame(columns)


def polars_frame(columns):
    pytest.importorskip("narwhals")
    return pytest.importorskip("polars").DataFrame(columns, strict=False)


def lazy_frame(columns):
    return polars_frame(columns).lazy()


def narwhals_frame(columns):
    return pytest.importorskip("narwhals").from_native(polars_frame(columns))


def arrow_table(columns):
    return pytest.importorskip("pyarrow").table(columns)


MAKERS = [pandas_frame, polars_frame, lazy_frame, narwhals_frame, arrow_table]
every_table = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


@every_table
def test_a_table_is_run(make, start, job, service):
    """Each row of a table is sent, and missing values are None."""
    report = start(job, service.client(), make(COLUMNS), deployment="d", key="id")

    assert report.done == 3
    expected = [{name: value for name, value in row.items() if name != "id"} for row in ROWS]
    assert sorted(service.inputs, key=str) == sorted(expected, key=str)
    assert [item.key for item in job.results()] == ["1", "2", "3"]


@every_table
def test_a_table_is_read_a_batch_at_a_time(make):
    """Rows are yielded in order, as plain Python values."""
    rows = iter(rows_of(make({"n": list(range(2500)), "x": [1.5] * 2500})))

    assert next(rows) == {"n": 0, "x": 1.5}
    numbers = [row["n"] for row in rows]
    assert numbers == list(range(1, 2500))
    assert {type(number) for number in numbers} == {int}


def test_values_of_pandas():
    """Numpy scalars, nullable columns, categories, arrays and times become plain values."""
    pandas, numpy = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    times = pandas.Series([NANOSECONDS, None], dtype="Int64")
    frame = pandas_frame(
        {
            "text": pandas.Categorical(["a", "b"]),
            "number": pandas.array([1, None], dtype="Int64"),
            "list": [numpy.array([1, 2]), [numpy.float64("nan")]],
            "dict": [{"n": numpy.int64(3)}, pandas.NA],
            "exact": pandas.to_datetime(times),
            "day": pandas.to_datetime(["2025-01-01", None]),
            "delta": pandas.to_timedelta([5, None], unit="s"),
            "zone": pandas.to_datetime(["2025-01-01", None]).tz_localize("UTC"),
            "numpy": pandas.Series([numpy.datetime64(EXACT), numpy.datetime64("NaT", "ns")], dtype=object),
        }
    )

    first, second = rows_of(frame)

    assert first == {
        "text": "a",
        "number": 1,
        "list": [1, 2],
        "dict": {"n": 3},
        "exact": EXACT,
        "day": dt.datetime(2025, 1, 1),  # noqa: DTZ001 - as the column is
        "delta": dt.timedelta(seconds=5),
        "zone": dt.datetime(2025, 1, 1, tzinfo=dt.timezone.utc),
        "numpy": EXACT,
    }
    assert type(first["day"]) is dt.datetime
    assert type(first["dict"]["n"]) is int
    assert second == {**dict.fromkeys(first), "text": "b", "list": [None]}


def test_times_of_polars_keep_their_nanoseconds():
    """A `datetime` only holds microseconds: a time with nanoseconds becomes a string."""
    polars = pytest.importorskip("polars")
    exact = polars.Series([NANOSECONDS, NANOSECONDS - 789, None]).cast(polars.Datetime("ns", "UTC"))

    times = [row["time"] for row in rows_of(polars_frame({"time": exact}))]

    assert times == [f"{EXACT}+00:00", dt.datetime(2025, 1, 1, 0, 0, 0, 123456, tzinfo=dt.timezone.utc), None]


def test_times_of_pyarrow_keep_their_nanoseconds():
    """Times with nanoseconds become strings, even if pandas is not installed."""
    pyarrow = pytest.importorskip("pyarrow")
    table = arrow_table(
        {
            "time": pyarrow.array([NANOSECONDS, None], pyarrow.timestamp("ns")),
            "day": pyarrow.array([dt.date(2025, 1, 1), None]),
            "delta": pyarrow.array([5_000, None], pyarrow.duration("ns")),
            "clock": pyarrow.array([5_000, None], pyarrow.time64("ns")),
            "nested": [{"n": 1}, None],
        }
    )

    first, second = rows_of(table)

    assert first == {
        "time": EXACT,
        "day": dt.date(2025, 1, 1),
        "delta": dt.timedelta(microseconds=5),
        "clock": dt.time(0, 0, 0, 5),
        "nested": {"n": 1},
    }
    assert second == dict.fromkeys(first)


def test_two_columns_with_the_same_name_are_refused(job, service, start):
    """A mapping has one value per name: one of the two columns would be lost."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")

    with pytest.raises(RowError, match="two columns have the same name"):
        start(job, service.client(), pandas.DataFrame([[1, 2]], columns=["a", "a"]), deployment="d")

    assert not service.inputs


def test_another_class_named_dataframe_is_not_a_table(job, service, start):
    """Tables are recognised by package and class name."""
    with pytest.raises(TypeError, match="rows must be an iterable"):
        start(job, service.client(), type("DataFrame", (), {})(), deployment="d")


def test_no_package_is_imported_for_a_list():
    """Tables are recognised by the names of their classes, without importing their packages."""
    code = """
        import sys
        from fetch_hive_sdk.bulk.tables import rows_of
        assert list(rows_of([{"a": 1}])) == [{"a": 1}]
        assert not {"pandas", "polars", "pyarrow", "narwhals", "matplotlib"} & set(sys.modules)
    """

    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


# --- Parquet as input -------------------------------------------------------------------------------------------------


@pytest.fixture
def fake(monkeypatch):
    fake = FakeServer(default='{"title": "x", "tags": ["a"]}')
    with fake.serve() as url:
        monkeypatch.setenv("FETCH_HIVE_API_KEY", KEY)
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        yield fake


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_table(path, columns, **options):
    pytest.importorskip("pyarrow.parquet").write_table(arrow_table(columns), path, **options)


RUN = ["bulk", "run", "rows.parquet", "--deployment", "d", "--journal", "rows.db", "--quiet"]


def test_from_parquet_to_parquet(fake, place, capsys):
    """A file with several row groups is run in order, and the answers are a table with typed columns."""
    parquet = pytest.importorskip("pyarrow.parquet")
    write_table("rows.parquet", {"id": list(range(10)), "body": [f"Text {n}" for n in range(10)]}, row_group_size=3)

    code = main([*RUN, "--input", "text=body", "--key-column", "id", "--output", "out.parquet"])

    assert code == 0
    assert fake.calls[0].inputs["text"] == "Text 0"
    table = parquet.read_table("out.parquet")
    assert table.column("key").to_pylist() == [str(n) for n in range(10)]
    assert table.column("output_title").to_pylist() == ["x"] * 10
    assert table.column("output_tags").to_pylist() == [["a"]] * 10
    assert str(table.schema.field("row").type) == str(table.schema.field("usage_total_tokens").type) == "int64"
    assert not list(place.glob(".*"))  # no temporary file is left


def test_the_footer_of_a_parquet_file_has_the_number_of_rows(place):
    """The progress need not read the whole file to know the total."""
    write_table("rows.parquet", {"id": [1, 2]})

    assert FileRows(place / "rows.parquet").__length_hint__() == 2


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"id": ["a"]}, ["--input", "text=body"], "rows.parquet: there is no column 'body': there are id"),
        ({"id": ["a", None]}, ["--key-column", "id"], "rows.parquet, row 2: it has a key that is a NoneType"),
        (b"id,body\n1,a\n", [], "rows.parquet: it is not Parquet"),
        (None, [], "there is no file rows.parquet"),
    ],
)
def test_bad_parquet(fake, place, capsys, columns, options, message):  # noqa: PLR0917 - fixtures, and a case
    """One line reports the error and its place. The exit code is 2."""
    pytest.importorskip("pyarrow")
    if isinstance(columns, bytes):
        (place / "rows.parquet").write_bytes(columns)
    elif columns is not None:
        write_table("rows.parquet", columns)

    assert main([*RUN, *options]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_parquet_is_not_read_from_stdin(place, capsys):
    """Its footer, which says where the columns are, is at the end of the file."""
    assert main(["bulk", "run", "-", "--format", "parquet", *RUN[3:]]) == 2
    assert "stdin: Parquet can only be read from a file" in capsys.readouterr().err


# --- Exports ----------------------------------------------------------------------------------------------------------


class Ticket(BaseModel):
    title: str
    priority: int
    due: dt.date = dt.date(2025, 1, 1)


@prompt("extract-ticket")
def extract(text: str) -> Ticket:
    raise NotImplementedError


def run_texts(job, service, texts):
    job.run(service.client(), [{"text": text} for text in texts], deployment="extract-ticket", progress=False)


def read_back(path):
    """Return the rows of an export in CSV or Parquet."""
    if path.suffix == ".parquet":
        return pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_typed_outputs_are_columns(job, service, tmp_path, name):
    """Columns have the types and defaults of the outputs. An answer that does not fit sets the `error` of its row."""
    run_texts(job, service, ['{"title": "a", "priority": 1}', '{"title": "b"}'])
    target = tmp_path / name

    assert read_back_after_export(job, target, extract) == read_back_after_export(job, target, Ticket)

    first, second = read_back(target)
    assert (first["output_title"], str(first["output_priority"]), first["output_due"]) == ("a", "1", "2025-01-01")
    assert not first["error"]
    assert not second["output_title"]
    assert second["error"].startswith("OutputValidationError: ")
    assert second["state"] == "done"


def read_back_after_export(job, target, output):
    job.export(target, prompt=output)
    return read_back(target)


def test_an_output_that_is_not_an_object_is_one_column(job, service, tmp_path):
    """For example, a list of numbers is written as `output`, in JSON Lines as well."""
    pytest.importorskip("pyarrow")
    run_texts(job, service, ["[1, 2]", "[]"])

    job.export(tmp_path / "out.parquet", prompt=TypeAdapter(list[int]))
    job.export(tmp_path / "out.jsonl", prompt=TypeAdapter(list[int]))

    assert [row["output"] for row in read_back(tmp_path / "out.parquet")] == [[1, 2], []]
    lines = (tmp_path / "out.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["output"] for line in lines] == [[1, 2], []]


def test_columns_of_mixed_values(job, service, tmp_path):
    """Integers and floats become floats, values without a common type become JSON, and missing values are null."""
    pytest.importorskip("pyarrow")
    outputs = [
        {"n": 1, "x": 1, "l": [], "o": {"a": 1}},
        {"n": 2.5, "x": "a", "l": ["b"]},
        {"big": 2**70, "s": "\ud800ö"},
    ]
    run_texts(job, service, map(json.dumps, outputs))

    job.export(tmp_path / "out.parquet")

    rows = read_back(tmp_path / "out.parquet")
    columns = {name: [row[f"output_{name}"] for row in rows] for name in ("n", "x", "l", "o", "big", "s")}
    assert columns == {
        "n": [1.0, 2.5, None],
        "x": ["1", '"a"', None],
        "l": [[], ["b"], None],
        "o": ['{"a": 1}', None, None],
        "big": [None, None, str(2**70)],
        "s": [None, None, "\\ud800ö"],
    }


def test_an_empty_journal_is_a_table_without_rows(job, service, tmp_path):
    """The table has the columns common to all exports."""
    pytest.importorskip("pyarrow")
    run_texts(job, service, [])

    assert job.export(tmp_path / "out.parquet") == 0

    names = pytest.importorskip("pyarrow.parquet").read_schema(tmp_path / "out.parquet").names
    assert names[:3] == ["key", "row", "state"]


def test_parquet_is_written_in_groups(job, service, tmp_path, monkeypatch):
    """Only the rows of one group are in memory."""
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("fetch_hive_sdk.bulk.parquet._ROWS_IN_A_GROUP", 2)
    run_texts(job, service, map(str, range(5)))

    assert job.export(tmp_path / "out.parquet") == 5

    assert parquet.ParquetFile(tmp_path / "out.parquet").metadata.num_row_groups == 3


# --- Missing packages -------------------------------------------------------------------------------------------------


@pytest.fixture
def without(monkeypatch):
    """Hide a package, as if it were not installed."""

    def hide(package):
        def refuse(name):
            assert name.partition(".")[0] == package
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)

        monkeypatch.setattr("fetch_hive_sdk.bulk.packages.import_module", refuse)

    return hide


def test_tables_need_narwhals(without, job, service, start):
    """The message says what to install, and nothing is sent."""
    frame = pandas_frame(COLUMNS)
    without("narwhals")

    with pytest.raises(ConfigurationError, match=r"tables as rows need narwhals, .* pip install narwhals"):
        start(job, service.client(), frame, deployment="d")

    assert not service.inputs


def test_parquet_needs_pyarrow(without, fake, place, capsys):
    """The command prints one line and returns exit code 3 before it sends anything."""
    without("pyarrow")
    (place / "rows.parquet").write_bytes(b"PAR1")
    (place / "rows.csv").write_text("id,body\n1,a\n", "utf-8")

    for command in (RUN, ["bulk", "run", "rows.csv", *RUN[3:], "--output", "out.parquet"]):
        assert main(command) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert "Parquet files need pyarrow, which is not installed: pip install pyarrow" in line

    assert not fake.calls
    with pytest.raises(ConfigurationError, match="pip install pyarrow"):
        Job(place / "rows.db").export(place / "out.parquet")


def test_a_journal_is_not_replaced_by_parquet(job, service, tmp_path):
    """The rules for exports apply to every format."""
    pytest.importorskip("pyarrow")
    named = Job(tmp_path / "job.parquet")
    run_texts(named, service, ["a"])

    with pytest.raises(OutputError, match="it is the journal"):
        named.export(tmp_path / "job.parquet")
