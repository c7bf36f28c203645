def schemas():  # type: ignore
    raise RuntimeError
