"""A module.

>>> 1 + 1
2
"""


def fails():
    """Fail.

    >>> 1
    2
    """


def skipped():
    """Skip.

    >>> 1  # doctest: +SKIP
    2
    """


def raises():
    """Raise.

    >>> {}["a::b"]
    1
    """
