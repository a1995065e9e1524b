"""What random suites are made of: bodies of tests, marks, ids, hooks. Which of them meet in a suite is `generator.py`'s.

A word in a body that is the name of a fixture makes the test ask for it.
"""

from __future__ import annotations

import shlex
from typing import Final


def _cut(text: str, by: str = " | ") -> tuple[str, ...]:
    return tuple(text.split(by))


def _arguments(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(shlex.split(group)) for group in _cut(text))


BROKEN: Final = "def broken(:"
"""The only piece that is no Python."""

USED: Final = ("request", "subtests", "capsys", "monkeypatch", "record_property")
"""Names of fixtures that a body may use."""

PASSING: Final = (
    "pass",
    "assert True",
    "print('out ü'); print('err', file=sys.stderr)",
    "import warnings; warnings.warn('of a test')",
    "print('captured'); assert capsys.readouterr().out == 'captured\\n'",
    "record_property('key', object())",
    "import time; monkeypatch.setattr(time, 'time', lambda: 0.0)",
    "import time; monkeypatch.setattr(time, 'perf_counter', lambda: 'x')",
    "os.environ.pop('PYTEST_CURRENT_TEST', None)",
)
SKIPPING: Final = (
    "pytest.skip('in the call')",
    "pytest.skip('')",
    "pytest.skip('two\\nlines ü')",
    "raise unittest.SkipTest('of unittest')",
    "pytest.importorskip('no_such_module')",
    "pytest.xfail('in the call')",
    "pytest.xfail('')",
    "request.node.add_marker(pytest.mark.xfail(reason='added')); assert 0",
    "request.node.add_marker(pytest.mark.xfail(reason='added', strict=True))",
)
FAILING: Final = (
    "assert 0",
    "assert 1 == 2, 'message ü'",
    "assert [1, 2, 3] == [1, 2, 4]",
    "print('\\udcff\\x00\\x1b[31mred'); assert 0",
    "raise ValueError('two\\nlines\\x00 \\udcff')",
    "raise ValueError('m' * 70_000)",
    "pytest.fail('without a traceback', pytrace=False)",
    "pytest.fail('')",
    "raise SystemExit(0)",
    "raise BaseException('bare')",
    "raise ExceptionGroup('group', [ValueError(1), TypeError(2)])",
    "def down(number): return down(number)\ndown(1)",
    "class Odd(Exception):\n    def __str__(self): raise RuntimeError('no text')\nraise Odd",
    "try: 1 / 0\nexcept ZeroDivisionError as error: raise RuntimeError('chained') from error",
    "request.addfinalizer(lambda: 1 / 0)",
    "request.addfinalizer(lambda: 1 / 0); assert 0",
    "request.addfinalizer(lambda: 1 / 0); pytest.skip('and breaks')",
    "request.addfinalizer(lambda: pytest.skip('at the end'))",
    "import threading\nthread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join(); assert 0",
    "with pytest.raises(ValueError): pass",
    "request.getfixturevalue('no_such_fixture')",
    "exec('assert 0')",
)
SUBTESTS: Final = tuple(
    f"for number in range(3):\n    with subtests.test({message}, number=number): {inner}\n{after}"
    for message in ("'ü'", "msg=None", "''")
    for inner in ("pass", "assert number != 1", "pytest.skip('sub')", "pytest.xfail('sub')", "raise ValueError(number)")
    for after in ("pass", "assert 0", "pytest.skip('after')")
)
FLAKY: Final = (
    "count = getattr(pytest, 'tries', 0); pytest.tries = count + 1; assert count % 3",
    "count = getattr(pytest, 'tries', 0); pytest.tries = count + 1\nwith subtests.test('flaky'): assert count % 2",
    "count = getattr(pytest, 'tries', 0); pytest.tries = count + 1; request.addfinalizer(lambda: 1 // (count % 2))",
)
UNITTEST: Final = (
    "pass",
    "self.assertEqual(1, 2)",
    "self.skipTest('ü')",
    "self.addCleanup(lambda: 1 / 0)",
    "self.addCleanup(lambda: 1 / 0); self.fail('both')",
    "for number in range(3):\n    with self.subTest('m', number=number): self.assertNotEqual(number, 1)",
    "for number in range(3):\n    with self.subTest(number=number): self.skipTest('sub')",
    "with self.subTest(): 1 / 0\nself.fail('after')",
    "with self.subTest(): 1 / 0\nself.skipTest('after')",
    "with self.subTest(outer='[]::'):\n    with self.subTest(inner=2): self.fail('nested')",
    "pytest.xfail('in unittest')",
)
UNITTEST_FRAME: Final = (
    "@classmethod\ndef setUpClass(cls): 1 / 0",
    "@classmethod\ndef setUpClass(cls): raise unittest.SkipTest('whole class')",
    "@classmethod\ndef setUpClass(cls): cls.addClassCleanup(lambda: 1 / 0)",
    "@classmethod\ndef tearDownClass(cls): 1 / 0",
    "def setUp(self): self.fail('in setUp')",
    "def setUp(self): self.skipTest('in setUp')",
    "def tearDown(self): 1 / 0",
    "def tearDown(self): self.skipTest('in tearDown')",
)
CLASS_FRAME: Final = (
    "def setup_method(self): 1 / 0",
    "def teardown_method(self): 1 / 0",
    "def teardown_method(self): pytest.skip('in teardown_method')",
    "@classmethod\ndef setup_class(cls): 1 / 0",
    "@classmethod\ndef setup_class(cls): pytest.skip('in setup_class')",
    "@classmethod\ndef teardown_class(cls): 1 / 0",
    "def __init__(self): pass",
)
NASTY: Final = (
    "raise KeyboardInterrupt",
    "raise KeyboardInterrupt('why')",
    "pytest.exit('enough')",
    "pytest.exit('with 7', returncode=7)",
    "pytest.exit('with 0', returncode=0)",
    "os._exit(0)",
    "os._exit(3)",
    "os.kill(os.getpid(), 9)",
    "os.kill(os.getpid(), 15)",
    "request.session.shouldstop = 'a test wants it'",
    "request.session.shouldfail = 'a test wants it to fail'",
    "os.environ.clear()",
    "child = os.fork()\nif not child: os._exit(0)\nos.waitpid(child, 0)",
)
MARKS: Final = _cut(
    "skip | skip(reason='ü') | skipif(True, reason='so') | skipif('1 / 0') | xfail | xfail(reason='ü') | "
    "xfail(strict=True) | xfail(run=False) | xfail(raises=ValueError) | "
    "xfail(raises=(KeyError, AssertionError), strict=True) | xfail(False, reason='not now') | "
    "usefixtures('fix0') | usefixtures('no_such_fixture') | filterwarnings('error') | parametrize('nowhere', [1])"
)
PLUGIN_MARKS: Final = {
    "xdist": ("xdist_group('g1')", "xdist_group('g@2')"),
    "rerunfailures": ("flaky(reruns=1)", "flaky(reruns=2, condition=False)"),
    "repeat": ("repeat(2)",),
    "timeout": ("timeout(5)",),
}
IDS: Final = (
    *_cut(
        "ü|日本|a::b|a/b|../up|[x]|[|]|x@y|@gw0|| |  lead|a b|a.py::test_0|%s|new\nline|nul\x00|\x1b[31mred|\u202ertl|tab\t|"
        "'|\"|\\|<b>&amp;|dup|dup|None|0",
        by="|",
    ),
    *("L" * 700, "😀" * 100, "\udcff"),
)
FIXTURE_PARTS: Final = _cut(
    "raise RuntimeError('fixture broke') | assert 0, 'in a fixture' | pytest.fail('in a fixture') | "
    "pytest.skip('in a fixture') | pytest.xfail('in a fixture') | raise SystemExit(2) | "
    "import warnings; warnings.warn('of a fixture')"
)
MODULE: Final = (
    "import no_such_module",
    BROKEN,
    "pytest.skip('whole module', allow_module_level=True)",
    "pytest.skip('not allowed here')",
    "pytest.importorskip('no_such_module')",
    "pytest.xfail('whole module')",
    "raise ValueError('at import ü')",
    "pytestmark = pytest.mark.skip",
    "pytestmark = [pytest.mark.xfail(run=False)]",
    "def setup_module(): 1 / 0",
    "def setup_module(): pytest.skip('in setup_module')",
    "def teardown_module(): 1 / 0",
    "def setUpModule(): raise unittest.SkipTest('in setUpModule')",
    "def pytest_generate_tests(metafunc):\n    if 'made' in metafunc.fixturenames: metafunc.parametrize('made', [])\n"
    "def test_made(made): pass",
    "def documented():\n    '''\n    >>> 1 + 1\n    2\n    '''",
    "def documented():\n    '''\n    >>> 1 / 0\n    2\n    '''",
)
NASTY_MODULE: Final = (
    "os._exit(5)",
    "raise KeyboardInterrupt",
    "raise SystemExit(0)",
    "pytest.exit('at import')",
    "pytest.exit('at import with 0', returncode=0)",
    "os.kill(os.getpid(), 9)",
)

