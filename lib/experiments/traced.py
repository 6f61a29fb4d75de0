"""A function of tensors as the list of its operators: traced once, made shorter, and replayed.

What lies between two kernels of a step, autograd's and vmap's bookkeeping and Python's own, is in small networks most of its time. The
list has none of it. A tensor is known by its place in memory, so views need no tracing: they are taken, when needed, of what owns the
place. Of the other operators, forward and backward, what no input changes is computed once, and what is computed twice is computed once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

LARGEST = 2**31  # bytes of tensors that a traced call may make, all kept until its end: of larger ones kernels take nearly all of the time
CLOSE = 1e-3  # how far a replay may be from the function, relative to the largest number: rounding on another kernel, not another result


class Traced:
    """The function, replayed from its second call on: to the bit what it returns, but for what is read below.

    Numbers among its arguments, shapes and dtypes become part of the list. It is traced when they are for the second time the same; where
    a call has others it is made by the function itself. A function that reads a tensor's value, draws at random, or makes more tensors than
    `LARGEST` is never replayed.

    Raises RuntimeError where a replay is not what the function returns, which is looked at after 1, 2, 4, 8 ... of them: a network that
    does something else from call to call, as counting them in Python, cannot be traced.
    """

    def __init__(self, function: Callable):
        self.function, self.kind, self.program, self.replays = function, None, None, 0
        self.repeats = True  # as far as is known

    def __call__(self, *arguments: Any) -> Any:
        leaves, structure = tree_flatten(arguments)
        kind = [(leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        if not self.repeats or kind != self.kind:
            self.kind = kind if self.program is None else self.kind
            return self.function(*arguments)
        tensors = [whole(leaf) for leaf in leaves if isinstance(leaf, Tensor)]
        if self.program is None:

            def of_tensors(*tensors: Tensor) -> Any:
                others = iter(tensors)
                return self.function(*tree_unflatten([next(others) if isinstance(leaf, Tensor) else leaf for leaf in leaves], structure))

            try:
                self.program = program(of_tensors, tensors)
            except UnrepeatableError:
                self.repeats = False
                return self.function(*arguments)
        with torch.inference_mode():
            found = self.program(*tensors)
        self.replays += 1
        if self.replays & (self.replays - 1) == 0 and not close(found, self.function(*arguments)):
            raise RuntimeError(
                f"replay {self.replays} of {self.function} is not what it returns: a network whose steps differ in more than their "
                "tensors cannot be traced: keep what it counts in a buffer, or say `traces = False` in its class"
            )
        return found


class UnrepeatableError(ValueError):
    """A function whose operators hang on the values of its tensors, that draws at random, or whose tensors are too large to keep."""


def program(function: Callable, tensors: Sequence[Tensor]) -> fx.GraphModule:
    """The list of operators of a call. Raises UnrepeatableError where another call would have another."""
    inputs = [tensor.detach().clone() for tensor in tensors]  # each in a place of its own
    with Recorder() as recorder:
        found = function(*inputs)
    return shortened(recorder.calls, inputs, found)


@dataclass(frozen=True)
class Call:
    """An operator on its arguments, and what it returned. While calls are kept, no two tensors of them lie at one place."""

    operator: torch._ops.OpOverload
    function: Callable  # the operator, or a function of `torch` of its name where that does the same: it does so in less time
    args: tuple
    kwargs: Mapping[str, Any]
    found: Any

    @property
    def writes(self) -> bool:
        """Whether it changes one of its arguments."""
        return self.operator._schema.is_mutable

    def written(self) -> set[Hashable]:
        """The places that it writes to."""
        schema = self.operator._schema.arguments
        given = [*zip(schema, self.args, strict=False), *((one, self.kwargs[one.name]) for one in schema if one.name in self.kwargs)]
        return places([value for one, value in given if one.alias_info is not None and one.alias_info.is_write])


class Recorder(TorchDispatchMode):
    """Notes every operator that reaches PyTorch's kernels. Raises UnrepeatableError for one that draws at random or reads a value, and
    where tensors become too many."""

    def __init__(self):
        super().__init__()
        self.calls: list[Call] = []
        self.places, self.bytes = set(), 0  # of all tensors that were made

    def __torch_dispatch__(self, function: torch._ops.OpOverload, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        kwargs = kwargs or {}
        indices = function._opname == "index" and all(leaf.dtype != torch.bool for leaf in tree_leaves(args[1]) if leaf is not None)
        if torch.Tag.dynamic_output_shape in function.tags and not indices:
            raise UnrepeatableError(f"{function}: shapes hang on values")
        if {torch.Tag.nondeterministic_seeded, torch.Tag.data_dependent_output} & set(function.tags):
            raise UnrepeatableError(f"{function}: draws at random, or reads a value")
        found = function(*args, **kwargs)
        for storage in [leaf.untyped_storage() for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]:
            if storage.data_ptr() not in self.places:
                self.places.add(storage.data_ptr())
                self.bytes += storage.nbytes()
        if self.bytes > LARGEST:
            raise UnrepeatableError(f"more than {LARGEST} bytes of tensors")
        self.calls.append(Call(function, same_function(function, args, kwargs, found), args, kwargs, found))
        return found


def same_function(function: torch._ops.OpOverload, args: tuple, kwargs: Mapping, found: Any) -> Callable:
    """The function of `torch` of the operator's name, if it returns the same in the same form; else the operator."""
    other = getattr(torch, function._opname, None)
    if other is None or function._schema.is_mutable:
        return function
    try:
        return other if identical(other(*args, **kwargs), found) else function
    except (TypeError, RuntimeError):  # one with other arguments
        return function


