"""All networks of a space in one: every position is the weighted sum of its candidates."""

from search.supernet.choice import Form
from search.supernet.supernet import Supernet

__all__ = ["Form", "Supernet"]
