"""Losses of pose as a recipe says them. No PyTorch."""

from typing import Literal

from targets.support.strict_yaml import Positive, Section

USUAL_WEIGHT = 100.0


class HeatMaps(Section):
    """Half the mean squared difference to heat maps that are Gaussians around the key points; the mean is
    over the points that are there (arXiv:1804.06208, section 2).

    Attributes:
        sigma: of the Gaussians, pixels of the map.
        weight: by which it is multiplied. 1 is what was published, for Adam, to which it makes no difference;
            since a Gaussian fills a hundredth of a map, plain descent learns at the learning rates of other
            tasks by the usual 100.
    """

    kind: Literal["heat_maps"]
    sigma: Positive = 2.0
    weight: Positive = USUAL_WEIGHT
