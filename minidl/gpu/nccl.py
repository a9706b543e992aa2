"""CuPy's communicator: several processes, a GPU each, that add up arrays through NCCL.

Explained in course/23.
"""

from typing import Any

from ..engine import devices, random
from . import streams


def communicator(rank: int, size: int, host: str | None = None, port: int | None = None) -> Any:
    """CuPy's communicator of `size` processes, this being the one of `rank` in [0, size).

    host, port: where the process of rank 0 listens; see `distributed.nccl`.  From here on this
    process uses the GPU number `rank` of its machine (modulo how many there are).  Raises
    RuntimeError where CuPy finds no NCCL.
    """
    cupy = devices.device_module("cuda")
    import cupyx.distributed  # which loads cupy.cuda.nccl, as cupy itself does not

    if not cupy.cuda.nccl.available:
        raise RuntimeError(
            "several GPUs need the NCCL library, which CuPy did not find: "
            "pip install nvidia-nccl-cu13 (for CUDA 12: nvidia-nccl-cu12)"
        )
    streams._copiers.clear()  # a stream and a generator belong to the GPU on which they were made
    random.forget(cupy)
    cupy.cuda.Device(rank % cupy.cuda.runtime.getDeviceCount()).use()
    return cupyx.distributed.init_process_group(size, rank, host=host, port=port)
