"""A Vega-Lite specification as SVG: inline in a page, or as a file of its own.

What Vega writes is parsed and written again: only elements and attributes that draw are kept, each mark's description
becomes a `<title>` (the browser's tooltip), clip paths get names that are unique on the page, numbers two decimals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from kaggle_tools.files import digest

_SVG = "{http://www.w3.org/2000/svg}"
_DROPPED = {"role", "class", "pointer-events", "font-family", "version", "width", "height", "stroke-miterlimit"}
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?")
# XML knows no other control characters; in an SVG file one would be the end of the drawing.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def inline(spec: Mapping[str, Any]) -> str:
    """SVG to stand in an HTML page, without a size of its own beside its `viewBox`."""
    import vl_convert

    root = ElementTree.fromstring(vl_convert.vegalite_to_svg(_clean(spec)))
    _, _, width, _ = root.attrib["viewBox"].split()
    prefix = "c" + digest(repr(spec))[:10]
    _simplify(root, prefix)
    root.attrib["style"] = f"max-width:{float(width):.0f}px"
    root.attrib["aria-hidden"] = "true"
    ElementTree.register_namespace("", _SVG[1:-1])
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
    return text.replace(' xmlns="http://www.w3.org/2000/svg"', "", 1)


def to_svg(spec: Mapping[str, Any]) -> str:
    """An SVG file, in the light colours on white."""
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(_on_white(spec))
    return svg


def to_png(spec: Mapping[str, Any], scale: float = 2.0) -> bytes:
    """A PNG file, in the light colours on white; `scale` pixels for each of the drawing's."""
    import vl_convert

    png: bytes = vl_convert.vegalite_to_png(_on_white(spec), scale=scale)
    return png


def _on_white(spec: Mapping[str, Any]) -> Any:
    return {**_clean(spec), "background": "#ffffff", "padding": 16}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _FORBIDDEN.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value


def _simplify(element: ElementTree.Element, prefix: str) -> None:
    for child in list(element):
        if _draws_nothing(child):
            element.remove(child)
        else:
            _simplify(child, prefix)
    attributes = element.attrib
    label = attributes.get("aria-label")
    if label and attributes.get("role") == "graphics-symbol" and element.tag != f"{_SVG}g":
        title = ElementTree.Element(f"{_SVG}title")
        title.text = label
        element.insert(0, title)
    for name in list(attributes):
        value = attributes[name]
        if name in _DROPPED or name.startswith("aria-") or (value == "1" and name.endswith("opacity")):
            del attributes[name]
        elif name == "id":
            attributes[name] = prefix + value
        elif name == "clip-path":
            attributes[name] = value.replace("#", f"#{prefix}")
        else:
            attributes[name] = _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.2f}", value)


def _draws_nothing(element: ElementTree.Element) -> bool:
    """Backgrounds and foregrounds of groups that have neither a colour nor a shape."""
    attributes = element.attrib
    if element.tag == f"{_SVG}path":
        painted = attributes.get("fill", "") not in ("", "none") or attributes.get("stroke", "none") != "none"
        return not attributes.get("d") or (attributes.get("class") in ("background", "foreground") and not painted)
    return element.tag == f"{_SVG}g" and not len(element)
