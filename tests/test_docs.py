"""The documents against the code: what real commands print and real runs write is documented, and nothing else is."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, NotRequired, TypedDict, get_args, get_origin, get_type_hints

import pytest
from typer.main import get_command

from docs import make_commands, make_json
from tests.commands import call_threepio, call_threepiod
from tests.faults.row import all_rows
from tests.place import Place, wait_until
from tests.two_runs import FIXED, GONE, SLOW, write_run, write_two_runs
from threepio_client import answers, nowpage, protocol
from threepio_client.answers import ANSWERS
from threepio_client.cli.app import make_app
from threepio_client.events import Phase
from threepio_client.views import VIEW_VERSION
from threepio_client.wire import FrameReader
from threepiod.commands import app as threepiod

threepio: Final = make_app()
NEVER: Final = "t.py::test_never"
ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"

SUITE = """
import os, subprocess, sys, time, warnings
import pytest

class TestGroup:
    @pytest.mark.parametrize("n", range(1000))
    def test_many(self, n): pass

@pytest.fixture
def slow():
    yield
    time.sleep(0.15)

def test_slow_teardown(slow): warnings.warn("look")

def test_fails():
    print("printed")
    assert os.path.exists("no such file")

@pytest.mark.skip(reason="not today")
def test_skipped(): pass

@pytest.mark.xfail(reason="known")
def test_xfails(): assert False

def test_parts(subtests):
    for i in range(2):
        with subtests.test("part", i=i): assert i

def test_nested(tmp_path):
    (tmp_path / "test_inner.py").write_text("def test_inner(): pass")
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:hypothesispytest", tmp_path], check=True)
"""
BROKEN = "raise ValueError('in import')"
DIES = "import os\ndef test_one(): pass\ndef test_dies(): os._exit(3)"
RUNS: Final = 13
STOPS = "import pytest\ndef test_stops(): pytest.exit('enough')"
KILLED = "import os\ndef test_killed(): os.kill(os.getpid(), 9)"
FAULT = "import os, signal\ndef test_fault(): os.kill(os.getpid(), signal.SIGSEGV)\ndef test_exits(): os._exit(3)"
WAITS = """
import os, time
import pytest
@pytest.mark.parametrize("n", range(4))
def test_waits(n):
    open("reached", "w").close()
    while not os.path.exists("go on"):
        time.sleep(0.01)
"""
ON_CI: Final = {
    "GITLAB_CI": "true", "CI_PIPELINE_ID": "17", "CI_JOB_NAME": "tests", "CI_JOB_URL": "https://example.org/17",
}  # fmt: skip


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A place where everything that can be documented has happened."""
    pytest.importorskip("_pytest.subtests", reason="subtests came with pytest 9")
    found = Place(Path(tempfile.mkdtemp(prefix="3p-")))
    suites = {
        "mixed": SUITE,
        "broken": BROKEN,
        "dies": DIES,
        "stops": STOPS,
        "killed": KILLED,
        "fault": FAULT,
        "waits": WAITS,
    }
    suites["stops"] = STOPS
    for name, text in suites.items():
        found.suite(text, f"test_{name}.py")
    author = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
    for step in (("init", "-q", "-b", "main"), ("add", "test_mixed.py"), (*author, "commit", "-q", "-m", "suite")):
        subprocess.run(["git", *step], cwd=found.path, check=True)
    found.suite("def pytest_runtest_logfinish(): raise ValueError('a bad plugin')", "bad_plugin.py")
    found.pytest("-q", "test_dies.py", THREEPIO_RUN_ID="alone")
    found.start_daemon()
    found.pytest("-q", "test_stops.py", THREEPIO_RUN_ID="stops")
    found.pytest("-q", "test_broken.py", THREEPIO_RUN_ID="mixed")
    # Its id is taken: the adapter's last error.
    no_text = f"--ignore={os.fsdecode(bytes([0xE9]))}"
    found.pytest("-q", "test_mixed.py", "--reruns", "1", no_text, THREEPIO_RUN_ID="mixed", THREEPIO_NESTED="1")
    found.pytest("-q", "-n", "2", "test_mixed.py", "-k", "fails or skipped", THREEPIO_RUN_ID="workers")
    found.pytest("-q", "-p", "bad_plugin", "test_mixed.py", THREEPIO_RUN_ID="internal")
    found.suite("def pytest_terminal_summary(): raise ValueError('a bad plugin')", "bad_summary.py")
    found.pytest("-q", "-p", "bad_summary", "test_mixed.py", "-k", "nobody", THREEPIO_RUN_ID="summary")
    for name in ("dies", "killed"):
        found.threepio("run", "--", *found.python, "-m", "pytest", f"test_{name}.py", THREEPIO_RUN_ID=name)
    fault = ("-n", "2", "--max-worker-restart=0", "test_fault.py")
    found.threepio("run", "--", *found.python, "-m", "pytest", *fault, THREEPIO_RUN_ID="fault", **ON_CI)
    found.threepio("rerun", "dies", THREEPIO_RUN_ID="again")
    with socket.socket(socket.AF_UNIX) as client:  # the daemon's last error
        client.connect(str(found.settings.socket))
        client.sendall(b"\xff\xff\xff\xff")
        while client.recv(4096):
            pass
    wait_until(lambda: daemon_status(found)["last_error"])
    waiting = found.start_pytest("-q", "-n", "2", "test_waits.py", THREEPIO_RUN_ID="waits", THREEPIO_STACKS="1")
    wait_until((found.path / "reached").exists)
    yield found
    (found.path / "go on").touch()
    waiting.communicate()
    found.stop_daemon()
    shutil.rmtree(found.path, ignore_errors=True)


