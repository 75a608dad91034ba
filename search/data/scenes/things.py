"""What stands and moves in a drawn street, and the canvas it is drawn on; see ``scene.py``."""

import numpy as np
from PIL import Image, ImageDraw

from search.data.scenes.surfaces import Surfaces

Color = tuple[int, int, int]
Point = tuple[float, float]
Corner = tuple[float, float, float]  # x, y, z in metres

ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN, VEGETATION, TERRAIN = range(10)
SKY, PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = range(10, 19)
UNKNOWN = 255

FAR_M = 150.0
CAMERA_HEIGHT_M = 1.5

GLASS, RUBBER, STEEL, CLOTH = (52, 62, 74), (28, 28, 30), (112, 116, 118), (48, 50, 62)
SKIES = (  # overhead and at the horizon: clear, overcast, evening
    ((70, 124, 196), (196, 216, 234)),
    ((150, 164, 180), (214, 218, 222)),
    ((88, 112, 168), (240, 206, 168)),
)


class Canvas:
    """Picture and labels, drawn by the same strokes, which are given in metres. Label None: colour alone.

    Args:
        surfaces: is told what is drawn where, if anybody wants to know how far it is.
    """

    def __init__(
        self, height: int, width: int, rng: np.random.Generator, surfaces: Surfaces | None = None
    ) -> None:
        self.image = Image.new("RGB", (width, height))
        self.labels = Image.new("L", (width, height), UNKNOWN)
        self._surfaces = surfaces
        self.focal = width * rng.uniform(0.75, 1.0)
        self.centre = (width * rng.uniform(0.42, 0.58), height * rng.uniform(0.38, 0.48))
        self.sky, self.haze = SKIES[rng.integers(len(SKIES))]
        self._paint = ImageDraw.Draw(self.image)
        self._mark = ImageDraw.Draw(self.labels)

    def at(self, x: float, y: float, z: float) -> Point:
        scale = self.focal / z
        return self.centre[0] + x * scale, self.centre[1] + (CAMERA_HEIGHT_M - y) * scale

    def look_at(self, what: Corner, focal: float, at: Point) -> None:
        """Another lens, by which something in metres is seen at a place in pixels."""
        (x, y, z), self.focal = what, focal
        self.centre = (at[0] - x * focal / z, at[1] - (CAMERA_HEIGHT_M - y) * focal / z)

    def face(self, corners: list[Corner], color: Color, label: int | None, z: float) -> None:
        """A flat surface; ``z`` says how hazy it is."""
        points = [self.at(*corner) for corner in corners]
        self._paint.polygon(points, self._hazy(color, z))
        if label is not None:
            self._mark.polygon(points, label)
            if self._surfaces:
                self._surfaces.polygon(points, [depth for _, _, depth in corners])

    def on_lens(self, points: list[Point], color: Color) -> None:
        """What is in the way of the camera, in pixels; nobody labels it."""
        self._paint.polygon(points, color)
        self._mark.polygon(points, UNKNOWN)
        if self._surfaces:
            self._surfaces.nothing(points)

    def front(
        self, x0: float, x1: float, y0: float, y1: float, z: float, color: Color, label: int | None
    ) -> None:
        """A rectangle that faces the camera."""
        self.face([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], color, label, z)

    def side(
        self, x: float, y0: float, y1: float, z0: float, z1: float, color: Color, label: int | None
    ) -> None:
        """An upright rectangle along the street."""
        self.face([(x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)], color, label, z0)

    def ground(self, x0: float, x1: float, z0: float, z1: float, color: Color, label: int | None) -> None:
        self.face([(x0, 0, z0), (x1, 0, z0), (x1, 0, z1), (x0, 0, z1)], color, label, z0)

    def disc(
        self, x: float, y: float, rx: float, ry: float, z: float, color: Color, label: int | None
    ) -> None:
        left, top = self.at(x - rx, y + ry, z)
        right, bottom = self.at(x + rx, y - ry, z)
        self._paint.ellipse((left, top, right, bottom), self._hazy(color, z))
        if label is not None:
            self._mark.ellipse((left, top, right, bottom), label)
            if self._surfaces:
                self._surfaces.ellipse((left, top, right, bottom), z)

    def _hazy(self, color: Color, z: float) -> Color:
        share = 0.75 * min(z / FAR_M, 1)
        red, green, blue = (round(c + (h - c) * share) for c, h in zip(color, self.haze, strict=True))
        return red, green, blue


def shade(color: Color, factor: float) -> Color:
    red, green, blue = (min(255, round(c * factor)) for c in color)
    return red, green, blue


def steps(start: float, stop: float, step: float) -> list[float]:
    """``start``, ``start + step`` and so on, below ``stop``."""
    return [float(value) for value in np.arange(start, stop, step)]


