"""Row 7: plugins that replace the world a test sees."""

from tests.suites.variant import Variant

DOES = "pytest-socket `--disable-socket`; pyfakefs; `gevent.monkey.patch_all()`"
HOLDS = "as if not there"

VARIANTS = [
    Variant(name="--disable-socket", suite="no_network", plugins=("socket",), arguments=("--disable-socket",),
            counts={"passed": 4, "failed": 1}),
    Variant(name="--disable-socket --allow-unix-socket", suite="no_network", plugins=("socket",),
            arguments=("--disable-socket", "--allow-unix-socket"), counts={"passed": 3, "failed": 2}),
    Variant(name="pyfakefs", suite="fake_files", plugins=("fakefs",), counts={"passed": 5, "failed": 1}),
    Variant(name="gevent in conftest.py", suite="gevent_in_conftest", modules=("gevent",),
            counts={"passed": 3, "failed": 1}),
    Variant(name="gevent in a test", suite="gevent_in_test", modules=("gevent",), counts={"passed": 3, "failed": 1}),
]  # fmt: skip
