import os
import shutil


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.exists(path):
        os.remove(path)


def test_before():
    pass


def test_removes():
    what = os.environ["REMOVES"]
    if what == "project":
        remove(os.path.dirname(os.path.abspath(__file__)))
    elif what == "state":
        remove(os.environ["THREEPIO_STATE_DIR"])
    elif what == "socket":
        remove(os.environ["THREEPIO_SOCKET"])
    elif what == "journal":
        run = os.environ.get("THREEPIO_RUN_ID", "none")
        remove(f"{os.environ['THREEPIO_STATE_DIR']}/journals/{run}.jsonl")
    elif what == "journals":
        remove(f"{os.environ['THREEPIO_STATE_DIR']}/journals")


def test_after():
    pass


def test_last():
    pass
