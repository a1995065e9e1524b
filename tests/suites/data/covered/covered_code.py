def used():
    return 1


def unused():
    return 2
