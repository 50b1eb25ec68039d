"""What one function's keys are made of, how they are made hashable, and how they read.

The compiled call evaluates the sources of the parts and builds the *shallow key* in line::

    (recipe, class of part 0, part 0, class of part 1, part 1, ...)

When all classes are ``ATOMS`` the shallow key is the key. Otherwise ``KeyRecipe.deepen`` freezes what has parts
(``freezing.py``); a shallow key with a container in it never equals a deep one, so that looking it up can only
miss. ``KeyRecipe.text`` writes either for people, logs and a shared store (``key_text.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from inspect import Parameter
from typing import Any, Literal, NamedTuple

from .errors import ConfigurationError, KeyDerivationError
from .freezing import ATOMS, DEFAULT, Freezer, Pair, Shape, UnfreezableError
from .key_canonical import CANONICAL, Canon, require_no_address, stored_seal
from .key_text import at_address, condensed, literal, part_of_template, sealed
from .protocols import MAX_TEXT, Key, describe_key
from .templates import reader_of


class KeyPart(NamedTuple):
    """One class and one value of a key.

    Attributes:
        name: what it is called by ``invalidate_key`` and in texts.
        source: a Python expression over the function's parameters and the recipe's bindings: the value.
        kind: ``"instance"`` for the method's instance: the value is its id, the class that of the parameter.
        parameter: the parameter it is made from; ``None`` for a key function and for a context variable.
        conversion: ``r``, ``s`` or ``h`` of a template.
        default: the parameter's default object, where the part is the parameter itself.
        gathers: ``tuple`` or ``dict`` where the parameter is ``*args`` or ``**kwargs``.
        variable: the context variable that it reads.
    """

    name: str
    source: str
    kind: Literal["value", "instance"] = "value"
    parameter: str | None = None
    conversion: str | None = None
    default: object = Parameter.empty
    gathers: Callable[[Any], object] | None = None
    variable: ContextVar[Any] | None = None


class KeyRecipe:
    """How one function's keys are made and shown. The first element of each of them: no two functions share a key.

    Attributes:
        name: the function's name, a label.
        parts: the parts of the key, in order.
        bindings: names that the sources of the parts need beside the parameters.
        outside: the parameters that are not in the key.
        instance: whether the key holds a method's instance, by its id.
    """

    __slots__ = (
        "__weakref__",
        "_freezer",
        "_literals",
        "_separators",
        "_values",
        "bindings",
        "instance",
        "name",
        "outside",
        "parts",
    )

    def __init__(
        self,
        name: str,
        parts: Sequence[KeyPart],
        *,
        bindings: Mapping[str, object],
        outside: Sequence[str] = (),
        literals: Sequence[str] | None = None,
    ) -> None:
        self.name = name
        self.parts = tuple(parts)
        self.bindings = dict(bindings)
        self.outside = tuple(outside)
        self.instance = any(part.kind == "instance" for part in parts)
        self._literals = literals
        # A reader finds the end of a part by the first character of what follows it; the other letters of the
        # literals separate nothing, their punctuation may look as if it did.
        varied = "[" if any(part.variable is not None for part in parts) else ""
        ends = [fixed[:1] for fixed in (literals or ())[1:]]
        signs = [sign for fixed in literals or () for sign in fixed if not sign.isalnum()]
        self._separators = frozenset([*ends, *signs, *varied])
        self._values = tuple((1 + 2 * index, part) for index, part in enumerate(parts) if part.kind == "value")
        self._freezer = Freezer()

    def __repr__(self) -> str:
        return f"<KeyRecipe of {self.name}>"

    def deepen(self, shallow: tuple[object, ...]) -> tuple[object, ...]:
        """Return the key of a call, given its shallow key.

        Raises:
            KeyDerivationError: an argument is compared by identity (the parameter's own default is allowed), cannot
                be hashed nor taken apart, or contains itself.
        """
        deep: list[object] | None = None
        for index, part in self._values:
            if shallow[index] not in ATOMS:
                if deep is None:
                    deep = list(shallow)
                deep[index], deep[index + 1] = self._freeze(part, shallow[index + 1])
        return shallow if deep is None else tuple(deep)

    def text(self, key: Key) -> str:
        """Write a key, shallow or deep: ``fixtures:nfl:True:5``. Never raises."""
        if not isinstance(key, tuple) or len(key) != 1 + 2 * len(self.parts) or id(key[0]) != id(self):
            return describe_key(key)
        try:
            return self._write(key, self._write_part, name=self.name)
        except Exception:  # classes and values of users may do anything when they are looked at
            return f"{self.name}(<unprintable>)"

    def stored_text(self, key: tuple[object, ...], *, digest_key: bytes | None = None) -> str:
        """Write a key, shallow or deep, for a shared store: without addresses, equal exactly when the keys are.

        Args:
            key: one of this recipe's.
            digest_key: the secret under which parts written with ``!h`` are digested.

        Raises:
            KeyDerivationError: a part is not canonical (``key_canonical``), is NaN, or has naive and aware datetimes.
            ConfigurationError: a part is written with ``!h`` and there is no ``digest_key``.
        """
        canon = Canon()

        def write(part: KeyPart, slot: object, form: object, separators: frozenset[str] | None = None) -> str:
            pair = self._canonical(part, slot, form, canon)
            if part.conversion == "h":
                if digest_key is None:
                    raise ConfigurationError(
                        f"{self.name}: {{{part.name}!h}} stands in a shared store as a keyed digest only, and the store"
                        " has no key for it; give it one: digest_key=..., the same in every process"
                    )
                return stored_seal(literal(pair), where=f"{self.name}\0{part.name}", digest_key=digest_key)
            return literal(pair) if separators is None else part_of_template(pair, separators)

        return self._write(key, write, name="")

    def describe(self, key: Key) -> str:
        """Write a key for a message: at most 200 characters of its text. Never raises."""
        text = self.text(key)
        return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"

    def key_from_names(self, names: Mapping[str, object]) -> tuple[object, ...]:
        """Return the key made of values given by name, those of ``vary=`` read in the current context.

        Args:
            names: a value for every name of the key, dotted ones as written: ``{"user.id": 7}``.

        Raises:
            TypeError: a name is missing or unknown, or a key function makes the key.
            KeyDerivationError: as in ``deepen``.
        """
        if any(part.parameter is None and part.variable is None for part in self.parts):
            raise TypeError(
                f"the key of {self.name} is made by a key function and of no names;"
                " use invalidate() with the arguments of a call"
            )
        expected = dict.fromkeys(part.name for part in self.parts if part.variable is None)
        made_of = f"its key is made of {', '.join(expected)}" if expected else "its key is made of no names"
        if missing := [name for name in expected if name not in names]:
            raise TypeError(f"{self.name}: {_listed(missing)} missing; {made_of}")
        if unknown := [name for name in names if name not in expected]:
            raise TypeError(f"{self.name}: {_listed(unknown)} not in the key; {made_of}")
        shallow: list[object] = [self]
        for part in self.parts:
            value = names[part.name] if part.variable is None else reader_of(part.variable)()
            if part.kind == "instance":
                shallow += (value.__class__, id(value))
                continue
            if part.gathers is not None:
                value = part.gathers(value)
            if part.conversion == "r":
                value = repr(value)
            elif part.conversion == "s":
                value = str(value)
            shallow += (value.__class__, value)
        return self.deepen(tuple(shallow))

    def refusal(self, error: Exception) -> KeyDerivationError:
        """Return the error for a call whose key could not be made because ``error`` was raised on the way.

        The compiled call raises it for whatever the sources of the parts raise, and the hash of an argument.
        """
        if isinstance(error, KeyDerivationError):
            return error
        made_of = ", ".join(part.name for part in self.parts)
        return KeyDerivationError(
            f"{self.name}: making the key of this call out of {made_of} raised {type(error).__name__};"
            " the call was refused before anything ran"
        )

    def _freeze(self, part: KeyPart, value: object) -> Pair:
        try:
            return condensed(self._freezer.freeze(value))
        except UnfreezableError as error:
            if value is part.default:
                return _pair_of_default(value, error)
            raise KeyDerivationError(self._explain(part, error)) from error.__cause__

    def _explain(self, part: KeyPart, error: UnfreezableError, *, stored: bool = False) -> str:
        cls = error.cls.__name__
        article = "an" if cls[:1] in tuple("AEIOUaeiou") else "a"
        if part.variable is not None:
            what, ways = f"the context variable {part.name!r}", f"put into vary= what identifies the {cls}"
        elif part.parameter is None:
            what, ways = "what the key function returned", f"return what identifies the {cls}"
        else:
            what = repr(part.name)
            ways = f"leave it out with ignore=({part.parameter!r},) if the answer does not depend on it"
            if part.gathers is None:
                ways += f", or name in the key what identifies it, as in {{{part.name}.id}}"
        holds = f"contains {article} {cls} that" if error.nested else f"is {article} {cls}, which"
        own = "" if error.cls.__module__ == "builtins" else f", or give {cls} an __eq__ and a __hash__ of its own"
        if stored:
            own = f". With a shared store a key is made of {CANONICAL}"
        return f"{self.name}: {what} {holds} {error.fault}; {ways}{own}"

    def _write(self, key: tuple[object, ...], write_part: Callable[..., str], *, name: str) -> str:
        pairs = zip(self.parts, key[1::2], key[2::2], strict=True)
        if self._literals is None:
            named = [f"{part.name}={write_part(part, slot, form)}" for part, slot, form in pairs]
            return f"{name}({', '.join(named)})"
        texts: list[str] = []
        varied: list[str] = []
        for part, slot, form in pairs:
            if part.variable is not None:
                varied.append(f"{part.name}={write_part(part, slot, form)}")
            else:
                texts.append(write_part(part, slot, form, separators=self._separators))
        # An instance that the template does not name stands before it.
        first = f"{texts.pop(0)}:" if len(texts) == len(self._literals) else ""
        filled = "".join(f"{fixed}{text}" for fixed, text in zip(self._literals, [*texts, ""], strict=True))
        return first + filled + (f"[{', '.join(varied)}]" if varied else "")

    def _canonical(self, part: KeyPart, slot: object, form: object, canon: Canon) -> Pair:
        if part.kind == "instance":
            raise KeyDerivationError(
                f"{self.name}: {part.name!r} is in the key by its address, which means nothing to another process; name"
                f" in the key what identifies it, as in {{{part.name}.tenant}}, or write ignore=({part.name!r},) if the"
                " answer does not depend on it"
            )
        try:
            if not isinstance(slot, Shape) and slot not in ATOMS:
                slot, form = condensed(self._freezer.freeze(form))
            canon.require((slot, form))
            if part.conversion in ("r", "s") and isinstance(form, str):
                require_no_address(form)
        except UnfreezableError as error:
            if form is part.default:  # whatever it is, every process has one, in the same place
                return DEFAULT, None
            raise KeyDerivationError(self._explain(part, error, stored=True)) from error.__cause__
        return slot, form

    def _write_part(self, part: KeyPart, slot: object, form: object, separators: frozenset[str] | None = None) -> str:
        if part.kind == "instance":
            return at_address(slot, form)
        if not isinstance(slot, Shape) and slot not in ATOMS:
            try:
                slot, form = condensed(self._freezer.freeze(form))
            except UnfreezableError as error:
                if form is not part.default:
                    return at_address(type(form), id(form))
                slot, form = _pair_of_default(form, error)
        if part.conversion == "h":
            return sealed(literal((slot, form)))
        return literal((slot, form)) if separators is None else part_of_template((slot, form), separators)


def _pair_of_default(value: object, error: UnfreezableError) -> Pair:
    # There is one such object: identity is all that is needed, and if it cannot be hashed, its presence.
    return (type(value), value) if error.by_identity and not error.nested else (DEFAULT, None)


def _listed(names: Sequence[str]) -> str:
    listed = " and ".join(filter(None, (", ".join(map(repr, names[:-1])), repr(names[-1]))))
    return f"{listed} {'is' if len(names) == 1 else 'are'}"
