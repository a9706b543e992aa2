"""CuPy's ElementwiseKernel for the stand-in device: the text of a kernel goes through a C compiler.

As on a GPU, arguments are names for places in memory (a result may lie where an argument lies),
shapes are broadcast, types must be those that the kernel names, and the functions are those of the
array library: expf(x) asks np.exp.  So a kernel must give what its lines give, bit for bit; of
more than MANY elements that would take too long, and C's own functions are near enough.
"""

import ctypes
import ctypes.util
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

LIBM = ctypes.util.find_library("m")  # None on Windows
COMPILER = LIBM and (shutil.which("gcc") or shutil.which("clang") or shutil.which("cc"))
TYPES = {"bool": "_Bool", "uint8": "unsigned char", "int16": "short", "int32": "int",
         "int64": "long long", "float16": "_Float16", "float32": "float",
         "float64": "double"}  # fmt: skip
ASKED = ["exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "pow"]  # of NumPy
EXACT = ["sqrt", "floor", "ceil", "fabs"]  # there is one right answer
BEGIN = """#define bool _Bool
#define float16 _Float16
#if __FLT_EVAL_METHOD__ != 0
#error "a float is not computed as a float here"
#endif
static void **functions;
"""
LOOP = """
void run(
    long long n, long long axes, const long long *shape, char **p, const long long *steps, void **f
) {
    functions = f;
    for (long long i = 0; i < n; i++) {
        char *at[COUNT];
        for (int j = 0; j < COUNT; j++) at[j] = p[j];
        for (long long d = axes - 1, rest = i; d >= 0; rest /= shape[d--])
            for (int j = 0; j < COUNT; j++) at[j] += rest % shape[d] * steps[j * axes + d];
        { BODY }
    }
}
"""
for _kind, _f in ("float", "f"), ("double", ""):
    BEGIN += "".join(f"{_kind} {name}{_f}({_kind});\n" for name in EXACT)
    for _name in ASKED:
        _two = _name == "pow"
        BEGIN += (
            f"#define {_name}{_f}(a{', b' * _two}) (({_kind} (*)({_kind}{f', {_kind}' * _two}))"
        )
        BEGIN += f"functions[{2 * ASKED.index(_name) + len(_f)}])(a{', b' * _two})\n"


def _asked(name, kind, ctype):
    """A C function that asks NumPy's."""
    function = getattr(np, name.replace("pow", "power"))

    def ask(*numbers):  # of a single number NumPy makes a square root of a power of 0.5
        with np.errstate(all="ignore"):  # a GPU says nothing of overflow
            return function(*(np.array([x], kind) for x in numbers))[0]

    found = ctypes.CFUNCTYPE(ctype, *[ctype] * function.nin)(ask)
    return found, ctypes.cast(found, ctypes.c_void_p).value


_kept = [
    _asked(name, *kinds)
    for name in ASKED
    for kinds in ((np.float64, ctypes.c_double), (np.float32, ctypes.c_float))
]
MANY = 1_000_000
NUMPYS = (ctypes.c_void_p * len(_kept))(*(pointer for _, pointer in _kept))
_libm = LIBM and ctypes.CDLL(LIBM)
CS = LIBM and (ctypes.c_void_p * len(_kept))(
    *(ctypes.cast(_libm[name + f], ctypes.c_void_p).value for name in ASKED for f in ("", "f"))
)
_folder = tempfile.TemporaryDirectory()


def parameters(text):
    """ "float32 a, bool b" -> [("a", dtype), ("b", dtype)]"""
    pairs = [part.split() for part in text.split(",") if part.strip()]
    return [(name, np.dtype(kind)) for kind, name in pairs]


@functools.cache
def compiled(takes, gives, operation):
    """The C function of a kernel."""
    names = [(n, k, "const ") for n, k in parameters(takes)]
    names += [(n, k, "") for n, k in parameters(gives)]
    defines = "".join(
        f"#define {name} (*({const}{TYPES[kind.name]} *)at[{j}])\n"
        for j, (name, kind, const) in enumerate(names)
    )
    loop = LOOP.replace("COUNT", str(len(names))).replace("BODY", operation)
    path = Path(_folder.name) / f"kernel{compiled.cache_info().misses}"
    path.with_suffix(".c").write_text(BEGIN + defines + loop, encoding="utf-8")
    options = "-O1 -w -shared -fPIC -ffp-contract=off -std=gnu11".split()
    files = ["-o", str(path.with_suffix(".so")), str(path.with_suffix(".c")), "-lm"]
    subprocess.run([COMPILER, *options, *files], check=True)
    return ctypes.CDLL(str(path.with_suffix(".so"))).run


class ElementwiseKernel:
    """As CuPy's; `unwrapped` and `wrapped` (see standin.py) change arrays."""

    made = []  # all texts, for those who want to compile them with something else

    def __init__(self, in_params, out_params, operation, name, no_return, options, preamble=""):
        assert name.isidentifier() and no_return and options == ("--fmad=false",)
        if "float16" in operation and "float16" not in in_params + out_params + preamble:
            raise TypeError(f"{name}: CuPy includes float16.cuh only for a parameter of that type")
        self.takes, self.gives = parameters(in_params), parameters(out_params)
        self.texts = in_params, out_params, operation
        ElementwiseKernel.made.append((*self.texts, name))

    def __call__(self, *args):
        if len(args) != len(self.takes) + len(self.gives):
            raise TypeError(f"Wrong number of arguments: {len(args)}")
        arrays = []
        for a, (name, dtype) in zip(args, [*self.takes, *self.gives]):
            if isinstance(a, (bool, int, float)):
                a = np.array(a, dtype)
            elif isinstance(a, np.ndarray):
                raise TypeError("Unsupported type <class 'numpy.ndarray'>")
            else:
                a = a._a
            if a.dtype != dtype:
                raise TypeError(f"Type is mismatched. {name} {a.dtype} {dtype}")
            arrays.append(a)
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
        for a in arrays[len(self.takes) :]:
            if a.shape != shape:
                raise ValueError(f"Out shape is mismatched: {a.shape} {shape}")
        arrays = [np.broadcast_to(a, shape) if a.shape != shape else a for a in arrays]
        places = (ctypes.c_char_p * len(arrays))()
        pointers = ctypes.cast(places, ctypes.POINTER(ctypes.c_void_p))
        for j, a in enumerate(arrays):
            pointers[j] = a.ctypes.data
        steps = [s for a in arrays for s in a.strides]
        compiled(*self.texts)(
            ctypes.c_longlong(int(np.prod(shape, dtype=int))),
            ctypes.c_longlong(len(shape)),
            (ctypes.c_longlong * max(len(shape), 1))(*shape),
            pointers,
            (ctypes.c_longlong * max(len(steps), 1))(*steps),
            CS if np.prod(shape) > MANY else NUMPYS,
        )