def crown(seed: int, radius: float, canvas: Canvas, x: float, z: float) -> None:
    """A ball of leaves around 1.6 times its radius above the ground."""
    rng = np.random.default_rng(seed)
    green = shade((78, 112, 48), rng.uniform(0.75, 1.2))
    for layer in range(14):
        dx, dy = rng.normal(0, 0.45 * radius, 2)
        size = radius * rng.uniform(0.35, 0.6)
        tone = shade(green, 0.72 + 0.045 * layer)
        canvas.disc(x + dx, 1.8 + radius + dy + 0.04 * layer * radius, size, size, z, tone, VEGETATION)


def tree(seed: int, radius: float, canvas: Canvas, x: float, z: float) -> None:
    canvas.front(x - 0.16, x + 0.16, 0, 1.4 + radius, z, (86, 68, 52), VEGETATION)
    crown(seed, radius, canvas, x, z)


def lamp(side: int, canvas: Canvas, x: float, z: float) -> None:
    canvas.front(x - 0.08, x + 0.08, 0, 7.5, z, STEEL, POLE)
    canvas.front(min(x, x - side * 1.6), max(x, x - side * 1.6), 7.4, 7.55, z, STEEL, POLE)
    canvas.disc(x - side * 1.6, 7.35, 0.4, 0.14, z, (216, 214, 200), POLE)


def light(lit: int, canvas: Canvas, x: float, z: float) -> None:
    canvas.front(x - 0.07, x + 0.07, 0, 3.4, z, STEEL, POLE)
    canvas.front(x - 0.2, x + 0.2, 2.5, 3.6, z, (34, 36, 36), TRAFFIC_LIGHT)
    lamps = ((232, 52, 40), (242, 182, 44), (60, 208, 96))
    for index, color in enumerate(lamps):
        canvas.disc(x, 3.4 - 0.34 * index, 0.13, 0.13, z, color if index == lit else shade(color, 0.3), None)


def sign(kind: int, canvas: Canvas, x: float, z: float) -> None:
    canvas.front(x - 0.05, x + 0.05, 0, 2.4, z, STEEL, POLE)
    if kind == 0:
        canvas.disc(x, 2.5, 0.38, 0.38, z, (206, 36, 40), TRAFFIC_SIGN)
        canvas.disc(x, 2.5, 0.27, 0.27, z, (240, 240, 238), None)
    elif kind == 1:
        corners = [(x - 0.42, 2.15, z), (x + 0.42, 2.15, z), (x, 2.9, z)]
        canvas.face(corners, (214, 52, 44), TRAFFIC_SIGN, z)
        inner = [(x - 0.24, 2.26, z), (x + 0.24, 2.26, z), (x, 2.7, z)]
        canvas.face(inner, (240, 240, 238), None, z)
    else:
        canvas.front(x - 0.36, x + 0.36, 2.1, 2.85, z, (34, 84, 172), TRAFFIC_SIGN)
        canvas.front(x - 0.08, x + 0.08, 2.2, 2.75, z, (236, 238, 240), None)


def car(paint: Color, lights: Color, canvas: Canvas, x: float, z: float) -> None:
    half, long = 0.9, 4.3
    canvas.ground(x - half - 0.1, x + half + 0.1, z - 0.2, z + long, (44, 44, 48), None)
    if abs(x) > half:
        inner = -1 if x > 0 else 1  # the flank that the camera sees
        flank, roof = x + inner * half, x + inner * (half - 0.22)
        canvas.side(flank, 0.3, 0.92, z, z + long, shade(paint, 0.78), CAR)
        for wheel in (z + 0.5, z + long - 1.2):
            canvas.side(flank, 0.0, 0.62, wheel, wheel + 0.66, RUBBER, CAR)
        corners = [(flank, 0.9, z + 0.2), (flank, 0.9, z + 3.2), (roof, 1.45, z + 2.4), (roof, 1.45, z + 0.7)]
        canvas.face(corners, shade(GLASS, 0.9), CAR, z)
    for inset, color in ((0.0, paint), (0.09, GLASS)):
        low, high = half - 0.06 - inset, half - 0.22 - inset
        corners = [(-low, 0.9, 0.2), (low, 0.9, 0.2), (high, 1.47 - inset, 0.7), (-high, 1.47 - inset, 0.7)]
        canvas.face([(x + dx, y, z + dz) for dx, y, dz in corners], color, CAR, z)
    for tyre in (-half + 0.02, half - 0.24):
        canvas.front(x + tyre, x + tyre + 0.22, 0, 0.4, z, RUBBER, CAR)
    canvas.front(x - half, x + half, 0.3, 0.94, z, paint, CAR)
    canvas.front(x - half, x + half, 0.3, 0.46, z, shade(paint, 0.55), None)
    canvas.front(x - 0.26, x + 0.26, 0.52, 0.64, z, (228, 228, 220), None)
    for lamp in (-half + 0.16, half - 0.16):
        canvas.disc(x + lamp, 0.78, 0.15, 0.08, z, lights, None)


