"""What a SPAR question points at, painted on its images: without it "the red point" is nowhere.

As VG-LLM paints (`draw_marker.py`), apart from the letters: those are of Pillow's own font.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from threedrs_platform.records import UInt8

RADIUS = 20
STROKE = 20
"""Pixels of the image at its own size, however large that is."""
THOUSANDTHS = 1000
LETTERS = 44
"""Height of the letters."""
Shape = Literal["point", "bbox"]
COLOURS = ("red", "blue", "green", "yellow")


@dataclass(frozen=True)
class Painting:
    """How one type of question is marked."""

    shape: Shape
    colours: tuple[str, ...] = ()
    """In the order of the list that says on which image each lies."""
    place: Literal["first", "listed", "together"] = "first"
    """On the first image; each on the image that is listed for it; all on the first listed."""
    named: str = ""
    """The colour of marks that come as a list, and are told apart by names."""


NOTHING = dict.fromkeys(
    (
        "distance_infer_center_oc", "distance_infer_center_oc_mv", "view_change_infer",
        "camera_motion_infer", "appearance_order", "room_size", "obj_count", "nav",
        "spatial_imagination_oc_video_hard", "spatial_imagination_oo_video_hard",
    )
)  # fmt: skip
PAINTINGS: Mapping[str, Painting | None] = {
    **NOTHING,
    "obj_spatial_relation_oo": Painting("bbox", ("red", "blue")),
    "depth_prediction_oc": Painting("point", ("red", "blue")),
    "depth_prediction_oo": Painting("point", ("red", "blue", "green")),
    "distance_prediction_oc": Painting("point", ("red",)),
    "distance_prediction_oo": Painting("point", ("red", "blue")),
    "distance_infer_center_oo": Painting("point", ("red", "blue", "green")),
    "spatial_volume_infer": Painting("bbox", ("red",)),
    "spatial_imagination_oc": Painting("bbox", ("red", "blue", "green")),
    "spatial_imagination_oo": Painting("bbox", ("red", "blue", "green", "yellow")),
    "position_matching": Painting("bbox", ("red",)),
    "depth_prediction_oc_mv": Painting("point", ("red", "blue"), "listed"),
    "depth_prediction_oo_mv": Painting("point", ("red", "blue", "green"), "listed"),
    "distance_prediction_oc_mv": Painting("point", ("red",), "listed"),
    "distance_prediction_oo_mv": Painting("point", ("red", "blue"), "listed"),
    "obj_spatial_relation_oc_mv": Painting("bbox", ("red", "blue", "green"), "together"),
    "obj_spatial_relation_oo_mv": Painting("bbox", ("red", "blue", "green"), "listed"),
    "distance_infer_center_oo_mv": Painting("point", ("red", "green", "blue"), "listed"),
    "spatial_imagination_oc_mv": Painting("bbox", ("green", "blue", "red"), "listed"),
    "spatial_imagination_oo_mv": Painting("bbox", ("green", "blue", "red", "yellow"), "listed"),
    "spatial_imagination_map_mv": Painting("bbox", place="listed", named="blue"),
    "distance_prediction_oo_video": Painting("point", ("red", "blue"), "listed"),
    "distance_infer_center_oo_video": Painting("point", place="listed", named="blue"),
    "spatial_imagination_oc_video": Painting("bbox", ("green", "blue", "red"), "listed"),
    "spatial_imagination_oo_video": Painting("bbox", ("green", "blue", "red", "yellow"), "listed"),
    "obj_frame_locate": Painting("bbox", ("red",), "listed"),
}
"""By type; None marks nothing. A type that is not here has all its marks painted."""
NAMED = (
    "spatial_imagination_map_mv",
    "spatial_imagination_oc_video",
    "spatial_imagination_oo_video",
)
"""Types whose questions say object0, object1, ..."""


@dataclass(frozen=True)
class Mark:
    """One disc or one rectangle."""

    shape: Shape
    colour: str
    image: int
    at: tuple[float, ...]
    """x y, or x y x y, in thousandths of the image's width and height."""
    name: str = ""
    """Written beside it."""


def marks_of(spar_info: str, num_images: int) -> list[Mark]:
    """The marks of a record.

    Args:
        spar_info: its field of that name, JSON text.
        num_images: of the record.

    Raises:
        ValueError: it is no such text, or a mark is missing or lies outside its image.
    """
    info = json.loads(spar_info)
    kind = info.get("type") if isinstance(info, dict) else None
    if not isinstance(kind, str):
        raise ValueError("spar_info: no type")
    if kind in PAINTINGS:
        painting = PAINTINGS[kind]
        marks = [] if painting is None else _painted(kind, painting, info)
    else:
        marks = [mark for shape in ("point", "bbox") for mark in _every(shape, info)]
    for mark in marks:
        if not 0 <= mark.image < num_images:
            raise ValueError(f"spar_info: a mark on image {mark.image} of {num_images}")
    return marks


