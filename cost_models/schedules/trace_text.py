"""The form of a MetaSchedule trace as text, checked before TVM replays it: its C++ trusts what it is given.

A place that no instruction has, or a factor of 0, makes TVM read and write out of bounds or divide by zero,
which ends the process. Instructions and annotations are those that MetaSchedule's rules for CPUs and GPUs
write: others change what a kernel computes, and TVM links what ``pragma_import_llvm`` holds into the module.
"""

import re
from typing import Any

from cost_models.errors import CostModelError
from targets.support.strict_json import parse_json

_MOST_INSTRUCTIONS = 10_000
_MOST_INT = 1 << 31
_MOST_PARTS = 16  # of a loop that is split
_RESULT = re.compile("[blv][0-9]{1,9}")  # blocks, loops and numbers
_INSTRUCTION = re.compile(
    "AddUnitLoop|Annotate|Bind|Blockize|Cache(Read|Write)|(Reverse)?Compute(At|Inline)|DecomposeReduction"
    "|EnterPostproc|Fuse|Get(ChildBlocks|Consumers|Loops|OutputBlocks|Producers|SBlock)|Parallel|RFactor"
    "|Reorder|Sample(Categorical|ComputeLocation|PartitionedTile|PerfectTile)|SetScope|Split|StorageAlign"
    "|Unannotate|Unroll|Vectorize"
)
_ANNOTATION = re.compile(
    "meta_schedule[.][a-z_]+|pragma_auto_unroll_max_step|pragma_unroll_explicit"
    "|software_pipeline_(stage|order|async_stages)"
)


def read_trace(text: str) -> list[Any]:
    """The instructions and decisions of a trace. Raises CostModelError for other text."""
    try:
        return _checked(parse_json(text))
    except ValueError as error:
        raise CostModelError(
            f"not the text of a schedule: {error}. The store was damaged, or written by another release: "
            "tune this kernel anew."
        ) from None


def _checked(value: Any) -> list[Any]:
    if not (isinstance(value, list) and len(value) == 2 and all(isinstance(part, list) for part in value)):
        raise ValueError("a trace is a list of instructions and a list of decisions")
    instructions, decisions = value
    if len(instructions) > _MOST_INSTRUCTIONS:
        raise ValueError(f"{len(instructions)} instructions, allowed are {_MOST_INSTRUCTIONS}")
    known: set[str] = set()
    for place, instruction in enumerate(instructions):
        _check_instruction(place, instruction, known)
    decided: set[int] = set()
    for decision in decisions:
        _check_decision(decision, instructions, decided)
    return value


def _check_instruction(place: int, instruction: Any, known: set[str]) -> None:
    """Its form, and that it names only what earlier ones gave; adds what it gives."""
    where = f"instruction {place}"
    if not (isinstance(instruction, list) and len(instruction) == 4 and isinstance(instruction[0], str)):
        raise ValueError(f"{where}: allowed is [name, inputs, attributes, outputs]")
    name, inputs, attributes, outputs = instruction
    if not all(isinstance(part, list) for part in (inputs, attributes, outputs)):
        raise ValueError(f"{where}: inputs, attributes and outputs are lists")
    if not _INSTRUCTION.fullmatch(name):
        raise ValueError(f"{where}: {name[:40]!r} is none that schedules here are made of")
    if name == "Annotate" and not (
        len(attributes) == 1 and isinstance(attributes[0], str) and _ANNOTATION.fullmatch(attributes[0])
    ):
        raise ValueError(f"{where}: {str(attributes)[:40]} is no annotation that schedules here have")
    _check_numbers(where, [inputs, attributes])
    if None in attributes or (name == "GetSBlock" and [type(value) for value in attributes] != [str, str]):
        raise ValueError(f"{where}: an attribute of another type")
    left_to_tvm = ("None",) if name == "Split" else ()  # one of its factors
    for value in inputs:
        if isinstance(value, str) and value[:1] != '"' and value not in known and value not in left_to_tvm:
            raise ValueError(f"{where}: {value[:40]!r} is no result of an earlier one")
    for value in outputs:
        if not isinstance(value, str) or not _RESULT.fullmatch(value) or value in known:
            raise ValueError(f"{where}: {str(value)[:40]!r} is no new name of a result")
        known.add(value)
    if name == "SamplePerfectTile" and not (
        len(attributes) == 2 and all(type(n) is int for n in attributes) and 2 <= attributes[0] <= _MOST_PARTS
    ):
        raise ValueError(f"{where}: a loop is split into 2 to {_MOST_PARTS} parts")


def _check_decision(decision: Any, instructions: list[Any], decided: set[int]) -> None:
    if not (isinstance(decision, list) and len(decision) == 2 and type(decision[0]) is int):
        raise ValueError("a decision is [instruction, what was decided]")
    place, chosen = decision
    if not 0 <= place < len(instructions) or place in decided:
        raise ValueError(f"a decision for instruction {place}, there are {len(instructions)}, each with one")
    decided.add(place)
    where, (name, _, attributes, outputs) = f"the decision for instruction {place}", instructions[place]
    if name in ("SamplePerfectTile", "SamplePartitionedTile"):
        _check_factors(where, chosen, len(outputs))
    elif name == "SampleCategorical":
        choices = attributes[0] if attributes and isinstance(attributes[0], list) else []
        if type(chosen) is not int or not 0 <= chosen < len(choices):
            raise ValueError(f"{where}: allowed is 0 to {len(choices) - 1}")
    elif name == "SampleComputeLocation":
        if type(chosen) is not int or not -2 <= chosen < _MOST_INSTRUCTIONS:
            raise ValueError(f"{where}: allowed is the number of a loop")
    else:
        raise ValueError(f"{where}: {name[:40]!r} decides nothing")


def _check_factors(where: str, chosen: Any, parts: int) -> None:
    if not (isinstance(chosen, list) and len(chosen) == parts):
        raise ValueError(f"{where}: allowed is a list of {parts} factors")
    if not all(type(factor) is int and 1 <= factor < _MOST_INT for factor in chosen):
        raise ValueError(f"{where}: factors are whole numbers of 1 or more")


def _check_numbers(where: str, value: Any) -> None:
    """That whole numbers fit the 32 bits that TVM keeps them in."""
    if isinstance(value, list):
        for inner in value:
            _check_numbers(where, inner)
    elif isinstance(value, dict):
        _check_numbers(where, list(value.values()))
    elif type(value) is int and abs(value) >= _MOST_INT:
        raise ValueError(f"{where}: {value} is too large")
