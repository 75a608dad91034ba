"""Labelled street scenes: data sets, augmentation and, in :mod:`search.data.loaders`, batches of them."""

from search.data.augmentation import Augmentation
from search.data.datasets import open_data
from search.data.frames import Data, Frames

__all__ = ["Augmentation", "Data", "Frames", "open_data"]