def box(label: int, long: float, paint: Color, canvas: Canvas, x: float, z: float) -> None:
    """A bus, a tram or a lorry."""
    half, top = 1.25, 3.2
    canvas.ground(x - half - 0.1, x + half + 0.1, z - 0.2, z + long, (44, 44, 48), None)
    if abs(x) > half:
        flank = x + (-half if x > 0 else half)
        canvas.side(flank, 0.35, top, z, z + long, shade(paint, 0.8), label)
        for wheel in (z + 1.2, z + long - 2.2):
            canvas.side(flank, 0.0, 0.9, wheel, wheel + 0.95, RUBBER, label)
        if label != TRUCK:
            for pane in steps(z + 0.4, z + long - 1, 1.5):
                canvas.side(flank, 1.5, 2.6, pane, pane + 1.3, GLASS, None)
    for tyre in (-half + 0.1, half - 0.45):
        canvas.front(x + tyre, x + tyre + 0.35, 0, 0.5, z, RUBBER, label)
    canvas.front(x - half, x + half, 0.35, top, z, paint, label)
    if label == TRUCK:
        canvas.front(x - 0.03, x + 0.03, 0.9, top - 0.1, z, shade(paint, 0.6), None)
    else:
        canvas.front(x - half + 0.15, x + half - 0.15, 1.45, 2.6, z, GLASS, None)
        canvas.front(x - 0.7, x + 0.7, 2.75, 3.0, z, (240, 190, 60), None)
    for lamp in (-half + 0.25, half - 0.25):
        canvas.disc(x + lamp, 0.75, 0.15, 0.1, z, (220, 60, 48), None)


def person(tall: float, top: Color, legs: Color, canvas: Canvas, x: float, z: float) -> None:
    hip, neck = 0.48 * tall, 0.84 * tall
    canvas.front(x - 0.17, x - 0.02, 0, hip, z, legs, PERSON)
    canvas.front(x + 0.03, x + 0.18, 0, hip, z, shade(legs, 0.8), PERSON)
    _draw_torso(tall, hip, neck, top, PERSON, canvas, x, z)


def _draw_torso(
    tall: float, hip: float, neck: float, top: Color, label: int, canvas: Canvas, x: float, z: float
) -> None:
    for side in (-1, 1):
        canvas.disc(
            x + side * 0.24, (hip + neck) / 2 + 0.05, 0.08, (neck - hip) / 2, z, shade(top, 0.8), label
        )
    canvas.disc(x, (hip + neck) / 2, 0.23, (neck - hip) / 2 + 0.06, z, top, label)
    canvas.disc(x, 0.93 * tall, 0.105, 0.07 * tall, z, (206, 164, 134), label)
    canvas.disc(x, 0.96 * tall, 0.11, 0.04 * tall, z, (62, 46, 36), label)


def rider(label: int, top: Color, canvas: Canvas, x: float, z: float) -> None:
    """Somebody on a bicycle or a motorcycle, seen along the street."""
    wheel = 0.06 if label == BICYCLE else 0.13
    canvas.disc(x, 0.36, wheel, 0.36, z, RUBBER, label)
    canvas.front(x - 0.32, x + 0.32, 0.98, 1.05, z, STEEL, label)
    canvas.front(x - wheel, x + wheel, 0.5, 1.0, z, (126, 44, 44), label)
    for side in (-1, 1):
        canvas.disc(x + side * 0.15, 0.72, 0.09, 0.32, z, CLOTH, RIDER)
    _draw_torso(1.78, 0.92, 1.5, top, RIDER, canvas, x, z)


def parked_bicycle(paint: Color, canvas: Canvas, x: float, z: float) -> None:
    for wheel in (-0.52, 0.52):
        canvas.disc(x + wheel, 0.34, 0.34, 0.34, z, RUBBER, BICYCLE)
        canvas.disc(x + wheel, 0.34, 0.27, 0.27, z, (136, 134, 132), None)
    bars = (((-0.52, 0.34), (-0.2, 0.85)), ((-0.52, 0.34), (0.05, 0.3)), ((0.05, 0.3), (0.42, 0.85)))
    for (ax, ay), (bx, by) in (*bars, ((-0.2, 0.85), (0.42, 0.85)), ((0.52, 0.34), (0.38, 1.0))):
        ends = [(ax, ay - 0.03), (bx, by - 0.03), (bx, by + 0.03), (ax, ay + 0.03)]
        canvas.face([(x + dx, y, z) for dx, y in ends], paint, BICYCLE, z)