def shortened(calls: Sequence[Call], inputs: Sequence[Tensor], result: Any) -> fx.GraphModule:
    """The calls from inputs to the result as a program: constants computed, equal calls made once, views taken of what owns their place."""
    graph, constants = fx.Graph(), {}
    owners: dict[Hashable, fx.Node] = {}  # by place
    known: dict[Hashable, fx.Node] = {}  # by place and form
    made: dict[str, fx.Node] = {}  # by what is called on what
    written = set().union(*(call.written() for call in calls if call.writes))

    def own(tensor: Tensor | None, node: fx.Node) -> None:
        if place(tensor) is not None:
            owners.setdefault(place(tensor), node)
            known.setdefault((place(tensor), form(tensor)), node)

    def node_of(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        key = place(value), form(value)
        if key not in known:
            if key[0] in owners:
                known[key] = graph.call_function(torch.as_strided, (owners[key[0]], *form(value)))
            else:
                constants[f"constant_{len(constants)}"] = value.detach()
                known[key] = graph.create_node("get_attr", f"constant_{len(constants) - 1}")
        return known[key]

    for i, tensor in enumerate(inputs):
        own(tensor, graph.placeholder(f"input_{i}"))
    for call in calls:
        read, returned = places((call.args, call.kwargs)), places(call.found)
        fresh = call.writes or bool((read | returned) & written)
        constant, view = not fresh and not read & owners.keys(), not call.writes and returned <= owners.keys()
        if constant or view:
            continue
        asked = call.function, *map_aggregate((call.args, dict(call.kwargs)), node_of)
        node = None if fresh else made.get(repr(asked))
        if node is None:
            node = made[repr(asked)] = graph.call_function(*asked)
        if isinstance(call.found, Tensor):
            own(call.found, node)
        else:
            for i, tensor in enumerate(call.found or ()):
                own(tensor, graph.call_function(operator.getitem, (node, i)))
    graph.output(map_aggregate(result, node_of))
    graph.eliminate_dead_code()
    return fx.GraphModule(constants, graph)


# --------------------------------------------------------------------------------------------------------- tensors


def place(value: Any) -> Hashable:
    """Which memory a tensor looks at, and as what; None for what has none."""
    return (value.untyped_storage().data_ptr(), value.dtype) if isinstance(value, Tensor) and value.numel() else None


def places(values: Any) -> set[Hashable]:
    return {place(value) for value in tree_leaves(values)} - {None}


def form(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    return tuple(tensor.shape), tensor.stride(), tensor.storage_offset()


def whole(tensor: Tensor) -> Tensor:
    """The tensor, or a copy that begins where its memory does and has no gaps."""
    return tensor if tensor.is_contiguous() and not tensor.storage_offset() else tensor.clone(memory_format=torch.contiguous_format)


def identical(a: Any, b: Any) -> bool:
    """The same numbers in the same form."""
    a, b = tree_leaves(a), tree_leaves(b)
    if len(a) != len(b) or not all(isinstance(leaf, Tensor) for leaf in a + b):
        return False
    return all(p.dtype == q.dtype and form(p) == form(q) and torch.equal(p, q) for p, q in zip(a, b, strict=True))


def close(a: Any, b: Any) -> bool:
    """The same numbers but for rounding; what is not a number is so in both."""
    pairs = ((p.detach(), q.detach()) for p, q in zip(tree_leaves(a), tree_leaves(b), strict=True))
    return all(torch.allclose(p, q, rtol=CLOSE, atol=CLOSE * q.abs().max().item(), equal_nan=True) for p, q in pairs if q.numel())
