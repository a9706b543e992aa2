"""`python -m minidl` prints what minidl finds on this machine, in a few aligned lines."""

import platform

import numpy as np

from minidl import __version__
from minidl.data import datasets
from minidl.gpu import streams


def blas() -> str:
    """Name, version and threads of the library that computes NumPy's matrix products."""
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    name = f"{built.get('name', 'unknown')} {built.get('version', '')}".strip()
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return f'{name}, threads unknown (pip install -e ".[course]" to see them)'
    n = max((p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"), default=1)
    return f"{name}, {n} thread{'s' if n != 1 else ''}"


def main() -> None:
    """Print a label and what was found in each line; the label is empty where one continues."""
    print(f"minidl  {__version__}")
    print(f"Python  {platform.python_version()} on {platform.system()} {platform.machine()}")
    print(f"NumPy   {np.__version__}")
    print(f"BLAS    {blas()}")
    print(f"GPU     {streams.status()}")
    found = datasets.available()
    width = max(map(len, found), default=0)
    for i, (name, where) in enumerate(found.items()):
        print(f"{'' if i else 'Data':8}{name:{width}}  {where}")


if __name__ == "__main__":
    main()
