"""Street-like scenes with their true labels, drawn from random numbers: data for those who have none yet.

A pinhole camera stands on a straight street. Everything has a place and a size in metres (x to the right of
the camera, y above the road, z ahead), so that perspective and mutual sizes are right. What is far is drawn
first. Labels are Cityscapes' train ids, and 255 on the bonnet of the camera car, which is no class.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from search.data.scenes import things as draw
from search.data.scenes.figure import Figure
from search.data.scenes.surfaces import Surfaces
from search.data.scenes.things import FAR_M, Canvas, Color, shade, steps

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
MEASURED_M = 80.0  # how far a car's laser sees, and how far depth is scored outdoors (KITTI)

PAINTS = (
    (178, 34, 40),
    (36, 62, 110),
    (226, 226, 224),
    (46, 48, 52),
    (126, 132, 138),
    (62, 96, 72),
    (190, 150, 66),
)
FACADES = (
    (176, 158, 136),
    (150, 104, 84),
    (198, 188, 172),
    (132, 132, 138),
    (190, 148, 110),
    (168, 122, 110),
)
LONG_VEHICLES = ((draw.TRUCK, 8.0), (draw.BUS, 11.0), (draw.TRAIN, 24.0))  # lengths in metres


def draw_scene(height: int, width: int, rng: np.random.Generator) -> tuple[UInt8, UInt8]:
    """Draw one scene. Equal generators give equal scenes.

    Returns:
        image, (height, width, 3) uint8 RGB, and its labels, (height, width) uint8: train ids 0-18, or 255.
    """
    canvas = _drawn(height, width, rng)
    return _textured(canvas.image, rng), np.array(canvas.labels)


def draw_measured_scene(height: int, width: int, rng: np.random.Generator) -> tuple[UInt8, Float32]:
    """The scene that ``draw_scene`` draws, and how far everything in it is.

    Returns:
        image, (height, width, 3) uint8 RGB, and depth, (height, width) float32: metres along the optical
        axis, or 0 for the sky, the bonnet of the camera car and what is beyond the range of sensors.
    """
    surfaces = Surfaces(height, width)
    canvas = _drawn(height, width, rng, surfaces)
    return _textured(canvas.image, rng), surfaces.depth_m(MEASURED_M)


def draw_person(
    height: int, width: int, rng: np.random.Generator
) -> tuple[UInt8, dict[str, draw.Point], float]:
    """A person in the middle of a scene, nothing in front of them.

    Returns:
        image, (height, width, 3) uint8 RGB; x and y of each key point, pixels, where the middle of the first
        pixel is 0, also of those outside of the picture; and the head's size as MPII has it, pixels.
    """
    canvas, street = Canvas(height, width, rng), _Street(rng)
    figure = Figure.drawn(rng.uniform(street.left, street.right), rng.uniform(*_PERSON_M), rng)
    x, y, z = figure.middle.tolist()
    focal = rng.uniform(*_PERSON_HIGH) * height * z / figure.tall
    canvas.look_at((x, y, z), focal, (width * rng.uniform(0.42, 0.58), height * rng.uniform(0.45, 0.55)))
    _draw_street(canvas, street, rng, beyond_m=z + 1)
    figure.draw(canvas)
    points = {name: canvas.at(*at) for name, at in figure.points.items()}
    middles = {name: (across - 0.5, down - 0.5) for name, (across, down) in points.items()}
    return _textured(canvas.image, rng), middles, figure.head_m * focal / z


_PERSON_M, _PERSON_HIGH = (5.0, 14.0), (0.55, 0.85)  # how far, and which part of the picture, standing


def _drawn(height: int, width: int, rng: np.random.Generator, surfaces: Surfaces | None = None) -> Canvas:
    canvas = Canvas(height, width, rng, surfaces)
    _draw_street(canvas, _Street(rng), rng)
    if rng.random() < 0.3:
        _draw_bonnet(canvas, rng)
    return canvas


def _draw_street(canvas: Canvas, street: "_Street", rng: np.random.Generator, beyond_m: float = 0.0) -> None:
    """All of it, but for what stands or moves nearer than ``beyond_m``."""
    _draw_sky(canvas, rng)
    _draw_ground(canvas, street, rng)
    _draw_buildings(canvas, street, rng)
    things = [*_furniture(street, rng), *_traffic(street, rng), *_people(street, rng)]
    for thing in sorted(things, key=lambda thing: -thing.z):
        if thing.z > beyond_m:
            thing.draw(canvas, thing.x, thing.z)


class _Street:
    """Where the road ends on either side, in metres from the camera, and how wide the pavements are."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.lane = rng.uniform(3.1, 3.7)
        self.right = self.lane / 2 + 2.2 * (rng.random() < 0.6)  # with or without room to park
        self.left = -1.5 * self.lane - 2.2 * (rng.random() < 0.6)
        self.walk = rng.uniform(2.2, 4.0)
        self.garden = float(rng.choice([0.0, 0.0, 3.0, 6.0]))
        self.sun = int(rng.choice([-1, 1]))

    def edge(self, side: int, beyond: float = 0.0) -> float:
        """x of the kerb on a side (-1 left, 1 right), or of what lies so many metres beyond it."""
        return (self.right if side > 0 else self.left) + side * beyond


