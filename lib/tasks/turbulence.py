"""Two-dimensional turbulence on a periodic square of side 2 pi, whose symmetry under rotations a force breaks as much as one asks for.

With the vorticity w and the stream function psi, w = lap psi, the velocity is (-d psi/dy, d psi/dx), and

    dw/dt + u . grad w + s d psi/dx = growth w_[4, 6] - drag w + viscosity lap w .

The force that feeds it acts alike in every direction, on wavenumbers from 4 to 6. The term of strength s is a planet's: its Coriolis force
grows with y ("beta plane"). It moves waves to the west, and changes neither energy nor enstrophy.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

GROWTH, DRAG, VISCOSITY = 1.0, 0.3, 0.002  # ours, like all numbers here: speeds of about 2.5, more where the force is strong
BAND = 4.0, 6.0  # wavenumbers that grow
STEP = 0.025  # time units


class Turbulence:
    """Solver on an even number of points a side: pseudo-spectral, the upper third of the wavenumbers left out, so that products alias to
    none that is kept; Runge-Kutta of fourth order, the linear terms exactly.

    Parameters
    ----------
    size : points a side.  strength : s, of what breaks the symmetry.  growth, drag, viscosity : see above; 0 for none.

    Source: Orszag (1971) on aliasing; Canuto et al. (1988) on the integrating factor.
    """

    def __init__(self, size: int, strength: float = 0.0, *, growth: float = GROWTH, drag: float = DRAG, viscosity: float = VISCOSITY):
        if size % 2:
            raise ValueError(f"size must be even, got {size}")
        across = torch.fft.rfftfreq(size, 1 / size, dtype=torch.float64)
        along = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
        self.size, self.kx, self.ky = size, across.expand(size, -1), along[:, None].expand(-1, size // 2 + 1)
        square = self.kx**2 + self.ky**2
        self.kept = (self.kx < size / 3) & (self.ky.abs() < size / 3) & (square > 0)
        self.inverse = torch.where(self.kept, 1 / square.clamp(min=1.0), 0.0)
        self.grows = (square >= BAND[0] ** 2) & (square <= BAND[1] ** 2)
        self.linear = growth * self.grows.double() - drag - viscosity * square + 1j * strength * self.kx * self.inverse

    def advection(self, w: Complex[Tensor, "B ky kx"]) -> Complex[Tensor, "B ky kx"]:
        """-u . grad w, of spectra."""
        parts = torch.stack([1j * self.ky * self.inverse * w, -1j * self.kx * self.inverse * w, 1j * self.kx * w, 1j * self.ky * w])
        u, v, along_x, along_y = torch.fft.irfft2(parts, s=(self.size, self.size))
        return -torch.fft.rfft2(u * along_x + v * along_y) * self.kept

    def step(self, w: Complex[Tensor, "B ky kx"], time: float) -> Complex[Tensor, "B ky kx"]:
        """The spectrum of w after so long."""
        half = torch.exp(time / 2 * self.linear)
        one = self.advection(w)
        two = self.advection(half * (w + time / 2 * one))
        three = self.advection(half * w + time / 2 * two)
        four = self.advection(half**2 * w + time * half * three)
        return half**2 * w + time / 6 * (half**2 * one + 2 * half * (two + three) + four)

    def velocity(self, w: Complex[Tensor, "*B ky kx"]) -> Float[Tensor, "*B 2 y x"]:
        """(u, v) on the points, rows from the south, columns from the west."""
        spectra = torch.stack([1j * self.ky * self.inverse * w, -1j * self.kx * self.inverse * w], -3)
        return torch.fft.irfft2(spectra, s=(self.size, self.size))

    def start(self, count: int, generator: torch.Generator) -> Complex[Tensor, "count ky kx"]:
        """Random vorticity at the wavenumbers that grow, of root mean square speed 1."""
        noise = torch.randn(count, self.size, self.size, generator=generator, dtype=torch.float64)
        w = torch.fft.rfft2(noise) * (self.kept & self.grows)
        return w / self.velocity(w).square().sum(-3).mean((-2, -1)).sqrt()[:, None, None]

    def films(self, count: int, frames: int, interval: float, wait: float, generator: torch.Generator) -> Float[Tensor, "count T 2 y x"]:
        """The velocities of `count` simulations at `frames` times, `interval` apart, after a time to `wait`. float64."""
        w, found = self.start(count, generator), []
        for _ in range(round(wait / STEP)):
            w = self.step(w, STEP)
        for _ in range(frames):
            found.append(self.velocity(w))
            for _ in range(round(interval / STEP)):
                w = self.step(w, STEP)
        return torch.stack(found, 1)
