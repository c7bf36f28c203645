def write_scaffold(*a, **k):  # type: ignore
    raise RuntimeError
