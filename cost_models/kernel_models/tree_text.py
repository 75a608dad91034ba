"""XGBoost's JSON, checked before XGBoost reads it: its C++ follows indices wherever they lead."""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from cost_models.kernel_models.features import FEATURES
from targets.support.strict_json import parse_json

_NO_PARENT = 2**31 - 1
_MOST_TREES, _MOST_NODES = 1000, 1 << 16


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _TreeSizes(_Part):
    num_deleted: Literal["0"]
    num_feature: str
    num_nodes: str
    size_leaf_vector: Literal["0", "1"]


class _Tree(_Part):
    """One tree: of each node its children, -1 where it is a leaf, and the feature that it asks."""

    id: int
    tree_param: _TreeSizes
    left_children: list[int]
    right_children: list[int]
    parents: list[int]
    split_indices: list[int]
    split_type: list[int]
    default_left: list[int]
    split_conditions: list[float]
    base_weights: list[float]
    loss_changes: list[float]
    sum_hessian: list[float]
    categories: list[int] = []
    categories_nodes: list[int] = []
    categories_segments: list[int] = []
    categories_sizes: list[int] = []

    @model_validator(mode="after")
    def _holds_together(self) -> "_Tree":
        count, features = len(self.left_children), self.tree_param.num_feature
        whole = [self.right_children, self.parents, self.split_indices, self.split_type, self.default_left]
        real = [self.split_conditions, self.base_weights, self.loss_changes, self.sum_hessian]
        if not 1 <= count <= _MOST_NODES or {*map(len, whole), *map(len, real)} != {count}:
            raise ValueError("arrays of differing lengths")
        if any(self.split_type):
            raise ValueError("categories, which no tree of ours has")
        if self.tree_param.num_nodes != str(count) or not features.isdecimal():
            raise ValueError("another number of nodes than it says")
        if self.categories or self.categories_nodes or self.categories_segments or self.categories_sizes:
            raise ValueError("categories, which no tree of ours has")
        if not all(0 <= feature < int(features) for feature in self.split_indices):
            raise ValueError("a feature that is none")
        self._check_links(count)
        return self

    def _check_links(self, count: int) -> None:
        """That each node but the root hangs on an earlier one, once."""
        seen = [0]
        for node, (left, right) in enumerate(zip(self.left_children, self.right_children, strict=True)):
            if (left, right) == (-1, -1):
                continue
            if not (node < left < count and node < right < count):
                raise ValueError("a node whose children are none")
            if self.parents[left] != node or self.parents[right] != node:
                raise ValueError("a node that its children do not know")
            seen += [left, right]
        if self.parents[0] not in (_NO_PARENT, -1) or sorted(seen) != list(range(count)):
            raise ValueError("nodes that hang on none, or on several")


class _ModelSizes(_Part):
    num_parallel_tree: Literal["1"]
    num_trees: str


class _Model(_Part):
    gbtree_model_param: _ModelSizes
    iteration_indptr: list[int]
    tree_info: list[int]
    trees: list[_Tree]


class _Booster(_Part):
    name: Literal["gbtree"]
    model: _Model


class _LearnerSizes(_Part):
    base_score: str
    num_class: Literal["0"]
    num_feature: str
    num_target: Literal["1"] = "1"


class _Objective(_Part):
    name: Literal["reg:pseudohubererror"]


class _Learner(_Part):
    feature_names: list[str]
    feature_types: list[str]
    gradient_booster: _Booster
    learner_model_param: _LearnerSizes
    objective: _Objective

    @model_validator(mode="after")
    def _holds_together(self) -> "_Learner":
        model, features = self.gradient_booster.model, str(len(self.feature_names))
        count, names = len(model.trees), set(self.feature_names)
        if len(names) < len(self.feature_names) or not names <= set(FEATURES):
            raise ValueError("features that are none")
        sizes = {self.learner_model_param.num_feature, *(tree.tree_param.num_feature for tree in model.trees)}
        if sizes - {features} or self.feature_types:
            raise ValueError("another number of features than it names")
        if count > _MOST_TREES or model.gbtree_model_param.num_trees != str(count):
            raise ValueError("another number of trees than it says")
        if model.iteration_indptr != list(range(count + 1)) or model.tree_info != [0] * count:
            raise ValueError("trees in another order than ours")
        if [tree.id for tree in model.trees] != list(range(count)):
            raise ValueError("trees with other numbers than their places")
        if not math.isfinite(float(self.learner_model_param.base_score.strip("[]"))):
            raise ValueError("a base score that is no number")
        return self


class _File(_Part):
    learner: _Learner
    version: list[int]


def check_trees(content: bytes) -> None:
    """Raise ValueError for what is no boosted trees such as ``Predictor`` saves."""
    value: Any = parse_json(content)
    try:
        _File.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}") from None
