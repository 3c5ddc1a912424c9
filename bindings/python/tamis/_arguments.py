"""Checks of arguments that all classes share."""
from __future__ import annotations

from typing import Any, Iterable, Sequence, Union

DeviceSpec = Union[str, int, Sequence[str], Sequence[int], None]


def refuse_unknown(where: str, unknown: Iterable[str], known: Iterable[str]) -> None:
    """Raises TypeError for the first unknown keyword, naming the nearest known one."""
    for name in unknown:
        import difflib

        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else f"; it takes {', '.join(known)}"
        raise TypeError(f"{where}: unexpected keyword argument '{name}'{hint}")


def device_names(devices: DeviceSpec) -> list[str]:
    """FlagEmbedding's `devices` as Tamis names them: None is "cpu", 1 is "cuda:1", a list of
    either is several replicas. Nothing is opened. Errors: ValueError, TypeError."""
    def one(device: object) -> str:
        if isinstance(device, bool) or not isinstance(device, (str, int)):
            raise TypeError(
                "devices should be a string or an integer or a list of strings or a list of "
                f"integers, got {type(device).__name__}")
        return f"cuda:{device}" if isinstance(device, int) else device

    if devices is None:
        return ["cpu"]
    if isinstance(devices, (str, int)):
        return [one(devices)]
    if not isinstance(devices, (list, tuple)):
        one(devices)
    names = [one(device) for device in devices]  # type: ignore[union-attr]
    if not names:
        raise ValueError("devices is an empty list: give a device such as 'cpu', or leave it out")
    return names


def text_list(where: str, value: Any) -> tuple[list[str], bool]:
    """A str or a list of str as a list, and whether it was one str. Errors: TypeError."""
    if isinstance(value, str):
        return [value], True
    if isinstance(value, tuple):
        value = list(value)
    elif not isinstance(value, list):
        try:
            value = value.tolist()  # numpy, pandas
        except AttributeError:
            raise TypeError(f"{where}: expected a str or a list of str, got "
                            f"{type(value).__name__}") from None
    for i, text in enumerate(value):
        if not isinstance(text, str):
            raise TypeError(f"{where}[{i}]: expected str, got {type(text).__name__}")
    return value, False


def positive(where: str, value: int | None, default: int) -> int:
    """An int of at least 1; None is the default. Errors: TypeError, ValueError."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{where}: expected an int, got {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{where}: expected at least 1, got {value}")
    return value
