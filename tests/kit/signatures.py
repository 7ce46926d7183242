"""Functions made for one annotation."""

import inspect
from collections.abc import Callable
from typing import Any


def taking(annotation: Any, default: Any = inspect.Parameter.empty, returned: Any = None) -> Callable[..., Any]:
    """A function `find(where: annotation = default)`."""

    def find(where: Any) -> None: ...

    find.__annotations__ = {"where": annotation, "return": returned}
    if default is not inspect.Parameter.empty:
        find.__defaults__ = (default,)
    return find
