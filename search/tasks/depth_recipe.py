"""Losses of depth as a recipe says them. No PyTorch."""

from typing import Literal

from targets.support.strict_yaml import Section, Share


class BerHu(Section):
    """Inverse Huber (arXiv:1606.00373, section 3.3): the distance d up to c, beyond it (d^2 + c^2) / 2c.

    Attributes:
        share: c as a share of the largest distance of a batch.
    """

    kind: Literal["berhu"]
    share: Share = 0.2


class L1(Section):
    """The distance itself."""

    kind: Literal["l1"]
