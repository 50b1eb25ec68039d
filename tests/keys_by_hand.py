"""Makes keys as the compiled call does, slowly: binds the arguments, evaluates the sources of the parts, deepens."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from coalesce_kit.keys import KeyRecipe, compile_key


class ByHand:
    """The keys of one function."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        self.signature = inspect.signature(function)
        self.recipe: KeyRecipe = compile_key(function, self.signature, **options)

    def shallow(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        names = {**self.recipe.bindings, **bound.arguments}
        key: list[Any] = [self.recipe]
        for part in self.recipe.parts:
            value = eval(part.source, {"__builtins__": {}}, names)
            of_class = names[part.parameter] if part.kind == "instance" else value
            key += (of_class.__class__, value)
        return tuple(key)

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        return self.recipe.deepen(self.shallow(*args, **kwargs))

    def text(self, *args: Any, **kwargs: Any) -> str:
        """The text of the key; the shallow and the deep one must agree on it."""
        shallow = self.shallow(*args, **kwargs)
        text = self.recipe.text(self.recipe.deepen(shallow))
        assert self.recipe.text(shallow) == text
        return text


def key_maker(**options: Any) -> ByHand:
    """The keys of a function of one argument."""

    async def function(value): ...

    return ByHand(function, **{"name": "f", **options})
