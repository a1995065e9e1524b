"""Shell completion as the shells ask for it: commands, runs, tests; never a word that a shell could act on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import made_place
from tests.place import COMMAND_TIMEOUT_S, Place, wait_until
from tests.scripted import run_lines, write_journal
from tests.two_runs import restamped
from threepio_client.cli.completion import OFFERED, nodeids, run_references

PROGRAM = "#!{python}\nimport sys\nsys.argv[0] = 'threepio'\nfrom threepio_client.cli import main\nmain()\n"
EVIL = "t.py::test_$(touch evil)`touch evil`;\x1b[31m"


@pytest.fixture(scope="module")
def told() -> Iterator[Place]:
    """A place with a daemon's store, and with runs of which two begin alike."""
    with made_place() as found:
        names = ["t.py::test_one[1-a]", "t.py::test_two", "u.py::test_three", EVIL]
        for number, run_id in enumerate(("apple", "apricot", "banana")):
            lines = run_lines(run_id, 0, nodeids=names)
            write_journal(found.state_dir, run_id, (restamped(line, number * 1000) for line in lines))
        found.start_daemon()
        wait_until(lambda: found.verify("apple")["whole"] and found.verify("banana")["whole"])
        found.stop_daemon()
        program = found.path / "bin" / "threepio"
        program.parent.mkdir()
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
        found.environ["PATH"] = f"{program.parent}:{found.environ['PATH']}"
        found.environ["HOME"] = str(found.path)
        yield found


def asked(place: Place, shell: str, words: str, **environ: str) -> list[str]:
    """Return the lines that the program gives to a shell's script for the last of these words."""
    program = str(place.path / "bin" / "threepio")
    protocol = {
        "_THREEPIO_COMPLETE": f"complete_{shell}", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")),
        "_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }  # fmt: skip
    done = subprocess.run(
        [program], env={**place.environ, **protocol, **environ}, cwd=place.path, capture_output=True, text=True,
        timeout=COMMAND_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_real_bash_completes_commands_runs_and_tests(told: Place) -> None:
    script = """
eval "$(threepio --show-completion)"
for words in "threepio nev" "threepio status ap" "threepio diff apple " "threepio show u." "threepio status --js"; do
    IFS=' ' read -r -a COMP_WORDS <<< "$words"; [ "${words: -1}" = " " ] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _threepio_completion threepio
    echo "$words: ${COMPREPLY[*]}"
done
"""
    done = subprocess.run(
        ["bash", "-c", script], env=told.environ, cwd=told.path, capture_output=True, text=True, check=False
    )

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "threepio nev: never-ran",
        "threepio status ap: apricot apple",
        "threepio diff apple : latest banana apricot apple",
        "threepio show u.: u.py::test_three",
        "threepio status --js: --json",
    ]


def test_bash_is_set_up_by_one_command(told: Place) -> None:
    done = subprocess.run(
        ["bash", "-c", "threepio --install-completion; true"],
        env=told.environ,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "bash completion installed" in done.stdout
    assert "threepio" in Path(told.environ["HOME"], ".bashrc").read_text()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_is_offered_the_newest_first(told: Place, shell: str) -> None:
    text = "\n".join(asked(told, shell, "threepio status ap"))

    assert text.index("apricot") < text.index("apple")
    assert "banana" not in text


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_shell_that_is_here_takes_its_script(told: Place, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = f"{shell} -c 'threepio --show-completion; true' > script; {shell} -n script"
    subprocess.run(["sh", "-c", script], env=told.environ, cwd=told.path, check=True)


def test_no_test_is_offered_whose_name_a_shell_could_act_on(told: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREEPIO_STATE_DIR", told.environ["THREEPIO_STATE_DIR"])

    assert nodeids("t.py") == ["t.py::test_one[1-a]", "t.py::test_two"]
    assert nodeids("") == ["t.py::test_one[1-a]", "t.py::test_two", "u.py::test_three"]


def test_no_run_is_offered_whose_name_a_shell_could_act_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREEPIO_STATE_DIR", place.environ["THREEPIO_STATE_DIR"])
    for run_id in ("fine", "$(touch evil)", *(f"many-{number}" for number in range(2 * OFFERED))):
        write_journal(place.state_dir, run_id, run_lines(run_id, 0))

    found = run_references("")

    assert len(found) == OFFERED + 1
    assert not [name for name in found if "$" in name]


@pytest.mark.parametrize("trouble", ["no state directory", "a file", "a store that is none", "a wrong setting"])
def test_trouble_is_not_said(told: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    environ = {"THREEPIO_STATE_DIR": str(tmp_path / "state")}
    if trouble == "a file":
        (tmp_path / "state").touch()
    elif trouble == "a store that is none":
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "store.sqlite3").write_bytes(b"no store" * 1000)
    elif trouble == "a wrong setting":
        environ = {"THREEPIO_BLOCK_MS": "soon"}

    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert (run_references(""), nodeids("")) == (["latest"], [])
    assert asked(told, "bash", "threepio status ", **environ) == ["latest"]
