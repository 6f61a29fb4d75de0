"""nbval runs the notebooks at `smoke`; opened by hand, they show what is recorded."""

import os

os.environ.setdefault("EQUIVARIANCE_PROFILE", "smoke")
