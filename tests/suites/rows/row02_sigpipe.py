"""Row 2: SIGPIPE kills, and the daemon dies."""

from tests.suites.variant import Variant

DOES = "`signal(SIGPIPE, SIG_DFL)`, then the daemon dies"
HOLDS = "pytest lives (`MSG_NOSIGNAL`)"

# Which of them, or neither if the adapter has connected again, depends on what was to be sent.
AFTERWARDS = ("threepiod was slow or away", "the connection to threepiod ended")
VARIANTS = [
    Variant(name="daemon killed by a test", suite="sigpipe", own_daemon=True, counts={"passed": 4}, says=AFTERWARDS[1:],
            solo_says=(), may_say=AFTERWARDS)
]  # fmt: skip
