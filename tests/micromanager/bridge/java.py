"""Python classes that look like Java ones to a client of the bridge.

Knows: how a class states its Java name, interfaces, public fields, constructors and methods with
their argument types. Must not know: the wire, Micro-Manager.

Example::

    class Rectangle(JavaObject, name="java.awt.Rectangle", fields=("x", "width")):
        @method("double")
        def get_x(self) -> float: ...  # getX() in Java
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
STRING = "java.lang.String"
OBJECT = "java.lang.Object"


class Spec(NamedTuple):
    """One overload of a Java method."""

    name: str
    arguments: tuple[str, ...]
    returns: str

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "arguments": list(self.arguments),
            "return-type": self.returns,
        }


class JavaError(Exception):
    """An exception as Java would throw it: its text starts with its Java class.

    Parameters
    ----------
    message : str
        The message.
    kind : str
        Java's class of the exception.
    """

    def __init__(self, message: str, kind: str = "java.lang.Exception") -> None:
        super().__init__(f"{kind}: {message}")


def method(returns: str, *arguments: str, name: str = "") -> Callable[[F], F]:
    """Make a method callable through the bridge; say it twice for two overloads.

    Its Java name is its own in camel case, or ``name``.
    """

    def mark(function: F) -> F:
        spec = Spec(name or _camel(function.__name__), arguments, returns)
        overloads = getattr(function, "java_overloads", ())
        function.java_overloads = (spec, *overloads)  # type: ignore[attr-defined]
        return function

    return mark


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


class JavaObject:
    """Base of everything that a client can hold a shadow of."""

    java_name: ClassVar[str] = OBJECT
    java_interfaces: ClassVar[tuple[str, ...]] = ()
    java_fields: ClassVar[tuple[str, ...]] = ()
    java_constructors: ClassVar[tuple[tuple[str, ...], ...]] = ()
    java_methods: ClassVar[dict[Spec, str]] = {}

    def __init_subclass__(
        cls,
        *,
        name: str = "",
        interfaces: tuple[str, ...] = (),
        fields: tuple[str, ...] = (),
        constructors: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        if not name:
            return
        cls.java_interfaces = (name, *interfaces, *cls.java_interfaces)
        cls.java_name = name
        cls.java_fields = cls.java_fields + fields
        cls.java_constructors = constructors
        cls.java_methods = _methods(cls)

    @classmethod
    def java_specs(cls) -> list[Spec]:
        """Return every overload of every method."""
        return list(cls.java_methods)

    def java_call(self, name: str, types: tuple[str, ...], arguments: list[Any]) -> Any:
        """Call a method by the overload that the client chose."""
        for spec, attribute in self.java_methods.items():
            if spec.name == name and spec.arguments == types:
                return getattr(self, attribute)(*arguments)
        raise JavaError(f"{self.java_name}.{name}{types}", "java.lang.NoSuchMethodException")

    def java_get(self, field: str) -> Any:
        """Return a public field."""
        self._check_field(field)
        return getattr(self, field)

    def java_set(self, field: str, value: Any) -> None:
        """Set a public field."""
        self._check_field(field)
        setattr(self, field, value)

    def _check_field(self, field: str) -> None:
        if field not in self.java_fields:
            raise JavaError(field, "java.lang.NoSuchFieldException")

    @method(STRING)
    def to_string(self) -> str:
        return f"{self.java_name}@{id(self):x}"


def _methods(cls: type[JavaObject]) -> dict[Spec, str]:
    return {
        spec: attribute
        for attribute in dir(cls)
        for spec in getattr(getattr(cls, attribute), "java_overloads", ())
    }


JavaObject.java_methods = _methods(JavaObject)
