"""NumPy float64 forward passes: an oracle that shares no code with any framework.

They are written to be read, not to be fast: a convolution is a loop over its kernel's positions. Everything is
channels last, ``(n, h, w, c)`` or ``(n, t, c)``; kernels are ``(kh, kw, c_in, c_out)`` and ``(c_in, c_out)``; padding
is always explicit. Arrays of any dtype may come in; the work is done in float64.

Each differentiable operation ``f`` has ``f_vjp(grad, ...)``, the analytic gradient of ``sum(grad * f(...))`` with
respect to its arrays. Nothing trains with them: a forward pass whose own finite differences agree with a backward
pass that was derived on paper is hardly wrong by accident (``tests/unit/test_reference.py``).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

#: Distributions whose versions change what is done here.
PACKAGES = ("scipy",)

Array: TypeAlias = NDArray[np.float64]
