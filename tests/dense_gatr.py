"""GATr with every linear map and product as a dense 16x16(x16) contraction: the same network from the definitions, and what is slow."""

from types import MethodType

import torch

from lib.models.gatr import FACTORS, SIZES, EquiLinear
from lib.models.pga import GRADES, SPATIAL, GeometricProduct, Join, join_table, product_table


def equivariant_maps():
    """(9, 16, 16): the projections on the five grades, then e0 ^ (each spatial grade), at Frobenius norm one."""
    maps = torch.zeros(9, 16, 16, dtype=torch.float64)
    for blade, grade in enumerate(GRADES):
        maps[grade, blade, blade] = 1.0
    for blade, vectors in enumerate(SPATIAL):
        maps[5 + len(vectors), 8 + blade, blade] = 1.0
    return maps / torch.linalg.matrix_norm(maps, keepdim=True)


def linear(self, x, s):
    weight = torch.einsum("oia,ars->oirs", self.weight, self.maps)
    out = torch.einsum("oirs,sbni->rbno", weight, x)
    out = torch.cat([out[:1] + self.s_to_mv(s), out[1:]])
    return out, None if self.s_to_s is None else self.mv_to_s(x[0]) + self.s_to_s(s)


def product(self, x, y):
    return torch.einsum("ijk,j...,k...->i...", self.table, x, y)


def densify(model):
    """The same model, its parameters shared, computing densely."""
    assert len(SIZES) == len(FACTORS) == 9
    for module in model.modules():
        dtype = next(model.parameters()).dtype
        if isinstance(module, EquiLinear):
            module.maps, module.forward = equivariant_maps().to(dtype), MethodType(linear, module)
        elif isinstance(module, GeometricProduct | Join):
            table = product_table() if isinstance(module, GeometricProduct) else join_table()
            module.table, module.forward = table.to(dtype), MethodType(product, module)
    return model
