raise ValueError("in a conftest.py below")
