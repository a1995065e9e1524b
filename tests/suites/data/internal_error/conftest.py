def pytest_runtest_logfinish():
    raise ValueError("a bad plugin")
