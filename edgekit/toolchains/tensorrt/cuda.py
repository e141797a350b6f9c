"""The few calls of NVIDIA's CUDA driver API that finding a GPU and running an engine need, by ctypes.

Only the driver itself must be installed. Names and signatures: "CUDA Driver API" reference manual.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import FailedError, NotRunError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_NAME_BYTES = 256


@dataclass(frozen=True)
class Gpu:
    """The first GPU that CUDA shows.

    Attributes:
        name: as the driver calls it, for example ``NVIDIA H200``.
        compute_capability: for example ``9.0``.
        driver: newest CUDA version that the driver serves, for example ``13.0``.
    """

    name: str
    compute_capability: str
    driver: str


class Driver:
    """The driver library, its first GPU and that GPU's primary context, which TensorRT uses as well."""

    def __init__(self) -> None:
        try:
            self._cuda: Any = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise NotRunError(
                f"no NVIDIA driver is installed here: {_LIBRARY} cannot be loaded",
                hint="Run this on a machine with an NVIDIA GPU.",
            ) from error
        result = self._cuda.cuInit(0)
        if result != 0:
            raise NotRunError(
                f"the NVIDIA driver shows no GPU: cuInit gave {self._error(result)}",
                hint="See what `nvidia-smi` says, and CUDA_VISIBLE_DEVICES.",
            )
        device = ctypes.c_int()
        self._check("cuDeviceGet", ctypes.byref(device), 0)
        self._device = device
        self._current = False

    def gpu(self) -> Gpu:
        """Name, compute capability and driver."""
        name = ctypes.create_string_buffer(_NAME_BYTES)
        self._check("cuDeviceGetName", name, _NAME_BYTES, self._device)
        capability = [self._attribute(which) for which in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR)]
        version = ctypes.c_int()
        self._check("cuDriverGetVersion", ctypes.byref(version))
        major, minor = version.value // 1000, version.value % 1000 // 10
        return Gpu(name.value.decode(), f"{capability[0]}.{capability[1]}", f"{major}.{minor}")

    def use(self) -> None:
        """Make the primary context current on this thread."""
        if self._current:
            return
        context = ctypes.c_void_p()
        self._check("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._check("cuCtxSetCurrent", context)
        self._current = True

    def stream(self) -> int:
        """Make a stream and return its handle."""
        handle = ctypes.c_void_p()
        self._check("cuStreamCreate", ctypes.byref(handle), 0)
        assert handle.value is not None
        return handle.value

    def wait(self, stream: int) -> None:
        """Wait until a stream has nothing left to do."""
        self._check("cuStreamSynchronize", ctypes.c_void_p(stream))

    def allocate(self, size: int) -> int:
        """Allocate bytes on the GPU and return their address."""
        address = ctypes.c_uint64()
        self._check("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return address.value

    def upload(self, array: NDArray[np.generic], address: int) -> None:
        """Copy a contiguous array to the GPU."""
        source = ctypes.c_void_p(array.ctypes.data)
        self._check("cuMemcpyHtoD_v2", ctypes.c_uint64(address), source, ctypes.c_size_t(array.nbytes))

    def download(self, address: int, array: NDArray[np.generic]) -> None:
        """Copy from the GPU into a contiguous array."""
        destination = ctypes.c_void_p(array.ctypes.data)
        self._check("cuMemcpyDtoH_v2", destination, ctypes.c_uint64(address), ctypes.c_size_t(array.nbytes))

    def _attribute(self, which: int) -> int:
        value = ctypes.c_int()
        self._check("cuDeviceGetAttribute", ctypes.byref(value), which, self._device)
        return value.value

    def _check(self, function: str, *arguments: Any) -> None:
        result = getattr(self._cuda, function)(*arguments)
        if result != 0:
            raise FailedError(f"{function} gave {self._error(result)}")

    def _error(self, result: int) -> str:
        name = ctypes.c_char_p()
        self._cuda.cuGetErrorName(result, ctypes.byref(name))
        return name.value.decode() if name.value else f"error {result}"
