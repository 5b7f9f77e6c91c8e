"""Java's small value classes as MMCoreJ returns them: vectors, rectangle, settings, hash map.

Knows: their Java names and methods. Must not know: the core that filled them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bridge.java import OBJECT, STRING, JavaError, JavaObject, method


class _Vector(JavaObject):
    """A SWIG vector: what its methods have in common for every element type."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self.items = list(items)

    @method("int")
    def size(self) -> int:
        return len(self.items)

    @method("boolean")
    def is_empty(self) -> bool:
        return not self.items

    @method("void")
    def clear(self) -> None:
        self.items.clear()

    def _at(self, index: int) -> Any:
        if not 0 <= index < len(self.items):
            raise JavaError("vector index out of range", "java.lang.IndexOutOfBoundsException")
        return self.items[index]


class StrVector(_Vector, name="mmcorej.StrVector", constructors=((), ("java.lang.String[]",))):
    """Texts."""

    @method(STRING, "int")
    def get(self, index: int) -> str:
        return str(self._at(index))

    @method("boolean", STRING)
    def add(self, item: str) -> bool:
        self.items.append(item)
        return True


class DoubleVector(_Vector, name="mmcorej.DoubleVector", constructors=((), ("double[]",))):
    """Numbers."""

    @method("java.lang.Double", "int")
    def get(self, index: int) -> float:
        return float(self._at(index))

    @method("boolean", "java.lang.Double")
    def add(self, item: float) -> bool:
        self.items.append(float(item))
        return True


class LongVector(_Vector, name="mmcorej.LongVector", constructors=((), ("int[]",))):
    """Whole numbers; a C++ long is a Java int."""

    @method("java.lang.Integer", "int")
    def get(self, index: int) -> int:
        return int(self._at(index))

    @method("boolean", "java.lang.Integer")
    def add(self, item: int) -> bool:
        self.items.append(int(item))
        return True


class Rectangle(JavaObject, name="java.awt.Rectangle", fields=("x", "y", "width", "height")):
    """A region, in pixels as delivered."""

    def __init__(self, x: int, y: int, width: int, height: int) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height

    @method("double")
    def get_x(self) -> float:
        return float(self.x)

    @method("double")
    def get_y(self) -> float:
        return float(self.y)

    @method("double")
    def get_width(self) -> float:
        return float(self.width)

    @method("double")
    def get_height(self) -> float:
        return float(self.height)


class Point(JavaObject, name="java.awt.geom.Point2D$Double", fields=("x", "y")):
    """A position of an XY stage, in um."""

    def __init__(self, x: float, y: float) -> None:
        self.x, self.y = x, y


class PropertySetting(JavaObject, name="mmcorej.PropertySetting"):
    """One property with its value."""

    def __init__(self, setting: Any) -> None:
        self._setting = setting

    @method(STRING)
    def get_device_label(self) -> str:
        return str(self._setting.getDeviceLabel())

    @method(STRING)
    def get_property_name(self) -> str:
        return str(self._setting.getPropertyName())

    @method(STRING)
    def get_property_value(self) -> str:
        return str(self._setting.getPropertyValue())

    @method("boolean")
    def get_read_only(self) -> bool:
        return bool(self._setting.getReadOnly())


class Configuration(JavaObject, name="mmcorej.Configuration"):
    """What a preset, or the whole system, sets."""

    def __init__(self, configuration: Any) -> None:
        self._configuration = configuration

    @method("long")
    def size(self) -> int:
        return int(self._configuration.size())

    @method("mmcorej.PropertySetting", "long")
    @method("mmcorej.PropertySetting", STRING, STRING)
    def get_setting(self, *which: int | str) -> PropertySetting:
        return PropertySetting(self._configuration.getSetting(*which))

    @method("boolean", STRING, STRING)
    def is_property_included(self, device: str, name: str) -> bool:
        return bool(self._configuration.isPropertyIncluded(device, name))

    @method(STRING)
    def get_verbose(self) -> str:
        return str(self._configuration.getVerbose())


class Enumerated(JavaObject):
    """A SWIG enumeration: a number with a name."""

    names: Sequence[str] = ()

    def __init__(self, value: int) -> None:
        self.value = int(value)

    @method("int")
    def swig_value(self) -> int:
        return self.value

    @method(STRING)
    def to_string(self) -> str:
        return self.names[self.value]


class PropertyType(Enumerated, name="mmcorej.PropertyType"):
    """How a property is written."""

    names = ("Undef", "String", "Float", "Integer")


class DeviceType(Enumerated, name="mmcorej.DeviceType"):
    """What a device is."""

    names = (
        "UnknownType", "AnyType", "CameraDevice", "ShutterDevice", "StateDevice", "StageDevice",
        "XYStageDevice", "SerialDevice", "GenericDevice", "AutoFocusDevice", "CoreDevice",
        "ImageProcessorDevice", "SignalIODevice", "MagnifierDevice", "SLMDevice", "HubDevice",
        "GalvoDevice", "PressurePumpDevice", "VolumetricPumpDevice",
    )  # fmt: skip


class HashMap(JavaObject, name="java.util.HashMap", interfaces=("java.util.Map",),
              constructors=((),)):  # fmt: skip
    """Java's dictionary; a client names an image's axes with it."""

    def __init__(self) -> None:
        self.items: dict[Any, Any] = {}

    @method(OBJECT, OBJECT, OBJECT)
    def put(self, key: Any, value: Any) -> Any:
        before = self.items.get(key)
        self.items[key] = value
        return before

    @method(OBJECT, OBJECT)
    def get(self, key: Any) -> Any:
        return self.items.get(key)

    @method("int")
    def size(self) -> int:
        return len(self.items)
