"""What is refused before it goes wrong in a user's own loop, with what to do: data of another form, layers in another mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from lib.actions import Action, on_stacks, on_vectors

BatchNorm, Dropout = nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd


def refuse_other_form(data: Tensor, n: int, action: Action, name: str) -> None:
    """Raises ValueError where vectors, or stacks of them, are to be moved by n x n matrices and the data are none of dimension n."""
    if action not in (on_vectors, on_stacks):
        return
    form = "(B, n)" if action is on_vectors else "(B, N, n)"
    if data.ndim != form.count(",") + 1 or data.shape[-1] != n:
        raise ValueError(
            f"{name}={action.__name__} moves {form} with n = {n}, as the group has, got {tuple(data.shape)}: take another action "
            "(on_vectors, on_stacks, trivially ... of lib.actions), or another group"
        )


def in_training(model: Any, kinds: type | tuple[type, ...]) -> Iterator[str]:
    """The layers of these kinds that are in training, each by its place and class; none of what is no network."""
    for name, layer in model.named_modules() if isinstance(model, nn.Module) else ():
        if layer.training and isinstance(layer, kinds):
            yield f"{name} ({type(layer).__name__})".lstrip()


def refuse_batch_norm(model: Any) -> None:
    """Raises ValueError for a model in training that normalises over the batch: turned copies would change each other's predictions."""
    for layer in in_training(model, BatchNorm):
        raise ValueError(f"{layer} normalises over the batch, of which turned copies are a part: take GroupNorm or LayerNorm")


def refuse_training(model: Any) -> None:
    """Raises ValueError for a network with a layer in training that draws at random, or normalises over the batch and remembers it."""
    for layer in in_training(model, (BatchNorm, Dropout)):
        raise ValueError(f"{layer} predicts otherwise in training: call eval() of the network first, and train() of it afterwards")
