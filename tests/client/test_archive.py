"""What an archive finds, and that a store that stays open is the one that is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.scripted import made_state_dir, run_lines, write_journal
from threepio_client.archive import Archive
from threepio_client.errors import NoSuchRun
from threepiod.rebuild import rebuild


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """Return an archive whose store stays open, with two runs."""
    with closing(Archive(made_state_dir(tmp_path), stays_open=True)) as made:
        for number, run_id in enumerate(("one", "one-more")):
            write_journal(made.state_dir, run_id, run_lines(run_id, number))
        rebuild(made.state_dir)
        yield made


def test_the_store_is_opened_once_until_it_is_made_anew(archive: Archive) -> None:
    with archive.reading() as first, archive.reading() as second:
        assert first is second is not None
    assert archive.run_ids() == ["one-more", "one"]

    write_journal(archive.state_dir, "third", run_lines("third", 2))
    rebuild(archive.state_dir)

    assert archive.is_over("third")
    assert archive.run_ids() == ["third", "one-more", "one"]


def test_a_store_that_is_gone_is_not_read_on(archive: Archive) -> None:
    assert archive.is_over("one")

    for path in archive.state_dir.path.glob("store.sqlite3*"):
        path.unlink()

    assert not archive.is_over("one")
    assert archive.trouble == ""


def test_a_whole_id_is_no_prefix(archive: Archive) -> None:
    assert archive.find("one") == "one"
    assert archive.find("one-") == archive.find("latest") == "one-more"
    with pytest.raises(NoSuchRun, match="2 runs begin with 'on'"):
        archive.find("on")
