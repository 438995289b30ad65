"""Runs a client's checks one after the other: one line for each, and a closing summary."""

import traceback


class Checks:
    def __init__(self):
        self.well = 0
        self.run_count = 0

    def run(self, name, check):
        """A check is well when `check` raises nothing."""
        self.run_count += 1
        try:
            check()
        except BaseException as error:
            # Those of the Rust SDKs are no Exceptions when they panic.
            place = traceback.extract_tb(error.__traceback__)[-1]
            words = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"failed {name}: {words} (line {place.lineno}: {place.line})", flush=True)
        else:
            self.well += 1
            print(f"ok {name}", flush=True)

    def finish(self):
        print(f"{self.well} of {self.run_count} checks are well", flush=True)


def equal(found, expected):
    if found != expected or repr(found) != repr(expected):
        raise AssertionError(f"{found!r:.300} instead of {expected!r:.300}")


def refused(action, *words):
    """`action` must raise an error that a developer understands: all `words` are in its text."""
    try:
        found = action()
    except Exception as error:
        text = f"{getattr(error, 'code', '')} {error}"
        for word in words:
            if word not in text:
                raise AssertionError(f"{word!r} is not in: {text:.500}") from error
        return error
    raise AssertionError(f"no error, but {found!r:.200}")