@pytest.fixture
def told() -> Iterator[Place]:
    """A place with two runs that differ in everything."""
    found = Place(Path(tempfile.mkdtemp(prefix="3p-")))
    write_two_runs(found)
    write_run(found, "cut-off", -2, [(GONE, "PASS", {})], collected=[GONE, SLOW, NEVER])
    write_run(found, "skips", -3, [(GONE, "SKIP", {})])
    write_run(found, "elsewhere", -1, [("u.py::test_x", "PASS", {})], argv=["u.py"])
    yield found
    shutil.rmtree(found.path, ignore_errors=True)


def daemon_status(place: Place) -> Any:
    return json.loads(place.threepiod("status", "--json").stdout)


def section(document: str, heading: str) -> str:
    """Return the text below a heading of the second level."""
    parts = re.split(r"^## ", (DOCS / document).read_text(), flags=re.MULTILINE)
    (found,) = (part for part in parts if part.splitlines()[0] == heading)
    return found


def cells(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def field_table(text: str) -> dict[str, set[str]]:
    """Return field to types of the tables whose first column holds fields."""
    return {
        row[0].strip("`"): set(row[1].split(" or ")) for row in cells(text) if row[0].startswith("`") and len(row) == 3
    }


_TYPE_NAMES: Final = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


def flat(value: Any, path: str, known: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (path, type) of a value and all that is documented to be in it."""
    yield path, "null" if value is None else _TYPE_NAMES[type(value)]
    children = {name[len(path) :] for name in known if name.startswith((f"{path}.", f"{path}["))} if path else {"."}
    if isinstance(value, list) and any(child.startswith("[]") for child in children):
        for item in value:
            yield from flat(item, f"{path}[]", known)
    elif isinstance(value, dict) and children:
        for key, item in value.items():
            yield from flat(item, f"{path}.{'*' if '.*' in children else key}".lstrip("."), known)


def check(documented: dict[str, set[str]], values: Iterable[tuple[str, Any]]) -> None:
    """Fail where a field of a value is not documented, has another type, or a documented field is in no value."""
    known = list(documented)
    prefixes = {name[:at] for name in known for at, char in enumerate(name) if char in ".["} | {""}
    seen = set()
    for root, value in values:
        for path, kind in flat(value, root, known):
            seen.add(path)
            assert path in documented or path in prefixes, f"{path} is not documented"
            allowed = documented.get(path, {kind})
            assert kind in allowed or (kind, "number") == ("integer", *allowed), f"{path} is {kind}"
    assert [name for name in known if name not in seen] == [], "documented, and in no output"


def answer(place: Place, *arguments: str) -> dict[str, Any]:
    return dict(json.loads(place.threepio(*arguments, "--json").stdout))


RUN_IDS: Final = ("mixed", "mixed-2", "workers", "dies", "fault", "waits")
IN_PLACE: Final[dict[str, list[tuple[str, ...]]]] = {
    "threepio status": [(run_id,) for run_id in RUN_IDS],
    "threepio wait": [(run_id, "--max", "0s") for run_id in RUN_IDS],
    "threepio failures": [(run_id,) for run_id in RUN_IDS],
    "threepio show": [
        *((f"test_mixed.py::test_{name}", "mixed-2") for name in ("fails", "parts", "skipped")),
        ("test_dies.py::test_dies", "dies"),
        ("test_broken.py", "mixed"),
    ],
    "threepio runs": [()],
    "threepio never-ran": [("waits",), ("dies",)],
    "threepio stacks": [("waits",)],
    "threepio verify": [("dies",)],
    "threepio verify --all": [()],
    "threepio doctor": [()],
    "threepiod status": [()],
}
"""What is asked in the place where everything has happened; the further arguments of each question."""
TOLD: Final[dict[str, list[tuple[str, ...]]]] = {
    "threepio diff": [
        (),
        ("two", "one"),
        ("one", "cut-off"),
        ("cut-off", "one"),
        ("one", "elsewhere"),
        ("cut-off", "skips"),
    ],
    "threepio slow": [()],
    "threepio flaky": [()],
    "threepio history": [(FIXED,), (NEVER,)],
    "threepio prune": [("--keep", "1", "--dry-run")],
    "threepiod config": [()],
    "threepiod rebuild": [()],
}
"""What is asked about two runs that differ in everything, without a daemon."""


def test_the_reference_of_the_json_is_fresh() -> None:
    assert make_json.PATH.read_text() == make_json.text(), "run: python -m docs.make_json"


def test_every_command_with_json_declares_what_it_prints() -> None:
    offered = set()
    for app in (threepio, threepiod):
        group: Any = get_command(app)
        for name, command in group.commands.items():
            if any("--json" in param.opts for param in command.params):
                offered.add(f"{group.name} {name}")

    assert {command.removesuffix(" --all") for command in ANSWERS} == offered - {"threepio events"}
    assert set(ANSWERS) == {*IN_PLACE, *TOLD}


def check_answers(place: Place, command: str, questions: list[tuple[str, ...]]) -> None:
    """Fail where an answer is not exactly as declared, or a declared field is in none of them."""
    program, *words = command.split()
    shape = make_json.shape_of(ANSWERS[command])
    seen: set[str] = set()
    for question in questions:
        done = getattr(place, program)(*words, *question, "--json")
        assert done.stdout.isascii()
        assert list(make_json.differences(shape, json.loads(done.stdout), seen=seen)) == []
    assert [path for path, _ in make_json.rows(shape) if path not in seen] == [], "declared, and in no output"


@pytest.mark.parametrize("command", IN_PLACE)
def test_the_json_of_runs_in_which_everything_happened(place: Place, command: str) -> None:
    check_answers(place, command, IN_PLACE[command])


@pytest.mark.parametrize("command", TOLD)
def test_the_json_of_answers_about_tests(told: Place, command: str) -> None:
    if command == "threepiod rebuild":
        told.state_dir.journal("three").write_bytes(b"no line\n")
        told.state_dir.store.write_bytes(b"no store" * 1000)

    if command == "threepiod config":
        told.configure("colour = 1")

    check_answers(told, command, TOLD[command])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": 1, "b": [{"c": "x"}], "n": None}, []),
        ({"a": 1.5, "b": [], "n": {"k": 1.5}, "o": True}, []),
        ({"a": True, "b": [], "n": None}, ["a is boolean, and declared as number"]),
        ({"a": 1, "b": [{"c": None}], "n": None}, ["b[].c is null"]),
        ({"a": 1, "b": [{"c": "", "d": 1}, {}], "n": None}, ["b[].d is not declared", "b[].c is not there"]),
        (
            {"a": 1, "b": {}, "n": {"k": "v"}},
            ["b is object, and declared as array", "n.* is string, and declared as number"],
        ),
        ({"a": 1, "n": None, "x": 0}, ["b is not there", "x is not declared"]),
    ],
    ids=str,
)
def test_what_is_not_as_declared_is_found(value: Any, said: list[str]) -> None:
    assert list(make_json.differences(make_json.shape_of(Example), value)) == said


class Inner(TypedDict):
    c: str


class Example(TypedDict):
    a: float
    b: list[Inner]
    n: dict[str, float] | None
    o: NotRequired[Annotated[bool, "meaning"]]


def test_the_place_has_what_its_tests_speak_of(place: Place) -> None:
    every = answer(place, "verify", "--all")

    assert len(every["runs"]) == RUNS == len(answer(place, "runs")["runs"])
    assert all(output["whole"] for output in every["runs"])
    assert answer(place, "never-ran", "dies")["suspects"] == ["test_dies.py::test_dies"]


def test_every_payload(place: Place) -> None:
    files = [path for path in place.state_dir.journals.iterdir() if path.suffix == ".jsonl"]
    lines = [json.loads(line) for path in sorted(files) for line in path.read_text().splitlines()]

    assert {tuple(line) for line in lines} == {("seq", "eventType", "payload", "timestamp", "crc")}
    table = field_table(section("protocol.md", "Events"))
    check(table, [(line["eventType"], line["payload"]) for line in lines])


def test_messages() -> None:
    documented = {row[1].strip("`"): row for row in cells(section("protocol.md", "Frames")) if row[0].isdigit()}
    expected = {}
    for kind in get_args(protocol.Message):
        blank = {name: (get_origin(hint) or hint)() for name, hint in get_type_hints(kind).items()}
        (code, *values), *_ = FrameReader().feed(protocol.to_frame(kind(**blank)))
        shown = [f"`{name}` {type(value).__name__}" for name, value in zip(blank, values, strict=True)]
        senders = sorted({who.value for table in protocol.TRANSITIONS.values() for who, what in table if what is kind})
        expected[kind.__name__] = [str(code), f"`{kind.__name__}`", ", ".join(senders), ", ".join(shown)]
    assert documented == expected


def test_the_table_of_states() -> None:
    documented = [row for row in cells(section("protocol.md", "Frames")) if row[0] in protocol.State.__members__]

    assert documented == [
        [state.name, who.value, what.__name__, after.name]
        for state, table in protocol.TRANSITIONS.items()
        for (who, what), after in table.items()
    ]


def sources(*directories: str) -> str:
    return "\n".join(path.read_text() for name in directories for path in sorted((ROOT / name).rglob("*.py")))


def first_cells(text: str, header: str) -> set[str]:
    """Return the names in the first column of the table with this header."""
    table = text.split(f"| {header} |", 1)[1].split("\n\n", 1)[0]
    return {row[0].strip("`") for row in cells(table) if row[0].startswith("`")}


def test_refusal_codes() -> None:
    used = set()
    for path in [*(ROOT / "client").rglob("*.py"), *(ROOT / "threepiod").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "RemoteProtocolError":
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: the code is not to be seen here"
                used.add(node.args[0].value)

    assert first_cells(section("protocol.md", "Frames"), "refusal code") == used


def test_questions() -> None:
    answered = set(re.findall(r'"(\w+)": self\._\w+,', (ROOT / "threepiod" / "queries.py").read_text()))

    assert first_cells(section("protocol.md", "Frames"), "question") == answered


def test_counters_of_ingest(place: Place) -> None:
    text = section("protocol.md", "Frames")
    events = place.status("mixed")["events"]

    for name in ("from_socket", "from_journal", "duplicates"):
        assert f"`{name}`" in text
        assert name in events


def test_verdicts(place: Place) -> None:
    documented = [(row[0], row[1].strip("`")) for row in cells(section("protocol.md", "Verdicts")) if "`" in row[1]]
    text = sources("client/threepio_client", "pytest_plugin")
    used = set(re.findall(r'kind(?:=|": | = )"([a-z-]+)"', text)) | set(
        re.findall(r'^    \d: \("([a-z-]+)"', text, re.M)
    )

    assert used <= {kind for _, kind in documented}
    assert [kind for _, kind in documented if f'"{kind}"' not in text and kind not in {"running", "passed"}] == []
    for run_id in ("mixed", "mixed-2", "internal", "dies", "killed"):
        view = place.status(run_id)
        assert (view["state"], view["verdict"]["kind"]) in documented


def test_the_layout_of_the_now_page(tmp_path: Path) -> None:
    layout = {
        (row[0], row[3].strip("`").partition("`")[0]): (int(row[1]), int(row[2]))
        for row in cells(section("protocol.md", "Now page"))
        if row[1].isdigit()
    }
    page = nowpage.NowPage(tmp_path / "page", 2, "gw1", create=True)
    page.set_seq(77)
    page.set("x" * 2000, Phase.SETUP, 1234.5)
    page.set_phase(Phase.CALL, 1235.5)
    page.set_phase(Phase.TEARDOWN, 1236.5)
    data = (tmp_path / "page").read_bytes()

    def read(part: str, name: str) -> bytes:
        at, size = layout[part, name]
        base = 0 if part == "header" else 64 + 2 * 1024
        return data[base + at : base + at + size]

    assert read("header", "magic") == b"3pioNOW2"
    numbers = {key: int.from_bytes(read(*key), "little") for key, (_, size) in layout.items() if size <= 8}
    assert numbers["header", "slots"] * numbers["header", "slot_size"] + 64 == len(data)
    assert numbers["header", "last_seq"] == numbers["slot", "seq"] == 77
    assert (numbers["slot", "phase"], numbers["slot", "is_test"], numbers["slot", "size"]) == (2, 1, 969)
    assert numbers["slot", "lock"] % 2 == 0
    times = [struct.unpack("<d", read("slot", name)) for name in ("since", "call", "teardown")]
    assert times == [(1234.5,), (1235.5,), (1236.5,)]
    assert read("slot", "worker").rstrip(b"\0") == b"gw1"
    assert read("slot", "text") == b"x" * 968


def test_the_reference_of_the_commands_is_fresh() -> None:
    assert make_commands.PATH.read_text() == make_commands.text(), "run: python -m docs.make_commands"


@pytest.mark.parametrize("program", ["threepio", "threepiod"])
def test_every_command_and_option_of_the_help_is_documented(place: Place, program: str) -> None:
    text = make_commands.PATH.read_text()
    plain = {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    call = {"threepio": call_threepio, "threepiod": call_threepiod}[program]
    commands = re.findall(rf"^### {program} ([\w-]+)", text, re.M)
    shown = getattr(place, program)("--help", **plain)

    assert shown.returncode == 0
    listed = re.findall(r"^\W*([a-z][\w-]*)  ", shown.stdout.partition("Commands")[2], re.M)
    assert listed == commands
    for command in commands:
        part = text.split(f"### {program} {command}", 1)[1].split("\n#", 1)[0]
        output = call(place, command, "--help", **plain).stdout
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", output.partition("Options")[2])) - {"--help"}
        assert {option for option in options if f"`{option}" not in part} == set()
        assert "Example: " in output


OF_OTHERS: Final = {"--maxfail", "--pdb", "--trace", "--threepio-rerun", "--threepio-rerun-failed", "--user", "--now"}
"""Options of pytest - our plugin's among them - and of systemctl that these documents mention."""


def test_every_option_that_a_document_mentions_is_there() -> None:
    known = {"threepio": {"--help"}, "threepiod": {"--help"}}
    of_command: dict[str, set[str]] = {}
    for app in (threepio, threepiod):
        group: Any = get_command(app)
        of_group = {option for param in group.params for option in param.opts}
        known[group.name] |= of_group
        for name, command in group.commands.items():
            own = {option for param in command.params for option in param.opts} | {"--help"}
            of_command[f"{group.name} {name}"] = own
            known[group.name] |= own
    every = known["threepio"] | known["threepiod"]

    for document in [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]:
        for line in document.read_text().splitlines():
            for quoted in re.findall(r"`(threepiod? [^`]+)`|^\s*\$? ?(threepiod? .+)", line):
                words = next(filter(None, quoted)).partition(" -- ")[0].split()
                options = {word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-z][\w-]*(=.*)?", word)}
                allowed = of_command.get(" ".join(words[:2]), known[words[0]])
                assert options - allowed == set(), f"{document.name}: {line}"
            if document.name in ("commands.md", "operating.md", "agents.md", "json.md"):
                mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", line))
                assert mentioned - every - OF_OTHERS == set(), f"{document.name}: {line}"


def names_of_the_code() -> set[str]:
    """Return every class, function and method of the product: `Class`, `function`, `Class.method`."""
    found = set()
    for package in ("client", "pytest_plugin", "threepiod"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    found.add(node.name)
                if isinstance(node, ast.ClassDef):
                    methods = (part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef))
                    found |= {f"{node.name}.{method.name}" for method in methods}
    return found


def test_what_durability_names_is_there() -> None:
    text = (DOCS / "durability.md").read_text()
    promises = cells(section("durability.md", "What is promised"))[2:]
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    rows = {row.number for row in all_rows()}

    assert len(promises) > 10
    for promise, _, where, shown in promises:
        named = re.findall(r"`([\w.]+)`", where)
        assert named, promise
        assert not set(named) - names_of_the_code(), promise
        assert not set(re.findall(r"`(test_\w+\.py)`", shown)) - tests, promise
        assert not {int(number) for number in re.findall(r"\b\d+\b", shown)} - rows, promise
        assert re.search(r"row|`test_", shown), promise
    for path in re.findall(r"`(tests/[\w/]+\.py)`", text):
        assert (ROOT / path).exists(), path


SHAPES: Final = {3: "4bf0eeae783a9073", 4: "a9a4119ca45b9887", 5: "9a0edfc96c5a7909"}
"""What the answers of a version hold. Who adds a field raises VIEW_VERSION, by which a command knows an older daemon."""


def test_answers_of_one_version_have_one_shape() -> None:
    shapes = {
        name: sorted(kind.__annotations__) for name, kind in sorted(vars(answers).items()) if hasattr(kind, "__total__")
    }

    assert hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16] == SHAPES[VIEW_VERSION]
