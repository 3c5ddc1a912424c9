"""Exceptions. Each is a TamisError with a `code`, and also Python's own kind of the same trouble."""
from __future__ import annotations


class TamisError(Exception):
    """Something went wrong; the message says what, where, expected, got and what to do."""

    code = "internal"


class InvalidArgumentError(TamisError, ValueError):
    """An argument is wrong."""

    code = "invalid_argument"


class NotFoundError(TamisError, FileNotFoundError):
    """A file or a model does not exist."""

    code = "not_found"


class DataLossError(TamisError, ValueError):
    """A file is damaged or does not fit its configuration, or a NaN came out of a layer."""

    code = "data_loss"


class UnimplementedError(TamisError, NotImplementedError):
    """A valid request that Tamis does not support."""

    code = "unimplemented"


class ResourceExhaustedError(TamisError, MemoryError):
    """Memory, disk, or a limit that was set."""

    code = "resource_exhausted"


class UnavailableError(TamisError, RuntimeError):
    """A device is not there any more."""

    code = "unavailable"


class CancelledError(TamisError, RuntimeError):
    """The call was cancelled."""

    code = "cancelled"


class InternalError(TamisError, RuntimeError):
    """A defect of Tamis; please report it."""

    code = "internal"


by_code: dict[str, type[TamisError]] = {
    cls.code: cls
    for cls in (InvalidArgumentError, NotFoundError, DataLossError, UnimplementedError,
                ResourceExhaustedError, UnavailableError, CancelledError, InternalError)
}
