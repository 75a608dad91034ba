"""People with true key points: limbs in random poses, placed in a drawn street in metres; see ``scene.py``.

Key points are those of MPII Human Pose, by name. Lengths are shares of a person's height (Drillis and
Contini, 1966, rounded). Everybody looks rather to the camera than away from it: left and right can be told.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search.data.scenes.things import PERSON, Canvas, Color, shade

Vector = npt.NDArray[np.float64]  # x to the right, y up, z ahead of the camera

SKINS = ((236, 196, 168), (206, 164, 134), (162, 114, 84), (104, 70, 52))
HAIRS = ((44, 34, 28), (92, 62, 38), (176, 140, 84), (112, 112, 112))
SHIRTS = (
    (190, 50, 48),
    (48, 88, 158),
    (232, 232, 226),
    (60, 62, 70),
    (222, 170, 60),
    (70, 132, 92),
    (130, 80, 150),
)
TROUSERS = ((44, 52, 78), (34, 34, 38), (122, 106, 84), (88, 92, 98))
SHOES = ((30, 28, 28), (224, 222, 216), (120, 64, 40))

HEAD, HEAD_WIDE, NECK, TRUNK = 0.13, 0.104, 0.05, 0.29
SHOULDER, HIP = 0.115, 0.055  # from the middle
UPPER_ARM, FOREARM, THIGH, SHIN, FOOT = 0.172, 0.157, 0.245, 0.246, 0.09
ANKLE_HIGH = 0.04
HEAD_SHARE = 0.6  # of the diagonal of the box around a head, which is what MPII calls the head's size
_UP = np.array([0.0, 1.0, 0.0])
_SIDES = {"r": -1, "l": 1}


@dataclass(frozen=True)
class Figure:
    """A person somewhere in the street.

    Attributes:
        points: name of each key point -> where it is, metres.
        tall: metres.
        turned: radians to the camera's right from where it looks at the camera.
        skin, hair, shirt, trousers, shoes: what it is drawn in.
    """

    points: dict[str, Vector]
    tall: float
    turned: float
    skin: Color
    hair: Color
    shirt: Color
    trousers: Color
    shoes: Color

    @classmethod
    def drawn(cls, x: float, z: float, rng: np.random.Generator) -> "Figure":
        """One in a random pose that stands at x and z."""
        tall, turned = rng.uniform(1.5, 1.9), rng.uniform(-1.1, 1.1)
        points = _posed(tall, turned, rng)
        low = min(points[f"{side}_ankle"][1] for side in _SIDES)
        place = np.array([x, ANKLE_HIGH * tall - low, z])
        colors = (tones[rng.integers(len(tones))] for tones in (SKINS, HAIRS, SHIRTS, TROUSERS, SHOES))
        return cls({name: at + place for name, at in points.items()}, tall, turned, *colors)

    @property
    def middle(self) -> Vector:
        """Of the box around it."""
        places = np.stack(list(self.points.values()))
        middle: Vector = (places.min(0) + places.max(0)) / 2
        return middle

    @property
    def head_m(self) -> float:
        """The head's size as MPII has it, metres."""
        return HEAD_SHARE * self.tall * float(np.hypot(HEAD, HEAD_WIDE))

    def draw(self, canvas: Canvas) -> None:
        """What is far first."""
        for _, draw in sorted(self._parts(canvas), key=lambda part: -part[0]):
            draw()

    def _parts(self, canvas: Canvas) -> Iterator[tuple[float, Callable[[], None]]]:
        """How far each is, and what draws it."""
        at, tall = self.points, self.tall
        ahead = np.array([np.sin(self.turned), 0, -np.cos(self.turned)])

        def limb(
            first: Vector, last: Vector, thick: float, thin: float, color: Color
        ) -> tuple[float, Callable[[], None]]:
            far = float(first[2] + last[2]) / 2
            tone = shade(color, 1 - 0.5 * float(np.clip(far - self.middle[2], -0.3, 0.3)))
            return far, lambda: _capsule(canvas, first, last, thick * tall, thin * tall, tone)

        for side in _SIDES:
            hip, knee, ankle = (at[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
            toes = ankle + tall * (FOOT * ahead - np.array([0, 0.02, 0]))
            yield limb(hip, knee, 0.048, 0.036, self.trousers)
            yield limb(knee, ankle, 0.034, 0.022, self.trousers)
            yield limb(ankle, toes, 0.024, 0.018, self.shoes)
            shoulder, elbow, wrist = (at[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
            yield limb(shoulder, elbow, 0.030, 0.024, shade(self.shirt, 0.88))
            yield limb(elbow, wrist, 0.022, 0.016, self.skin)
            hand = wrist + 0.04 * tall * (wrist - elbow) / np.linalg.norm(wrist - elbow)
            yield limb(wrist, hand, 0.020, 0.020, self.skin)
        yield float(self.middle[2]), lambda: self._draw_trunk(canvas)
        yield float(at["head_top"][2]), lambda: self._draw_head(canvas, ahead)

    def _draw_trunk(self, canvas: Canvas) -> None:
        at, wide = self.points, 0.028 * self.tall
        corners = [at["r_shoulder"], at["l_shoulder"], at["l_hip"], at["r_hip"]]
        canvas.face([tuple(corner) for corner in corners], self.shirt, PERSON, float(at["thorax"][2]))
        for one, other in zip(corners, [*corners[1:], corners[0]], strict=True):
            _capsule(canvas, one, other, wide, wide, self.shirt)
        _capsule(canvas, at["thorax"], at["pelvis"], 0.07 * self.tall, 0.06 * self.tall, self.shirt)
        _capsule(canvas, at["r_hip"], at["l_hip"], 0.045 * self.tall, 0.045 * self.tall, self.trousers)
        _capsule(canvas, at["thorax"], at["upper_neck"], 0.03 * self.tall, 0.026 * self.tall, self.skin)

    def _draw_head(self, canvas: Canvas, ahead: Vector) -> None:
        neck, top = self.points["upper_neck"], self.points["head_top"]
        (x, y, z), wide, high = (neck + top) / 2, HEAD_WIDE / 2 * self.tall, HEAD / 2 * self.tall
        side = np.array([np.cos(self.turned), 0, np.sin(self.turned)])
        canvas.disc(x, y, wide, high, z, self.hair, PERSON)
        face = np.array([x, y - 0.14 * high, z]) + 0.34 * wide * ahead
        canvas.disc(face[0], face[1], 0.84 * wide, 0.84 * high, z, self.skin, PERSON)
        for sign in (-1, 1):
            eye = face + 0.38 * wide * sign * side + 0.55 * wide * ahead + np.array([0, 0.12 * high, 0])
            canvas.disc(eye[0], eye[1], 0.13 * wide, 0.1 * high, z, (32, 28, 30), PERSON)
        mouth = face + 0.5 * wide * ahead - np.array([0, 0.5 * high, 0])
        canvas.disc(mouth[0], mouth[1], 0.26 * wide, 0.06 * high, z, shade(self.skin, 0.6), PERSON)


def _posed(tall: float, turned: float, rng: np.random.Generator) -> dict[str, Vector]:
    """Key points around the pelvis, metres."""
    left = np.array([np.cos(turned), 0, np.sin(turned)])
    ahead = np.array([np.sin(turned), 0, -np.cos(turned)])
    bow, tilt = rng.normal(0.08, 0.14), rng.normal(0, 0.11)
    spine = _turned(_turned(_UP, ahead, tilt), left, bow)
    across = _turned(left, ahead, tilt + rng.normal(0, 0.06))
    found = {"pelvis": np.zeros(3), "thorax": TRUNK * tall * spine}
    found["upper_neck"] = found["thorax"] + NECK * tall * spine
    nod = _turned(_turned(spine, left, rng.normal(-bow / 2, 0.15)), ahead, rng.normal(-tilt / 2, 0.12))
    found["head_top"] = found["upper_neck"] + HEAD * tall * nod
    for name, side in _SIDES.items():
        shoulder = found["thorax"] + side * SHOULDER * tall * across - 0.01 * tall * spine
        upper, lower = _arm(side, spine, across, ahead, rng)
        elbow = shoulder + UPPER_ARM * tall * upper
        found |= {f"{name}_shoulder": shoulder, f"{name}_elbow": elbow}
        found[f"{name}_wrist"] = elbow + FOREARM * tall * lower
        hip = side * HIP * tall * left
        upper, lower = _leg(side, left, ahead, rng)
        knee = hip + THIGH * tall * upper
        found |= {f"{name}_hip": hip, f"{name}_knee": knee, f"{name}_ankle": knee + SHIN * tall * lower}
    return found


def _arm(
    side: int, spine: Vector, across: Vector, ahead: Vector, rng: np.random.Generator
) -> tuple[Vector, Vector]:
    """Directions of its two halves: hanging, held out or up, bent forwards, inwards or up."""
    raised = np.radians(rng.uniform(*((4, 30), (30, 115), (115, 170))[rng.choice(3, p=[0.45, 0.35, 0.2])]))
    upper = _bent(-spine, side * across, raised)
    upper = _turned(upper, side * across, -side * np.radians(rng.uniform(-20, 50)))
    bent = np.radians(130 * rng.random() ** 1.3)
    weights = rng.random(3) + 0.05
    return upper, _bent(upper, weights[0] * ahead + weights[1] * spine - weights[2] * side * across, bent)


def _leg(side: int, left: Vector, ahead: Vector, rng: np.random.Generator) -> tuple[Vector, Vector]:
    """Directions of its two halves: standing, striding, or lifted with a bent knee."""
    kind = rng.choice(3, p=[0.5, 0.35, 0.15])
    forward = rng.uniform(*((-8, 14), (-28, 36), (35, 85))[kind])
    bent = rng.uniform(*((0, 14), (0, 40), (30, 105))[kind])
    spread = np.radians(rng.uniform(1, 14) + 18 * (rng.random() < 0.25))
    down = -_UP * np.cos(spread) + side * left * np.sin(spread)
    upper = _turned(down, left, -np.radians(forward))
    return upper, _bent(upper, -ahead, np.radians(bent))


def _turned(vector: Vector, axis: Vector, angle: float) -> Vector:
    """Around an axis of length 1 (Rodrigues' formula)."""
    along = axis * (axis @ vector) * (1 - np.cos(angle))
    turned: Vector = vector * np.cos(angle) + np.cross(axis, vector) * np.sin(angle) + along
    return turned


def _bent(vector: Vector, towards: Vector, angle: float) -> Vector:
    """Turned towards another direction."""
    square = towards - vector * (towards @ vector)
    length = max(float(np.linalg.norm(square)), 1e-6)
    bent: Vector = vector * np.cos(angle) + square / length * np.sin(angle)
    return bent


def _capsule(canvas: Canvas, first: Vector, last: Vector, thick: float, thin: float, color: Color) -> None:
    """A limb with round ends, seen from the front: as wide as it is, wherever it points."""
    along = (last - first)[:2]
    length = float(np.hypot(*along))
    if length > 1e-6:
        nx, ny = -along[1] / length, along[0] / length
        corners = [
            (end[0] + sign * nx * wide, end[1] + sign * ny * wide, end[2])
            for end, wide, sign in ((first, thick, 1), (last, thin, 1), (last, thin, -1), (first, thick, -1))
        ]
        canvas.face(corners, color, PERSON, float(first[2]))
    for end, wide in ((first, thick), (last, thin)):
        canvas.disc(end[0], end[1], wide, wide, float(end[2]), color, PERSON)