def paint(images: Sequence[UInt8], marks: Sequence[Mark]) -> list[UInt8]:
    """The images [H, W, 3] with their marks; those without any are handed on."""
    painted = list(images)
    for index in sorted({mark.image for mark in marks}):
        image = Image.fromarray(painted[index])
        for mark in marks:
            if mark.image == index:
                _draw(image, mark)
        painted[index] = np.asarray(image)
    return painted


def _painted(kind: str, painting: Painting, info: Mapping[str, Any]) -> list[Mark]:
    shape = painting.shape
    if painting.named:
        return _listed(shape, painting.named, kind, info)
    given = [colour for colour in painting.colours if info.get(f"{colour}_{shape}")]
    # The relation of two objects is asked about two of three colours, whichever these are.
    if given != list(painting.colours) and not kind.startswith("obj_spatial_relation"):
        missing = sorted(set(painting.colours) - set(given))
        raise ValueError(f"spar_info: {kind} needs {missing[0]}_{shape}")
    places = [0] * len(given) if painting.place == "first" else _places(shape, info)
    if painting.place == "together":
        places = places[:1] * len(given)
    if len(places) < len(given):
        raise ValueError(f"spar_info: {shape}_img_idx lists {len(places)} of {len(given)} images")
    return [
        Mark(
            shape,
            colour,
            places[index],
            _at(shape, _only(info[f"{colour}_{shape}"])),
            _name(kind, index),
        )
        for index, colour in enumerate(given)
    ]


def _listed(shape: Shape, colour: str, kind: str, info: Mapping[str, Any]) -> list[Mark]:
    values, places = _only(info.get(f"{shape}_list")), _places(shape, info)
    if not isinstance(values, list) or len(values) > len(places):
        raise ValueError(f"spar_info: {kind} needs {shape}_list, and an image for each of it")
    return [
        Mark(shape, colour, places[index], _at(shape, each), _name(kind, index))
        for index, each in enumerate(values)
    ]


def _every(shape: Shape, info: Mapping[str, Any]) -> list[Mark]:
    """All marks of a type that nobody has described: each on its image if one is listed."""
    given = [colour for colour in COLOURS if info.get(f"{colour}_{shape}")]
    places = _places(shape, info) if f"{shape}_img_idx" in info else []
    places += [places[-1] if places else 0] * len(given)
    return [
        Mark(shape, colour, place, _at(shape, _only(info[f"{colour}_{shape}"])))
        for colour, place in zip(given, places, strict=False)
    ]


def _only(value: Any) -> Any:
    """Every mark of a colour is a list of one."""
    return value[0] if isinstance(value, list) and value else value


def _name(kind: str, index: int) -> str:
    """What the question calls the mark, where names are painted."""
    if kind == "distance_infer_center_oo_video":
        return "objectA" if index == 0 else f"object{index - 1}"
    return f"object{index}" if kind in NAMED else ""


def _places(shape: Shape, info: Mapping[str, Any]) -> list[int]:
    listed = info.get(f"{shape}_img_idx")
    if not isinstance(listed, list) or not listed or not isinstance(listed[0], list):
        raise ValueError(f"spar_info: {shape}_img_idx must be a list of lists of image numbers")
    if not all(isinstance(place, int) for place in listed[0]):
        raise ValueError(
            f"spar_info: {shape}_img_idx holds {listed[0]}, image numbers belong there"
        )
    return listed[0]


def _at(shape: Shape, value: Any) -> tuple[float, ...]:
    size = 2 if shape == "point" else 4
    numbers = tuple(value) if isinstance(value, list) else ()
    inside = all(isinstance(v, int | float) and 0 <= v <= THOUSANDTHS for v in numbers)
    if len(numbers) != size or not inside:
        raise ValueError(f"spar_info: {value!r} is no {shape} of {size} numbers from 0 to 1000")
    return tuple(map(float, numbers))


def _draw(image: Image.Image, mark: Mark) -> None:
    draw = ImageDraw.Draw(image)
    sides = (image.width, image.height) * (len(mark.at) // 2)
    at = [value / THOUSANDTHS * side for value, side in zip(mark.at, sides, strict=True)]
    if mark.shape == "point":
        x, y = map(int, at)
        draw.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), fill=mark.colour)
        beside = (x + RADIUS, y + RADIUS - LETTERS)
    else:
        outside = STROKE * 7 / 8  # the rest of the stroke lies on the object's edge
        left, top, right, bottom = at
        edges = (left - outside, top - outside, right + outside, bottom + outside)
        first, last = map(int, edges[:2]), map(int, edges[2:])
        (x0, y0), (x1, y1) = first, last
        draw.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=mark.colour, width=STROKE)
        beside = (max(0, int(left)), min(int(bottom), image.height - LETTERS))
    if mark.name:
        draw.text(beside, mark.name, fill="lime", font=ImageFont.load_default(LETTERS))
