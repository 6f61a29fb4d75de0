"""The GNN as its authors compute it: one large graph a batch, the values at both ends gathered for every edge, sums by index_add."""

import torch
from torch.nn.functional import linear, silu


def scattered(network, tokens):
    """What `network`, a lib.models.gnn.GNN, predicts from (B, N, 7) tokens, by gathers in the place of incidence matrices."""
    batch, atoms = tokens.shape[:2]
    start = atoms * torch.arange(batch, device=tokens.device).unsqueeze(1)
    i, j = ((start + end.argmax(1)).flatten() for end in (network.edges.at_i, network.edges.at_j))
    features = network.edges.features.repeat(batch, 1)
    h = network.first(tokens[..., :4].flatten(0, 1))
    for messages, update in zip(network.messages, network.updates, strict=True):
        m = silu(messages.second(silu(messages.first(torch.cat([h[i], h[j], features], 1)))))
        h = h + two_layers(update.mlp, torch.cat([h, torch.zeros_like(h).index_add(0, i, m)], 1))
    return two_layers(network.last, h).unflatten(0, (batch, atoms))


def two_layers(layers, x):
    first, _, second = layers
    return linear(silu(linear(x, first.weight, first.bias)), second.weight, second.bias)