_RENAME: Final = """
def rename(item, text):
    if hasattr(item, '_id'):
        from _pytest.nodeid import NodeId
        item._id = NodeId.parse(text)
    else: item._nodeid = text
def pytest_itemcollected(item): rename(item, {})
"""
_REPORT: Final = """
@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    {}
    return report
"""
_PROTOCOL: Final = """
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    from _pytest.runner import runtestprotocol
    {}
    return True
"""
_LOOP: Final = (
    "@pytest.hookimpl(wrapper=True)\ndef pytest_runtestloop(session):\n    result = yield\n    {}\n    return result"
)
HOOKS: Final = (
    "def pytest_collection_modifyitems(items): items.reverse()",
    """
def pytest_collection_modifyitems(config, items):
    gone = items[::3]
    items[:] = [item for item in items if item not in gone]
    config.hook.pytest_deselected(items=gone)
""",
    "def pytest_collection_modifyitems(items): del items[::3]",
    "def pytest_collection_modifyitems(items): items.clear()",
    "def pytest_collection_modifyitems(items): items.extend(items[:2])",
    "def pytest_collection_modifyitems(items): items[:] = items + items",
    "def pytest_collection_modifyitems(items):\n    for item in items: item.add_marker(pytest.mark.xfail)",
    "def pytest_collection_modifyitems(session): session.shouldstop = 'after collecting'",
    "def pytest_collection_modifyitems(session): session.shouldfail = 'after collecting'",
    "def pytest_collection_modifyitems(): raise pytest.UsageError('after collecting')",
    "def pytest_collection_modifyitems(): pytest.exit('after collecting', returncode=0)",
    "def pytest_collection_finish(session): del session.items[-1:]",
    "def pytest_collection(): raise RuntimeError('collection broke')",
    *(_RENAME.format(text) for text in ("'renamed/' + item.nodeid", "item.name + ' :: described'")),
    *(
        _REPORT.format(text)
        for text in (
            "if report.failed: report.outcome = 'skipped'; report.longrepr = ('file', 1, 'turned')",
            "if report.when == 'call' and report.passed: report.outcome = 'failed'; report.longrepr = 'a text'",
            "if report.when == 'call' and report.failed: report.outcome = 'passed'; report.longrepr = None",
            "if report.when == 'call' and report.failed: report.longrepr = None",
            "if report.when == 'teardown' and report.failed: report.outcome = 'passed'; report.longrepr = None",
            "if report.when == 'call' and report.passed and not hasattr(report, 'context'): report.wasxfail = 'by a hook'",
            "report.sections.append(('ü', 'text\\x00')); report.user_properties.append(('a', 1))",
            "report.duration = -1.0",
        )
    ),
    *(
        _PROTOCOL.format(text)
        for text in (
            "pass",
            "runtestprotocol(item, nextitem=nextitem)",
            "item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)\n"
            "    for _ in range(2): runtestprotocol(item, nextitem=nextitem)\n"
            "    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)",
        )
    ),
    *(_LOOP.format(text) for text in ("session.testsfailed = 0", "session.shouldstop = 'after the loop'")),
    "def pytest_runtestloop(session): return True",
    "def pytest_report_teststatus(report):\n"
    "    if report.when == 'call' and report.passed and not hasattr(report, 'wasxfail'): return 'passed', '+', 'FINE'",
    "def pytest_sessionstart(): raise RuntimeError('start broke')",
    "def pytest_sessionstart(): pytest.exit('at the start')",
    *(f"def pytest_sessionfinish(session): session.exitstatus = {code}" for code in (0, 1, 5, 42)),
    "@pytest.hookimpl(trylast=True)\ndef pytest_sessionfinish(session): session.exitstatus = 0",
    "@pytest.hookimpl(wrapper=True, tryfirst=True)\n"
    "def pytest_sessionfinish(session):\n    yield\n    session.exitstatus = 3",
    "def pytest_terminal_summary(): raise RuntimeError('summary broke')",
    "def pytest_sessionfinish(): raise RuntimeError('finish broke')",
    "def pytest_sessionfinish(): pytest.exit('at the end', returncode=0)",
    "def pytest_sessionfinish(): import os; os._exit(0)",
    "def pytest_runtest_logreport(report):\n    if report.failed: raise RuntimeError('logreport broke')",
    "def pytest_collectreport(report):\n    if report.failed: raise RuntimeError('collectreport broke')",
    "def pytest_runtest_logfinish(): raise RuntimeError('logfinish broke')",
    "def pytest_runtest_logstart(nodeid):\n    if nodeid.endswith('1'): raise RuntimeError('logstart broke')",
    "def pytest_keyboard_interrupt(): raise RuntimeError('interrupt broke')",
    "def pytest_internalerror(): return True\ndef pytest_runtest_logfinish(): raise RuntimeError('logfinish broke')",
    "def pytest_assertrepr_compare(): return ['odd\\x00', 'ü\\udcff']",
    "def pytest_runtest_setup(item):\n    if item.name.endswith('1'): pytest.skip('by a hook')",
    "def pytest_runtest_teardown(item):\n    if item.name.endswith('0'): raise RuntimeError('by a hook')",
    "def pytest_runtest_call(item):\n    if item.name.endswith('2'): raise ValueError('by a hook')",
    "def pytest_exception_interact(): raise RuntimeError('interact broke')",
    "def pytest_warning_recorded(): raise RuntimeError('warning broke')",
    "def pytest_make_parametrize_id(val, argname): return f'{argname}={val}'[:20]",
    """
def pytest_pycollect_makeitem(collector, name, obj):
    if name == 'test_1':
        return [pytest.Function.from_parent(collector, name=name, callobj=obj) for _ in range(2)]
""",
    "collect_ignore_glob = ['*_b.py']",
    """
class LinesFile(pytest.File):
    def collect(self): return [Line.from_parent(self, name=line) for line in self.path.read_text().split('|')]
class Line(pytest.Item):
    def runtest(self): assert 'f' not in self.name, self.name
    def repr_failure(self, excinfo): return 'own text\\n' + self.name
    def reportinfo(self): return self.path, None, 'label ' + self.name
def pytest_collect_file(file_path, parent):
    return LinesFile.from_parent(parent, path=file_path) if file_path.suffix == '.lines' else None
""",
)
ONE_ID: Final = tuple(_RENAME.format(text) for text in ("item.nodeid.split('[')[0]", "''", "'same'"))
"""Hooks that give several tests one node id."""
NESTED_CONFTEST: Final = (
    "1 / 0",
    BROKEN,
    "pytest.skip('a folder', allow_module_level=True)",
    "collect_ignore_glob = ['*.py']",
    "def pytest_runtest_setup(): raise ValueError('by a hook of a folder')",
)
INI: Final = _cut(
    "xfail_strict = true | addopts = -ra | console_output_style = count | "
    "empty_parameter_set_mark = fail_at_collect | empty_parameter_set_mark = xfail | filterwarnings = error | "
    "junit_family = xunit1 | disable_test_id_escaping_and_forfeit_all_rights_to_community_support = true | "
    "python_functions = test_* documented"
)
ARGUMENTS: Final = _arguments(
    "-x | --maxfail=2 | -k 1 | -k 'not 0' | -k 'A or 2' | -m 'not marked' | --runxfail | --tb=no | --tb=short | "
    "--tb=line | --tb=native | --tb=long | -q | -qq | -v | -vv | -ra | -rA | -rN | -s | --capture=sys | "
    "-p no:terminal | -p no:warnings | -p no:unittest | -p no:skipping | -p no:logging | -p no:faulthandler | "
    "--doctest-modules | --continue-on-collection-errors | --continue-on-collection-errors | -W error | "
    "--import-mode=importlib | --import-mode=append | --import-mode=prepend | --collect-only | "
    "--strict-markers | --no-header | --no-summary | --assert=plain"
)
PLUGIN_ARGUMENTS: Final = {
    "rerunfailures": _arguments("--reruns 1 | --reruns 2 | --reruns 1 --rerun-except Error"),
    "repeat": _arguments("--count 2 | --count 2 --repeat-scope=session"),
    "randomly": _arguments("--randomly-seed=7"),
    "timeout": _arguments("--timeout 30"),
    "cacheprovider": _arguments("--lf | --ff | --nf | --sw"),
}
ENVIRONMENT: Final = _cut(
    "THREEPIO_SYNC=always | THREEPIO_SYNC=exit | THREEPIO_EVENT_BUFFER_SIZE=2 | LC_ALL=C | PYTHONUTF8=0"
)
DISTRIBUTIONS: Final = ("load", "loadscope", "loadfile", "loadgroup", "worksteal", "each")