@dataclass(frozen=True, slots=True)
class _Thing:
    x: float
    z: float
    draw: Callable[[Canvas, float, float], None]


def _places(start: float, gap: tuple[float, float], rng: np.random.Generator) -> Iterator[float]:
    """Distances along the street, ``gap`` metres apart."""
    z = start + rng.uniform(0, gap[1])
    while z < 0.8 * FAR_M:
        yield z
        z += rng.uniform(*gap)


def _draw_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    width, height = canvas.image.size
    down = np.clip(np.arange(height) / canvas.centre[1], 0, 1)[:, None, None]
    rows = np.asarray(canvas.sky) * (1 - down) + np.asarray(canvas.haze) * down
    patches = Image.fromarray((rng.random((5, 7)) * 255).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    clouds = np.clip(np.asarray(patches, np.float32) / 255 - 0.55, 0, 1)[..., None] * rng.uniform(0.2, 1.6)
    canvas.image.paste(Image.fromarray((rows + (250 - rows) * np.clip(clouds, 0, 1)).astype(np.uint8)))
    canvas.labels.paste(draw.SKY, (0, 0, width, height))


def _draw_ground(canvas: Canvas, street: _Street, rng: np.random.Generator) -> None:
    near = 0.5
    grass = shade((96, 122, 62), rng.uniform(0.8, 1.1))
    canvas.ground(-400, 400, near, FAR_M, grass, draw.TERRAIN)
    pavement = shade((152, 148, 144), rng.uniform(0.85, 1.1))
    asphalt = shade((88, 88, 92), rng.uniform(0.75, 1.15))
    left, right = street.edge(-1, street.walk), street.edge(1, street.walk)
    canvas.ground(left, right, near, FAR_M, pavement, draw.SIDEWALK)
    canvas.ground(street.left, street.right, near, FAR_M, asphalt, draw.ROAD)
    for side in (-1, 1):
        kerb = street.edge(side)
        canvas.ground(kerb, kerb + side * 0.18, near, FAR_M, shade(pavement, 1.2), None)
    line = (222, 222, 214)
    for z in steps(2 + rng.uniform(0, 6), FAR_M, 9.0):
        canvas.ground(-street.lane / 2 - 0.07, -street.lane / 2 + 0.07, z, z + 4, line, None)
    if rng.random() < 0.3:
        z = rng.uniform(7, 22)
        for x in steps(street.left + 0.3, street.right - 0.4, 1.0):
            canvas.ground(x, x + 0.5, z, z + 3, line, None)


def _draw_buildings(canvas: Canvas, street: _Street, rng: np.random.Generator) -> None:
    for x in steps(-120, 120, 12):  # what closes the street off, far away
        height = rng.uniform(3, 13)
        if rng.random() < 0.5:
            canvas.front(x, x + 13, 0, height, FAR_M, FACADES[rng.integers(len(FACADES))], draw.BUILDING)
        else:
            canvas.disc(x + 6, height * 0.4, 9, height * 0.6, FAR_M, (84, 110, 62), draw.VEGETATION)
    for side in (-1, 1):
        facade = street.edge(side, street.walk + street.garden)
        light = 1.08 if side == street.sun else 0.82
        ends = [1.0]
        while ends[-1] < FAR_M:
            ends.append(ends[-1] + rng.uniform(9, 24))
        for z0, z1 in reversed(list(pairwise(ends))):
            if rng.random() < 0.84:
                color = shade(FACADES[rng.integers(len(FACADES))], light * rng.uniform(0.9, 1.1))
                _draw_house(canvas, facade, side, z0, z1, int(rng.integers(2, 7)), color)
            else:
                _draw_gap(canvas, facade, side, z0, z1, rng)


def _draw_house(canvas: Canvas, x: float, side: int, z0: float, z1: float, floors: int, color: Color) -> None:
    top = 3.2 * floors + 0.8
    canvas.front(min(x, x + 12 * side), max(x, x + 12 * side), 0, top, z0, shade(color, 0.7), draw.BUILDING)
    canvas.side(x, 0, top, z0, z1, color, draw.BUILDING)
    canvas.side(x, top - 0.5, top, z0, z1, shade(color, 0.75), None)
    canvas.side(x, 0, 0.7, z0, z1, shade(color, 0.7), None)
    if z0 > 0.6 * FAR_M:
        return  # windows would be specks
    columns = max(2, int((z1 - z0) / 3.2))
    step = (z1 - z0) / columns
    for column in range(columns):
        z = z0 + (column + 0.25) * step
        for floor in range(floors):
            y = 3.2 * floor + 1.2
            canvas.side(x, y - 0.12, y + 1.72, z - 0.1, z + step / 2 + 0.1, shade(color, 1.25), None)
            glass = shade(draw.GLASS, 0.8 + 0.125 * ((column * 7 + floor * 3) % 5))
            canvas.side(x, y, y + 1.6, z, z + step / 2, glass, None)


def _draw_gap(canvas: Canvas, x: float, side: int, z0: float, z1: float, rng: np.random.Generator) -> None:
    """Between two houses: trees behind a wall or a fence."""
    for _ in range(4):
        behind, z = x + side * rng.uniform(4, 9), rng.uniform(z0 + 3, z1 + 3)
        draw.crown(int(rng.integers(1 << 30)), 2.5, canvas, behind, z)
    if rng.random() < 0.5:
        canvas.side(x, 0, rng.uniform(1.2, 2.4), z0, z1, (146, 128, 118), draw.WALL)
        return
    canvas.side(x, 0, 1.3, z0, z1, (104, 100, 84), draw.FENCE)
    for z in steps(z0, z1, 0.8):
        canvas.side(x, 0.1, 1.2, z, z + 0.35, (136, 128, 104), None)


def _furniture(street: _Street, rng: np.random.Generator) -> Iterator[_Thing]:
    """Trees, lamps, traffic lights and signs along both kerbs."""
    for side in (-1, 1):
        if rng.random() < 0.75:
            for z in _places(7, (8, 22), rng):
                tree = partial(draw.tree, int(rng.integers(1 << 30)), rng.uniform(1.3, 2.4))
                yield _Thing(street.edge(side, rng.uniform(0.8, street.walk)), z, tree)
        for z in _places(9, (24, 36), rng):
            yield _Thing(street.edge(side, 0.5), z, partial(draw.lamp, side))
        for z in _places(6, (14, 50), rng):
            if rng.random() < 0.35:
                yield _Thing(street.edge(side, 0.6), z, partial(draw.light, int(rng.integers(3))))
            else:
                yield _Thing(street.edge(side, 0.6), z, partial(draw.sign, int(rng.integers(3))))


def _traffic(street: _Street, rng: np.random.Generator) -> Iterator[_Thing]:
    """Vehicles ahead, oncoming and, where there is room, parked."""
    red, white = (208, 40, 36), (248, 246, 226)
    lanes = [(0.0, red, (16.0, 50.0)), (-street.lane, white, (14.0, 46.0))]
    lanes += [(street.right - 1.1, red, (6.0, 15.0))] * (street.right > street.lane)
    lanes += [(street.left + 1.1, white, (6.0, 15.0))] * (street.left < -1.8 * street.lane)
    for x, lights, gap in lanes:
        for z in _places(5 if x else 9, gap, rng):
            paint, kind = PAINTS[rng.integers(len(PAINTS))], rng.random()
            if kind < 0.72:
                yield _Thing(x + rng.uniform(-0.2, 0.2), z, partial(draw.car, paint, lights))
            elif kind < 0.86:
                label = int(rng.choice([draw.BICYCLE, draw.MOTORCYCLE]))
                yield _Thing(x + rng.uniform(-0.6, 0.6), z, partial(draw.rider, label, paint))
            elif gap[0] > 10:  # nothing so long parks
                label, long = LONG_VEHICLES[rng.choice(3, p=[0.45, 0.35, 0.2])]
                yield _Thing(x, z + 4, partial(draw.box, label, long, paint))


def _people(street: _Street, rng: np.random.Generator) -> Iterator[_Thing]:
    """Pedestrians and parked bicycles on the pavements; now and then somebody crosses."""
    crossing = [(rng.uniform(street.left, street.right), rng.uniform(8, 25))] * (rng.random() < 0.35)
    walking = [
        (street.edge(side, rng.uniform(0.5, street.walk - 0.3)), z)
        for side in (-1, 1)
        for z in _places(5, (3, 18), rng)
    ]
    for x, z in crossing + walking:
        paint = PAINTS[rng.integers(len(PAINTS))]
        if rng.random() < 0.12 and (x, z) not in crossing:
            yield _Thing(x, z, partial(draw.parked_bicycle, paint))
        else:
            legs = shade(draw.CLOTH, rng.uniform(0.7, 1.8))
            yield _Thing(x, z, partial(draw.person, rng.uniform(1.5, 1.9), paint, legs))


def _draw_bonnet(canvas: Canvas, rng: np.random.Generator) -> None:
    width, height = canvas.image.size
    rise = height * rng.uniform(0.05, 0.1)
    across = np.linspace(-1, 1, 33)
    arc = [(width * (0.5 + 0.62 * t), height - rise * (1 - t * t)) for t in across]
    color = shade(PAINTS[rng.integers(len(PAINTS))], 0.6)
    canvas.on_lens([*arc, (width * 1.2, height + 1), (-width * 0.2, height + 1)], color)


def _textured(picture: Image.Image, rng: np.random.Generator) -> UInt8:
    """Soft edges, grain and uneven light, as of a real lens and sensor. Labels keep their sharp edges."""
    width, height = picture.size
    soft = picture.filter(ImageFilter.GaussianBlur(0.0016 * height + 0.2))
    stains = Image.fromarray((rng.random((9, 13)) * 255).astype(np.uint8))
    stains = stains.resize((width, height), Image.Resampling.BICUBIC)
    light = rng.uniform(0.78, 1.1) + 0.16 * (np.asarray(stains, np.float32) / 255 - 0.5)
    grain = rng.standard_normal((height, width), np.float32) * rng.uniform(2, 6)
    pixels = np.asarray(soft, np.float32) * light[..., None] + grain[..., None]
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
