import pytest


@pytest.hookimpl(trylast=True)
def pytest_unconfigure():
    with open("/proc/self/status") as status:
        (peak,) = (line.split()[1] for line in status if line.startswith("VmHWM:"))
    with open("peak", "w") as file:
        file.write(peak)
