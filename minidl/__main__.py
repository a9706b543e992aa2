"""`python -m minidl` prints what minidl finds on this machine, in a few aligned lines."""

import platform

import numpy as np

from minidl import __version__, backend, datasets


def blas() -> str:
    """Name, version and threads of the library that computes NumPy's matrix products."""
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    name = f"{built.get('name', 'unknown')} {built.get('version', '')}".strip()
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return f'{name}, threads unknown (pip install -e ".[course]" to see them)'
    threads = max(
        (p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"), default=1
    )
    return f"{name}, {threads} thread{'s' if threads != 1 else ''}"


def report() -> list[tuple[str, str]]:
    """Pairs of a label and what was found; the label is empty where a line continues."""
    lines = [
        ("minidl", __version__),
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("NumPy", np.__version__),
        ("BLAS", blas()),
        ("GPU", backend.cuda_status()),
    ]
    found = datasets.available()
    width = max(map(len, found), default=0)
    for i, (name, where) in enumerate(found.items()):
        lines.append(("" if i else "Data", f"{name:{width}}  {where}"))
    return lines


def main() -> None:
    for label, found in report():
        print(f"{label:8}{found}")


if __name__ == "__main__":
    main()
