"""What to write here for what has another name elsewhere, and the errors that say so.

For people who come from PyTorch, Keras or scikit-learn (docs/coming.md).  The one rule of this
file: there are no aliases; a name that minidl lacks raises AttributeError, and a wrong argument
TypeError, as ever in Python, and the text says what to write.  `NAMES` and `KEYWORDS` hold what
people type.  Code stands between backticks, and tests/test_advice.py runs all of it.

Explained in course/12.
"""

from __future__ import annotations

import inspect
import re
import sys
from difflib import get_close_matches
from dis import opmap
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from typing import NoReturn, TypeVar

    Function = TypeVar("Function", bound=Callable[..., Any])

PAGE: str = "docs/coming.md"

# Place -> what people type there.  A line: names that share it, a colon, what to write; what is
# indented goes on.  In a line NAME is the name that was asked for.  A name is found however its
# words are joined: BCELoss is bce_loss.
NAMES: dict[str, str] = {}
NAMES["Tensor"] = """
# shape
view reshape_as view_as resize resize_as unflatten: `x.reshape(3, 2)`
flatten ravel: `x.reshape(-1)`; all axes but the first, `x.reshape(len(x), -1)`
unsqueeze expand_dims: `x[:, None]`, a new axis at place 1
squeeze: `x.reshape(-1)`; without axis 1, `x[:, 0]`
permute: `x.transpose(1, 0)`, which takes all axes in their new order
swapaxes swapdims movedim moveaxis: `x.transpose(1, 0)`, all axes in their new order
t mT H mH adjoint matrix_transpose: `x.T`; of a batch, `batch.transpose(0, 2, 1)`
dim ndimension rank: `x.ndim`
numel nelement: `x.size`
expand expand_as broadcast_to: operators broadcast; else `x + minidl.zeros(4, 2, 3)`
repeat tile: `minidl.concatenate([x, x])`
repeat_interleave: `x[np.repeat(np.arange(2), 3)]`
chunk split tensor_split split_with_sizes hsplit vsplit dsplit unsafe_chunk unsafe_split: `x[:1],
    x[1:]`
unbind unstack: `[*x]`, or `x0, x1 = x`
contiguous is_contiguous: leave it out: no operation needs it
stride: `x.data.strides`, in bytes
element_size itemsize: `x.dtype.itemsize`
nbytes: `x.data.nbytes`
# type, device, record
float: `x.astype("float32")`
double: `x.astype("float64")`
fix fix_: `np.trunc(x.detach().numpy())`
half bfloat16: `x.astype("float16")`; to train with it, mixed_precision=True of a Trainer
long: `x.astype("int64")`
int: `x.astype("int32")`
short: `x.astype("int16")`
char: `x.astype("int8")`
byte: `x.astype("uint8")`
bool: `x != 0`
type type_as cast: `x.astype(y.dtype)`
is_floating_point is_complex is_signed: `x.dtype.kind == "f"`
cpu: `x.to("cpu")`
cuda: `x.to("cuda")`
xpu ipu mtia get_device is_cuda is_cpu is_mps: `x.device`, which is "cpu" or "cuda"
tolist: `x.numpy().tolist()`
clone copy: `x * 1`, which keeps the gradient; `minidl.tensor(x)`, a copy without record
requires_grad_: `x.requires_grad = True`, or False
is_leaf: `x.op is None`
grad_fn: `x.op`, the operation that made it, and `x.inputs`
retain_grad retains_grad: `minidl.grad(loss, [h])` gives the gradient of any tensor
detach_: `x = x.detach()`
data_ptr storage untyped_storage storage_offset: `x.data`, the array
register_hook register_post_accumulate_grad_hook: there are no hooks on tensors; change `p.grad`
    after backward, or use the layers' `nn.watched(model, around)`
share_memory_ is_shared pin_memory is_pinned record_stream: leave it out: a DataLoader works with
    threads, and copies to a GPU by itself
zero_: `x[...] = 0`
fill_: `x[...] = 7`
copy_ set_: `x[...] = y`
add_: `x += y`
sub_ subtract_: `x -= y`
mul_ multiply_: `x *= y`
div_ divide_ true_divide_: `x /= y`
normal_ log_normal_ cauchy_ exponential_ geometric_: `x[...] = minidl.randn(2, 3)`
uniform_ random_ bernoulli_: `x[...] = minidl.rand(2, 3)`
to_sparse to_dense coalesce sparse_mask is_sparse values indices sspaddmm smm hspmm hsmm: minidl
    has no sparse tensors
dequantize int_repr q_scale q_zero_point is_quantized qscheme: minidl quantises layers, not single
    tensors: `nn.quantize(nn.Linear(3, 4))`
conj conj_physical real imag angle cfloat cdouble isreal is_conj: minidl has no gradients of
    complex numbers
# operators
add: `x + y`
sub subtract: `x - y`
mul multiply: `x * y`
div divide true_divide: `x / y`
rsub: `y - x`
neg negative: `-x`
positive: `x`
pow float_power: `x**2`
square: `x * x`
reciprocal: `1 / x`
rsqrt: `1 / x.sqrt()`
matmul mm bmm chain_matmul: `a @ b`
mv: `a @ v`
dot vdot inner: `u @ v`
outer ger: `u[:, None] * v`
addmm addbmm baddbmm addmv addr: `c + a @ b`
addcmul addcdiv: `x + 0.5 * y * y`
lerp: `x + 0.5 * (y - x)`
einsum tensordot bilinear: @, transpose and sum: "ij,kj->ik" is `x @ y.T`; "ij,ij->i" is `(x *
    y).sum(1)`
eq: `x == y`
ne not_equal: `x != y`
gt greater: `x > y`
ge greater_equal: `x >= y`
lt less: `x < y`
le less_equal: `x <= y`
logical_and bitwise_and: `(x > 0) & (y > 0)`
logical_or bitwise_or: `(x > 0) | (y > 0)`
logical_not bitwise_not: `~(x > 0)`
logical_xor bitwise_xor: `(x > 0) != (y > 0)`
remainder fmod: `ids % 2`, of whole numbers
floor_divide: `ids // 2`, of whole numbers
equal: `np.array_equal(x.numpy(), y.numpy())`
allclose isclose: `np.NAME(x.numpy(), y.numpy())`
# element by element
clamp clamp_min clamp_max: `x.clip(0, 1)`; None is no limit, `x.clip(0, None)`
absolute: `x.abs()`
sign sgn: `minidl.engine.ops.sign(x)`
maximum fmax: `minidl.engine.ops.maximum(x, y)`
minimum fmin: `minidl.engine.ops.minimum(x, y)`
log2: `x.log() / np.log(2)`
log10: `x.log() / np.log(10)`
log1p: `(1 + x).log()`
expm1: `x.exp() - 1`
exp2: `2**x`
tan: `x.sin() / x.cos()`
sinh: `(x.exp() - (-x).exp()) / 2`
cosh: `(x.exp() + (-x).exp()) / 2`
logit: `(x / (1 - x)).log()`
hardshrink: `x * (x.abs() > 0.5)`
prelu: `nn.LeakyReLU(0.25)(x)`, whose slope is not trained
erf erfc erfinv: no such operation; `nn.functional.gelu(x)` has the usual job of erf
isnan: `x != x`
isfinite isinf isposinf isneginf: `np.NAME(x.numpy())`
nan_to_num: `minidl.where(x == x, x, 0.0)`
round floor ceil trunc rint signbit deg2rad rad2deg sinc i0 nonzero argwhere unique median
    nanmean nanmedian nansum cov corrcoef diff arcsin arccos arctan arcsinh arctanh arccosh:
    without a gradient, `np.NAME(x.detach().numpy())`
asin: without a gradient, `np.arcsin(x.detach().numpy())`
acos: without a gradient, `np.arccos(x.detach().numpy())`
asinh acosh atanh: without a gradient, NumPy's, of `x.detach().numpy()`
atan: without a gradient, `np.arctan(x.detach().numpy())`
atan2 arctan2 hypot copysign heaviside logaddexp: without a gradient, NumPy's, of
    `x.detach().numpy()`
fft rfft: without a gradient, `np.fft.fft(x.detach().numpy())`
# over axes
amax: `x.max(1)`
amin: `x.min(1)`
aminmax: `x.min(1), x.max(1)`
prod: of positive numbers, `x.log().sum().exp()`
cumsum: `x @ np.triu(np.ones((3, 3), "float32"))`, along the last axis, here of length 3
cumprod: of positive numbers, the exp of the cumulative sum of logarithms: `(x.log() @
    np.triu(np.ones((3, 3), "float32"))).exp()`
norm: `(x * x).sum() ** 0.5`, whose gradient at 0 is not finite
dist cdist pairwise_distance: `((x - y) ** 2).sum(1) ** 0.5`
logsumexp: `minidl.engine.reductions.logsumexp(x, axis=1)`
softmax log_softmax: `nn.functional.NAME(x, axis=1)`
var_mean: `x.var(1), x.mean(1)`
std_mean: `x.std(1), x.mean(1)`
count_nonzero: `(x != 0).sum()`
argsort: `np.argsort(x.numpy())`
sort msort: along the first axis, `v[np.argsort(v.numpy())]`
topk kthvalue: the places are `np.argsort(-x.numpy(), axis=1)[:, :2]`
quantile nanquantile: without a gradient, `np.NAME(x.numpy(), 0.5)`
bincount: `np.bincount(ids.numpy())`
histc histogram: `np.histogram(x.numpy())`
trace: `x[np.arange(2), np.arange(2)].sum()`
# parts
masked_fill masked_scatter: `minidl.where(mask, -1e9, x)`
masked_select: `x[mask]`
where: `minidl.where(mask, x, y)`
gather take_along_dim: `x[np.arange(2), ids]`, one element of each row
index_select: `x[ids]`
take: `x.reshape(-1)[ids]`
index_put index_fill index_copy scatter masked_scatter_: `x[ids] = y`, for numbers
scatter_add index_add scatter_reduce: `minidl.engine.ops.one_hot(ids, classes=4).T @ x` adds the
    rows of x up at ids
narrow slice: `x[:, 1:3]`
select: `x[:, 1]`
flip flipud: `x[::-1]`
fliplr: `x[:, ::-1]`
roll: `minidl.concatenate([x[-1:], x[:-1]])`
tril triu: `x * np.NAME(np.ones(x.shape, "float32"))`
diag diagonal: `x[np.arange(2), np.arange(2)]`
unfold: `minidl.engine.shapes.windows(images, size=(3, 3))`
multinomial: of probabilities, `nn.sample(x.log().numpy())`, one draw for each row; of logits,
    `nn.sample(logits.numpy())`
bernoulli: `minidl.rand_like(x) < x`
new_zeros new_ones: `minidl.zeros(2, 3)`
new new_empty new_full new_tensor: `minidl.tensor([1.0, 2.0])`
det slogdet logdet inverse inv pinverse svd qr eig cholesky solve lstsq matrix_exp lu matrix_power
    matrix_rank symeig cholesky_solve cholesky_inverse triangular_solve: without a gradient,
    `np.linalg.svd(x.detach().numpy())` and its neighbours
assign assign_add: `x[...] = y`
"""
NAMES["minidl"] = """
exp log sqrt tanh sin cos abs sigmoid relu sum mean max min argmax argmin any all std var: a
    method, `x.NAME()`
reshape: a method, `x.reshape(3, 2)`
transpose: a method, `x.transpose(1, 0)`
clip: a method, `x.clip(0, 1)`
size: `x.size`, `x.shape`
cat concat hstack column_stack dstack: `minidl.concatenate([x, y], axis=1)`
vstack row_stack: `minidl.concatenate([x, y])`
as_tensor asarray array from_numpy from_dlpack convert_to_tensor float_tensor double_tensor
    half_tensor: `minidl.tensor(array)`, a copy; `minidl.Tensor(array)` shares its memory
long_tensor int_tensor byte_tensor bool_tensor constant scalar_tensor: `minidl.tensor([1, 2])`
Variable: `minidl.tensor([1.0], requires_grad=True)`
empty empty_like: `minidl.zeros(2, 3)`
full full_like: `minidl.zeros(2, 3) + 7`
eye: `minidl.tensor(np.eye(3, dtype="float32"))`
linspace: `minidl.tensor(np.linspace(0, 1, 5, dtype="float32"))`
logspace: `minidl.tensor(np.logspace(0, 1, 5, dtype="float32"))`
range: `minidl.arange(5)`
randint randint_like: `minidl.tensor(np.random.default_rng(0).integers(0, 10, (2, 3)))`
randperm: `np.random.default_rng(0).permutation(10)`
normal: `minidl.randn(2, 3) * 0.5 + 1`
random: `minidl.rand(2, 3)`
meshgrid: `np.meshgrid(array[0], array[0])`
one_hot: `minidl.engine.ops.one_hot(labels, classes=5)`
inference_mode: `minidl.no_grad()`
enable_grad set_grad_enabled is_grad_enabled: everything is recorded that is not inside
    `minidl.no_grad()`
float32 float64 float16 int64 int32 int16 int8 uint8: types are NumPy's, or their names:
    `x.astype("NAME")`
float: types are NumPy's, or their names: `x.astype("float32")`
double: types are NumPy's, or their names: `x.astype("float64")`
half bfloat16: types are NumPy's, or their names: `x.astype("float16")`
long int: types are NumPy's, or their names: `x.astype("int64")`
bool: types are NumPy's, or their names: `(x != 0).astype("bool")`
dtype finfo iinfo: `np.finfo("float32")`
complex64 complex128 cfloat: minidl has no gradients of complex numbers
get_default_dtype set_default_dtype set_default_tensor_type set_default_device: floats are
    float32; a model in another type, `model.to(dtype="float64")`
device get_device set_default_device_: a device is a name: `model.to("cpu")`, "cuda"
cuda accelerator: `minidl.gpu.streams.status()` says whether there is a GPU; `model.to("cuda")`
mps xpu mtia backends xla: minidl computes on "cpu" and on "cuda": `model.to("cuda")`
save: `minidl.io.save("weights.safetensors", model.state_dict())`
load: `model.load_state_dict(minidl.io.load("weights.safetensors")[0])`
saving serialization load_model: `minidl.io.load("weights.safetensors")`
hub: minidl.pytorch.from_torch takes the weights of a PyTorch model
autograd: `minidl.grad(loss, [w])`; an operation of one's own, `minidl.engine.tensor.primitive`
GradientTape: `loss.backward()`, then `w.grad`; nothing need be opened before
function jit script fx compiler: `minidl.compile(step)`
vmap func functional: `nn.functional`; leading axes are batches in most operations
amp autocast grad_scaler: `train.Trainer(model, optimizer, "mse", mixed_precision=True)`
multiprocessing: `data.DataLoader(dataset, workers=2)`; threads, not processes
distributions: `minidl.rand(2, 3)`, `minidl.randn(2, 3)`
generator default_generator seed initial_seed: `minidl.manual_seed(0)`
random_seed set_random_seed set_seed: `minidl.manual_seed(0)`
get_rng_state: `minidl.engine.random.random_state()`
set_rng_state: `minidl.engine.random.set_random_state(before)`
use_deterministic_algorithms are_deterministic_algorithms_enabled: leave it out: after
    `minidl.manual_seed(0)` a run is repeated to the bit
is_tensor: `isinstance(x, minidl.Tensor)`
numel: `x.size`
set_num_threads get_num_threads: set OPENBLAS_NUM_THREADS before Python starts
set_printoptions: `np.set_printoptions(precision=3)`
pi e inf nan newaxis: `np.NAME`
version: `minidl.__version__`
no_op identity: `nn.Sequential()`
linalg: `np.linalg`, without gradients
fft: `np.fft`, without gradients
special: `minidl.engine.ops`
ops: `minidl.engine.ops`
set_detect_anomaly set_anomaly_enabled: `train.debug.stop_at_nan(model)`
utils: `from minidl.data import DataLoader`; `optim.clip_grad_norm`; `nn.checkpoint`
layers keras: `nn`, from minidl
losses: functions of `nn.functional`
metrics callbacks: `train`, from minidl
optimizers: `optim`, from minidl
activations: `nn.ReLU()`, or in forward `x.relu()`
initializers init: `nn.init`
datasets: `data.datasets`
transforms: `data.images`
models model: a subclass of `nn.Module`, or `nn.Sequential(nn.Linear(3, 4), nn.ReLU())`
input: leave it out: `nn.Linear(3, 4)` says how wide its input is
Module Parameter Sequential Linear Conv2d Conv1d LSTM GRU RNN Dropout Embedding Flatten BatchNorm
    LayerNorm MaxPool2d GPT: `nn.NAME`
SGD Adam AdamW RMSProp Optimizer: `optim.NAME`
DataLoader ArrayDataset: `data.NAME`
Trainer EarlyStopping Checkpoint: `train.NAME`
MLPClassifier MinidlClassifier: `minidl.estimators.MinidlClassifier()`
MLPRegressor MinidlRegressor: `minidl.estimators.MinidlRegressor()`
checkpoint summary: `nn.NAME`
cross_entropy nll bce bce_with_logits mse l1 huber gelu leaky_relu dropout pad conv1d conv2d
    conv_transpose2d max_pool2d avg_pool2d attention rms_norm: `nn.functional.NAME`
"""
NAMES["nn"] = """
Dense LazyLinear: `nn.Linear(3, 4)`, n_in and n_out; an activation is a layer of its own
linear: `x @ b`, or the layer `nn.Linear(3, 4)`
einsum_dense: `nn.Linear(3, 4)`, or in forward @ and transpose
Input InputLayer InputSpec: leave it out: `nn.Linear(3, 4)` says how wide its input is
Layer: `nn.Module`
Model: a subclass of `nn.Module`, or `nn.Sequential(nn.Linear(3, 4), nn.ReLU())`
Identity: `nn.Sequential()`
ModuleList ParameterList: a list, `module.layers = [nn.ReLU(), nn.Linear(3, 3)]`
ModuleDict ParameterDict Container: a dict, `module.layers = {"first": nn.ReLU()}`
Buffer: an attribute, `module.mask = minidl.ones(3)`
Lambda: a subclass of `nn.Module` with a forward
Activation: `nn.ReLU()`, by its class
TimeDistributed: `nn.Linear(3, 4)` takes any leading axes
Wrapper Pipeline: `nn.Sequential(nn.Linear(3, 4), nn.ReLU())`
# activations
Softmax LogSoftmax: `nn.functional.softmax(x, axis=1)`, log_softmax; cross_entropy takes logits
relu tanh sigmoid: `x.NAME()`
logistic: `nn.Sigmoid()`
Softmax2d: `nn.functional.softmax(images, axis=1)`
SiLU swish: in forward, `x * x.sigmoid()`
Mish: in forward, `x * minidl.engine.ops.softplus(x).tanh()`
ReLU6: in forward, `x.clip(0, 6)`
Hardtanh: in forward, `x.clip(-1, 1)`
Hardsigmoid: in forward, `(x / 6 + 0.5).clip(0, 1)`
Hardswish: in forward, `x * (x / 6 + 0.5).clip(0, 1)`
Hardshrink: in forward, `x * (x.abs() > 0.5)`
ELU: in forward, `minidl.where(x > 0, x, x.clip(None, 0).exp() - 1)`
SELU: in forward, `1.0507 * minidl.where(x > 0, x, 1.6733 * (x.clip(None, 0).exp() - 1))`
CELU: in forward, `minidl.where(x > 0, x, x.clip(None, 0).exp() - 1)`
PReLU RReLU: `nn.LeakyReLU(0.25)`, whose slope is not trained
Softplus: in forward, `minidl.engine.ops.softplus(x)`
LogSigmoid: in forward, `-minidl.engine.ops.softplus(-x)`
Softsign: in forward, `x / (1 + x.abs())`
Softshrink: in forward, `x - x.clip(-0.5, 0.5)`
Tanhshrink: in forward, `x - x.tanh()`
Threshold: in forward, `minidl.where(x > 0.1, x, 0.0)`
Softmin: `nn.functional.softmax(-x, axis=-1)`
GLU: in forward, `batch[..., :1] * batch[..., 1:2].sigmoid()`
gumbel_softmax: `nn.functional.softmax(x - (-minidl.rand_like(x).log()).log(), axis=-1)`
# convolution, pooling
Conv2D Convolution2D LazyConv2d: `nn.Conv2d(3, 8, 3)`, n_in, n_out, size; images are (N, C, H, W)
Conv1D Convolution1D LazyConv1d: `nn.Conv1d(3, 8, 3)`, n_in, n_out, size; x is (N, C, T)
Conv2DTranspose Convolution2DTranspose LazyConvTranspose2d: `nn.ConvTranspose2d(3, 8, 3)`
ConvTranspose1d Conv1DTranspose Convolution1DTranspose conv_transpose1d: `nn.ConvTranspose2d(3, 8,
    (1, 3))` on (N, C, 1, T)
DepthwiseConv2D DepthwiseConv1D: `nn.Conv2d(8, 8, 3, groups=8)`
SeparableConv2D SeparableConvolution2D SeparableConv1D SeparableConvolution1D:
    `nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 8, 1))`
Conv3d Conv3D Convolution3D ConvTranspose3d Conv3DTranspose LazyConv3d MaxPool3d AvgPool3d
    MaxPooling3D AveragePooling3D UpSampling3D ConvLSTM3D: minidl has no layers for volumes;
    `nn.Conv2d(3, 8, 3)` is for images
MaxPooling2D MaxPool2D: `nn.MaxPool2d(2)`
AveragePooling2D AvgPool2D: `nn.AvgPool2d(2)`
MaxPool1d MaxPooling1D: `nn.MaxPool2d((1, 2))` on (N, C, 1, T)
AvgPool1d AveragePooling1D: `nn.AvgPool2d((1, 2))` on (N, C, 1, T)
AdaptiveAvgPool2d AdaptiveAveragePooling2D GlobalAveragePooling2D GlobalAvgPool2D:
    `nn.GlobalAvgPool2d()`, which gives (N, C)
AdaptiveMaxPool2d AdaptiveMaxPooling2D GlobalMaxPooling2D GlobalMaxPool2D: in forward,
    `images.max((2, 3))`
AdaptiveAvgPool1d AdaptiveAveragePooling1D GlobalAveragePooling1D GlobalAvgPool1D: in forward,
    `batch.mean(2)` of (N, C, T)
AdaptiveMaxPool1d AdaptiveMaxPooling1D GlobalMaxPooling1D GlobalMaxPool1D: in forward,
    `batch.max(2)` of (N, C, T)
ZeroPad2d ZeroPadding2D ConstantPad2d: `nn.functional.pad(images, 1)`, or padding= of a
    convolution
ReflectionPad2d ReplicationPad2d CircularPad2d: `nn.functional.pad(images, 1)` pads with 0
Cropping2D: in forward, `images[:, :, 1:-1, 1:-1]`
Upsample UpsamplingNearest2d UpSampling2D interpolate upsample_nearest: in forward, `images[:, :,
    np.arange(16) // 2][..., np.arange(16) // 2]`
UpsamplingBilinear2d: on arrays, `data.images.resize(images.numpy(), 16)`
Unfold im2col: `minidl.engine.shapes.windows(images, size=(3, 3))`
Fold col2im: `minidl.engine.shapes.from_windows`
# norms, dropout, embedding
BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm BatchNormalization LazyBatchNorm1d
    LazyBatchNorm2d LazyBatchNorm3d batch_norm: `nn.BatchNorm(3)`, one class for all
LayerNormalization layer_norm: `nn.LayerNorm(3)`
RMSNormalization: `nn.RMSNorm(3)`
GroupNormalization group_norm: `nn.GroupNorm(2, 8)`, groups and channels
InstanceNorm1d InstanceNorm2d instance_norm: `nn.GroupNorm(3, 3)`, a group a channel
normalize UnitNormalization: in forward, `x / (x * x).sum(1, keepdims=True) ** 0.5`
LocalResponseNorm CrossMapLRN2d SpectralNormalization: `nn.BatchNorm(3)` is the usual norm
Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout SpatialDropout1D SpatialDropout2D
    SpatialDropout3D GaussianDropout: `nn.Dropout(0.5)`, of single elements
GaussianNoise: in forward, `x + 0.1 * minidl.randn_like(x)`
embedding: `weight[ids]`, or the layer `nn.Embedding(10, 3)`
EmbeddingBag: `nn.Embedding(10, 3)(tokens).mean(1)`
one_hot CategoryEncoding: `minidl.engine.ops.one_hot(labels, classes=5)`
# sequences
SimpleRNN: `nn.RNN(3, 4)`
LSTMCell GRUCell RNNCell SimpleRNNCell: `nn.LSTM(3, 4)`, on a sequence of length 1
StackedRNNCells: `nn.LSTM(3, 4, 2)`, of two layers
Bidirectional: `nn.LSTM(3, 4, bidirectional=True)`
Masking: `nn.LSTM(3, 4)(batch, lengths=lengths)`
ConvLSTM1D ConvLSTM2D: `nn.LSTM(3, 4)` reads sequences of vectors
MultiheadAttention Attention AdditiveAttention GroupQueryAttention multi_head_attention_forward:
    `nn.MultiHeadAttention(8, 2)`
scaled_dot_product_attention: `nn.functional.attention(batch, batch, batch)`
Transformer TransformerEncoder TransformerEncoderLayer: `nn.TransformerBlock(8, 2)`
TransformerDecoder TransformerDecoderLayer: `nn.TransformerBlock(8, 2)`, called with causal=True
# in forward
Reshape Unflatten: in forward, `x.reshape(3, 2)`
Permute: in forward, `x.transpose(1, 0)`
RepeatVector: in forward, `minidl.stack([x] * 4, 1)`
Add: in forward, `x + y`; around layers, `nn.Residual(nn.Linear(3, 3))`
Subtract: in forward, `x - y`
Multiply: in forward, `x * y`
Average: in forward, `(x + y) / 2`
Maximum: in forward, `minidl.engine.ops.maximum(x, y)`
Minimum: in forward, `minidl.engine.ops.minimum(x, y)`
Concatenate: in forward, `minidl.concatenate([x, y], axis=1)`
Dot: in forward, `(x * y).sum(-1)`
Bilinear: in forward, `(x @ b * (x @ b)).sum(1)`
# data, before the model
Rescaling Normalization: on the arrays: `(array - array.mean(0)) / array.std(0)`
Resizing: `data.images.resize(images.numpy(), 16)`
CenterCrop RandomCrop: `data.images.crop(images.numpy(), size=6)`
RandomFlip: `data.images.flip(images.numpy(), rng)`
RandomRotation: `data.images.rotate(images.numpy(), rng, degrees=10)`
RandomBrightness RandomContrast RandomSaturation RandomColorJitter:
    `data.images.color_jitter(images.numpy(), rng, brightness=0.2)`
RandomErasing: `data.images.cutout(images.numpy(), rng, size=3)`
MixUp: `data.images.mixup((images.numpy(), labels.numpy()), rng, classes=5)`
CutMix AugMix RandAugment AutoContrast RandomZoom RandomShear RandomTranslation: `data.images` has
    flip, rotate, crop, color_jitter, cutout and mixup
TextVectorization StringLookup: `data.text.Vocabulary(words)`
IntegerLookup Discretization Hashing: on the arrays: `np.digitize(array, [0.0, 1.0])`
# losses
CrossEntropyLoss SparseCategoricalCrossentropy CategoricalCrossentropy linear_cross_entropy
    Crossentropy softmax_cross_entropy log_loss logistic_loss ce xent:
    `nn.functional.cross_entropy(logits, labels)`, of logits: no softmax before it
BCEWithLogitsLoss binary_cross_entropy_with_logits sigmoid_cross_entropy bce_logits:
    `nn.functional.bce_with_logits(z, t)`
BCELoss binary_cross_entropy BinaryCrossentropy: `nn.functional.bce_with_logits(z, t)`, of logits:
    leave out the sigmoid before it
MSELoss MeanSquaredError squared_error l2 l2_loss squared_loss quadratic: `nn.functional.mse(x, y)`
L1Loss MeanAbsoluteError mae mae_loss absolute_error: `nn.functional.l1(x, y)`
HuberLoss SmoothL1Loss smooth_l1 huber_regression: `nn.functional.huber(x, y)`
NLLLoss NLLLoss2d negative_log_likelihood: `nn.functional.nll(log_p, labels)`
KLDivLoss kl_div KLDivergence kl kld kullback_leibler_divergence: of probabilities, `(q * (q.log()
    - log_p)).sum(-1).mean()`
GaussianNLLLoss: `(0.5 * (y.log() + (x - z) ** 2 / y)).mean()`, y the variance
PoissonNLLLoss Poisson: `(x.exp() - t * x).mean()`, x the logarithm of the rate
CosineSimilarity CosineEmbeddingLoss: `(u @ v) / ((u @ u) * (v @ v)) ** 0.5`
PairwiseDistance: `((x - y) ** 2).sum(1) ** 0.5`
HingeEmbeddingLoss SoftMarginLoss MultiMarginLoss MultiLabelMarginLoss Hinge: `(1 - t *
    z).relu().mean()`
SquaredHinge CategoricalHinge: `((1 - t * z).relu() ** 2).mean()`
MarginRankingLoss: `(y - x + 0.1).relu().mean()`
TripletMarginLoss TripletMarginWithDistanceLoss: `(((x - y) ** 2).sum(1) - ((x - z) ** 2).sum(1) +
    1).relu().mean()`
MultiLabelSoftMarginLoss: `nn.functional.bce_with_logits(z, t)`
RootMeanSquaredError rmse: `nn.functional.mse(x, y) ** 0.5`
LogCosh: `nn.functional.huber(x, y)` is much like it
MeanAbsolutePercentageError mape: `((x - y).abs() / y.abs()).mean()`
MeanSquaredLogarithmicError msle: `nn.functional.mse((1 + x).log(), (1 + y).log())`
Dice Tversky: `1 - 2 * (z.sigmoid() * t).sum() / (z.sigmoid().sum() + t.sum())`
BinaryFocalCrossentropy CategoricalFocalCrossentropy focal focal_loss:
    `nn.functional.cross_entropy(logits, labels,
    class_weight=weights)`
CTCLoss CTC Circle: minidl has no such loss; any function (output, target) -> Tensor is one
Loss: a function (output, target) -> Tensor
# around
utils: `optim.clip_grad_norm(model.parameters(), 1.0)`; `data.pad_sequence`
DataParallel parallel: `minidl.distributed.Group`
qat quantizable intrinsic: `nn.quantize(nn.Linear(3, 4))` quantises after training, not during it
UninitializedParameter UninitializedBuffer: `nn.Parameter(minidl.zeros(3))`
Embeddings: `nn.Embedding(10, 3)`
"""
NAMES["Module"] = """
in_features in_channels: `model[0].n_in`
out_features out_channels: `model[0].n_out`
kernel: `model[0].weight`
zero_grad: `optimizer.zero_grad()`
cuda: `model.to("cuda")`
cpu: `model.to("cpu")`
float: `model.to(dtype="float32")`
double: `model.to(dtype="float64")`
half bfloat16 type: `model.to(dtype="float16")`
requires_grad_ trainable freeze: give the optimiser only what it shall change:
    `optim.Adam(model[2].parameters())`
children named_children: `model.parts()`, pairs (name, part)
named_modules get_submodule: `dict(model.modules())`, path -> module
get_parameter: `dict(model.named_parameters())["0.weight"]`
buffers named_buffers get_buffer: `dict(model.tensors())`, path -> parameter or buffer
register_buffer: an attribute that is a Tensor: `module.mask = minidl.ones(3)`
register_parameter: `module.scale = nn.Parameter(minidl.ones(3))`
add_module register_module set_submodule: `module.head = nn.Linear(3, 4)`
register_forward_hook register_forward_pre_hook register_backward_hook register_full_backward_hook
    register_full_backward_pre_hook: `nn.watched(model, around)` sees each call
register_state_dict_post_hook register_state_dict_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook: change the dict between `state = model.state_dict()` and
    `model.load_state_dict(state)`
extra_repr: the method is called `module.extra()`
share_memory to_empty: leave it out: threads share a model
compile: `train.Trainer(model, optimizer, "cross_entropy", ["accuracy"])`, as in Keras;
    `minidl.compile(step)`, as in PyTorch
fit: `train.Trainer(model, optimizer, "cross_entropy").fit(dataset)`
evaluate: `trainer.evaluate(dataset)`
predict predict_on_batch: `trainer.predict(rows)`
train_on_batch train_step: `trainer.train_step((rows, classes))`
summary: `nn.summary(model, rows)`
save save_weights: `minidl.io.save("weights.safetensors", model.state_dict())`
load load_weights: `model.load_state_dict(minidl.io.load("weights.safetensors")[0])`
weights get_weights: `model.state_dict()`, path -> array
set_weights: `model.load_state_dict(state)`
trainable_weights trainable_variables variables: `model.parameters()`
layers get_layer: `[*model]` of a Sequential, else `dict(model.modules())`
# operators
add extend pop: `model.append(nn.ReLU())`, `model.insert(1, nn.ReLU())`, `del model[1]`
count_params: `sum(p.size for p in model.parameters())`
call: the method is called forward
build: leave it out: __init__ makes the parts, with their sizes
input_shape output_shape input output: `nn.summary(model, rows)`
device: `model.parameters()[0].device`
dtype: `model.parameters()[0].dtype`
grad: `[p.grad for p in model.parameters()]`
module: leave it out: nothing wraps a model
"""
NAMES["optim"] = """
RMSprop: `optim.RMSProp(model.parameters())`
Adamax NAdam Nadam RAdam Adafactor Lion Lamb Muon SparseAdam ScheduleFreeAdamW:
    `optim.AdamW(model.parameters(), 1e-3)`, or a subclass of `optim.Optimizer`
Adagrad Adadelta Rprop ASGD Ftrl: `optim.RMSProp(model.parameters())`, or a subclass of
    `optim.Optimizer`
LBFGS: `optim.SGD(model.parameters(), momentum=0.9)`: minidl has no second-order ones
lr_scheduler LRScheduler schedules LambdaLR LearningRateSchedule: `optim.Adam(model.parameters(),
    schedule=optim.cosine(1000))`; a schedule is a function from the number of steps to a factor
StepLR PiecewiseConstantDecay: schedule=`optim.step_decay(100, 0.1)`
MultiStepLR: schedule=`lambda step: 0.1 ** ((step >= 300) + (step >= 600))`
ExponentialLR ExponentialDecay MultiplicativeLR: schedule=`lambda step: 0.99**step`
ConstantLR: schedule=`lambda step: 0.5`
LinearLR: schedule=`optim.warmup(100)`
PolynomialLR PolynomialDecay: schedule=`lambda step: max(0.0, 1 - step / 1000)`
CosineAnnealingLR CosineDecay CosineAnnealingWarmRestarts CosineDecayRestarts:
    schedule=`optim.cosine(1000)`
OneCycleLR CyclicLR: schedule=`optim.one_cycle(1000)`
SequentialLR ChainedScheduler: schedule=`optim.warmup(100, optim.cosine(900))`
ReduceLROnPlateau: a callback, `train.ReduceOnPlateau(patience=3)`
swa_utils AveragedModel: a callback, `train.AverageWeights()`
LossScaleOptimizer: `train.precision.LossScaler()`
clip_grad_norm_: `optim.clip_grad_norm(model.parameters(), 1.0)`
clip_grad_value_: `optim.clip_grad_value(model.parameters(), 1.0)`
"""
NAMES["Optimizer"] = """
set_lr set_learning_rate: `optimizer.lr = 0.01`
param_groups: the rate is `optimizer.lr`; of one made of groups, `optim.SGD([{"params":
    model.parameters(), "lr": 0.1}], lr=0.01).groups[0].lr`
add_param_group: an optimiser for each group, such as `optim.SGD(model[2].parameters(), lr=0.01)`
learning_rate defaults: `optimizer.lr`
iterations: `optimizer.steps`
minimize: `loss.backward()`, then `optimizer.step()`
apply_gradients apply: `optimizer.step()`, which takes them from `p.grad`
get_lr get_last_lr: `optimizer.rate()`
zero_gradients: `optimizer.zero_grad()`
"""
NAMES["train"] = """
ModelCheckpoint OrbaxCheckpoint: `train.Checkpoint("run.safetensors", best_only=True)`
BackupAndRestore: `train.Checkpoint("run.safetensors")`, and fit(..., resume=) goes on
ReduceLROnPlateau: `train.ReduceOnPlateau(patience=3)`
LearningRateScheduler: `train.Schedule(lambda epoch: 0.1 / (1 + epoch))`
CSVLogger: `train.CSVLog("log.csv")`
TensorBoard RemoteMonitor: `train.CSVLog("log.csv")`, `train.HistoryPlot("history.png")`
LambdaCallback CallbackList: a subclass of `train.Callback`, whose methods take the trainer
TerminateOnNaN: leave it out: fit raises when the loss is not finite
History: `trainer.history`, name -> a number for each epoch
ProgbarLogger: `train.Progress()`, which fit adds by itself
SwapEMAWeights: `train.AverageWeights()`
fit Model: `train.Trainer(model, optimizer, "cross_entropy").fit(dataset)`
acc BinaryAccuracy CategoricalAccuracy SparseCategoricalAccuracy accuracy_score: `train.accuracy`,
    or "accuracy"
TopKCategoricalAccuracy SparseTopKCategoricalAccuracy top_5 top_5_accuracy top_k
    top_k_accuracy: `train.top5`, or "top5"
MeanSquaredError mse squared_error neg_mean_squared_error: "mse", or `nn.functional.mse`
MeanAbsoluteError mae l1 absolute_error neg_mean_absolute_error: "mae", or `nn.functional.l1`
RootMeanSquaredError rmse: of a batch, `lambda y, t: nn.functional.mse(y, t) ** 0.5`
MeanAbsolutePercentageError mape: `lambda y, t: ((y - t).abs() / t.abs()).mean()`
CategoricalCrossentropy SparseCategoricalCrossentropy cross_entropy log_loss:
    `nn.functional.cross_entropy`
BinaryCrossentropy bce bce_with_logits: `nn.functional.bce_with_logits`
huber: `nn.functional.huber`
AUC Precision Recall F1Score FBetaScore MeanIoU IoU R2Score TruePositives FalsePositives
    TrueNegatives FalseNegatives PrecisionAtRecall RecallAtPrecision BinaryIoU OneHotIoU
    OneHotMeanIoU SensitivityAtSpecificity SpecificityAtSensitivity PearsonCorrelation
    ConcordanceCorrelation CosineSimilarity r2 f1 f1_macro roc_auc roc_auc_score balanced_accuracy
    confusion_matrix: sklearn.metrics has it, for the outputs that
    `trainer.predict(rows)` gives
Metric Mean Sum MeanMetricWrapper: a metric is a function (output, target) -> float: `lambda y, t:
    float((y - t).abs().mean())`
Hinge SquaredHinge CategoricalHinge LogCoshError KLDivergence Poisson MeanSquaredLogarithmicError:
    a function (output, target) -> float
"""
NAMES["Trainer"] = """
compile: `train.Trainer(model, optimizer, "cross_entropy", ["accuracy"])`
summary: `nn.summary(model, rows)`
train_on_batch: `trainer.train_step((rows, classes))`
save_weights: `minidl.io.save("weights.safetensors", model.state_dict())`
score: `trainer.evaluate(dataset)`
resume restore: `trainer.fit(dataset, epochs=3, resume="run.safetensors")`; trainer.load(path)
    alone goes back to a state
train: `trainer.fit(dataset)`
test validate: `trainer.evaluate(dataset)`
predict_proba: of logits, `nn.functional.softmax(trainer.predict(rows))`
predict_classes: `trainer.predict(rows).argmax(1)`
save_model: `trainer.save("run.safetensors")`, the whole run; the weights alone,
    `minidl.io.save("weights.safetensors", model.state_dict())`
load_weights load_model: `model.load_state_dict(minidl.io.load("weights.safetensors")[0])`
metrics_names: `[*trainer.metrics]`
val_loss valid_loss: `trainer.logs`, `trainer.history`: name -> numbers
lr learning_rate: `trainer.optimizer.lr`
global_step step_count: `trainer.optimizer.steps`
current_epoch: `trainer.epoch`
params: `trainer.n_epochs`, `trainer.n_batches`
stop_training should_stop: `trainer.stopped = True`
callback_metrics keys get items: `trainer.logs`, name -> number
"""
NAMES["Callback"] = """
model params: each event is given the trainer: `trainer.model`, `trainer.n_epochs`
validation_data history: each event is given the trainer: `trainer.history`
set_model set_params: leave it out: each event is given the trainer
"""
NAMES["ArrayDataset"] = """
x X data features tensors inputs: `dataset.arrays[0]`
y targets labels target: `dataset.arrays[-1]`
shape: `dataset.arrays[0].shape`
map: transform=, a function (batch, rng) -> batch, of `data.DataLoader(dataset, 2)`
batch: `data.DataLoader(dataset, 2)`
shuffle: `data.DataLoader(dataset, shuffle=True)`
prefetch cache repeat: leave it out: a DataLoader works ahead, `data.DataLoader(dataset, 2)`
take skip head: `data.Subset(dataset, range(2))`
concatenate: `data.ArrayDataset(np.concatenate([rows, rows]))`
train_test_split random_split: `data.split(dataset, 0.8)`
"""
NAMES["Subset"] = """
arrays x X data features tensors inputs: `subset[:]`, a tuple of its arrays, in memory
y targets labels target: `subset[:][-1]`
"""
NAMES["nn.init"] = """
xavier_uniform_ xavier_uniform glorot_uniform GlorotUniform:
    `nn.init.initialise(model, "glorot_uniform")`
xavier_normal_ xavier_normal glorot_normal GlorotNormal:
    `nn.init.initialise(model, "glorot_normal")`
kaiming_uniform_ kaiming_uniform he_uniform HeUniform: `nn.init.initialise(model, "he_uniform")`
kaiming_normal_ kaiming_normal he_normal HeNormal: `nn.init.initialise(model, "he_normal")`
lecun_normal LecunNormal: `nn.init.initialise(model, "lecun_normal")`
orthogonal_ orthogonal: `nn.init.initialise(model, "orthogonal")`
normal_ trunc_normal_ RandomNormal: `nn.init.initialise(model, 0.02**2)`, a variance; of one
    parameter, `p.data = nn.init.draw(p.shape, 0.02**2)`
uniform_ RandomUniform: `p.data = minidl.rand_like(p).data`
zeros_ Zeros: `p.data = 0 * p.data`
ones_ constant_ Ones Constant: `p.data = 0 * p.data + 1`
"""
NAMES["estimators"] = """
MLPClassifier NeuralNetClassifier KerasClassifier: `minidl.estimators.MinidlClassifier()`
MLPRegressor NeuralNetRegressor KerasRegressor: `minidl.estimators.MinidlRegressor()`
"""
NAMES["data"] = """
IterableDataset: any class with a length whose items are tuples, or
    `data.ArrayDataset(rows, classes)`
TensorDataset from_tensor_slices from_tensors: `data.ArrayDataset(rows, classes)`
random_split train_test_split: `data.split(dataset, 0.8)`
ConcatDataset: `data.ArrayDataset(np.concatenate([rows, rows]))`
WeightedRandomSampler: `data.DataLoader(dataset, sampler=data.weighted([1, 1, 2, 2]))`
RandomSampler SubsetRandomSampler: `data.DataLoader(dataset, shuffle=True)`
SequentialSampler BatchSampler: `data.DataLoader(dataset, 2)`
default_collate: leave it out: a DataLoader stacks by itself
pad pad_sequences: `data.pad_sequence([[1, 2], [3]], value=0)`
transforms Compose: `data.images.augment(data.images.flip)`
ImageFolder image_dataset_from_directory: `data.images.read_folder`
# around
utils: `data.DataLoader(dataset, 2)`
load_csv read_table genfromtxt loadtxt read_excel read_parquet read_json DataFrame: a CSV file,
    data.read_csv(path, target=...); else pandas, and `data.ArrayDataset(rows, classes)`
StandardScaler MinMaxScaler normalize standardize: on the arrays: `(array - array.mean(0)) /
    array.std(0)`
one_hot OneHotEncoder get_dummies to_categorical: `minidl.engine.ops.one_hot(labels, classes=5)`;
    of words in a file, words="one-hot" of data.read_csv
LabelEncoder: `np.unique(words, return_inverse=True)`
load_iris: `data.datasets.iris`
load_digits: `data.datasets.digits`
load_wine: `data.datasets.wine`
cifar10 cifar100 imdb svhn imagenet reuters stl10 celeba coco emnist kmnist: there are iris, wine,
    digits, mnist, fashion_mnist and a few more; images in folders, `data.images.read_folder`;
    arrays, `data.ArrayDataset(rows, classes)`
california_housing boston_housing: `data.datasets.diabetes`; of a CSV file, data.read_csv(path,
    target=..., numeric=True)
load_breast_cancer: `data.datasets.breast_cancer`
load_diabetes: `data.datasets.diabetes`
make_moons make_circles make_blobs: `data.datasets.moons()`, `data.datasets.spirals()`
MNIST: `data.datasets.mnist`
FashionMNIST: `data.datasets.fashion_mnist`
"""

# Names of PyTorch's tensors that have no line above, but a `_` at the end, or the nearest is named.
_OTHERS = """
abs_ apply_ clip_ cos_ exp_ fill_diagonal_ log_ map2_ map_ relu_ resize_as_sparse_ sigmoid_ sin_
sparse_resize_ sparse_resize_and_clear_ sqrt_ tanh_ transpose_
as_strided as_strided_scatter as_subclass bitwise_left_shift bitwise_right_shift ccol_indices
chalf col_indices const_data_ptr cross crow_indices cummax cummin dense_dim diag_embed diagflat
diagonal_scatter digamma dim_order frac frexp gcd geqrf grad_dtype hash_tensor igamma igammac
index index_reduce is_coalesced is_distributed is_inference is_ipu is_maia is_meta is_mkldnn
is_mtia is_neg is_nested is_nonzero is_same_size is_set_to is_sparse_csr is_vulkan is_xla is_xpu
istft kron layout lcm ldexp lgamma logaddexp2 logcumsumexp lu_solve mode module_load mvlgamma name
narrow_copy new_empty_strided nextafter nonzero_static orgqr ormqr output_nr polygamma put
q_per_channel_axis q_per_channel_scales q_per_channel_zero_points reinforce renorm resolve_conj
resolve_neg rot90 row_indices select_scatter slice_inverse slice_scatter sparse_dim stft
storage_type sum_to_size to_mkldnn to_padded_tensor to_sparse_bsc to_sparse_bsr to_sparse_coo
to_sparse_csc to_sparse_csr unique_consecutive unsafe_split_with_sizes volatile xlogy
"""

# A keyword -> what to write.  Words that begin with = are names of arguments: the first of them
# that the function has is meant; what follows a | is said where it has none.
KEYWORDS: str = """
# tensors and functions
dim dims: =axis
keepdim: =keepdims
axes: =axis
input: =x =logits =y
a_min min: =low
a_max max: =high
unbiased correction: =ddof
descending stable largest: sort `-x` for the other order
out where: leave it out: a result is a new tensor
dtype: convert what it gives: `x.astype("float64")`, `model.to(dtype="float64")`
device: move it after it was made: `model.to("cpu")`, `x.to("cpu")`
non_blocking copy memory_format pin_memory layout: leave it out
generator: `minidl.manual_seed(0)` starts the random numbers
inplace: leave it out: a result is a new tensor
size shape: the lengths, by position: `minidl.zeros(2, 3)`, `x.reshape(3, 2)`
requires_grad: a Parameter is trained; what is not is a Tensor, `minidl.zeros(3)`, or is not
    given to the optimiser
start_dim end_dim: leave it out: all axes but the first become one
# layers
in_features in_channels input_size input_dim n_inputs: =n_in =n
out_features out_channels units filters n_outputs: =n_out =n_hidden
hidden_size: =n_hidden
num_layers: =n_layers =layers
kernel_size pool_size: =size
strides: =stride
dilation_rate: =dilation
num_embeddings: =n =n_tokens
num_features normalized_shape num_channels: =n
embedding_dim output_dim embed_dim d_model: =width
num_heads nhead: =heads
num_groups: =groups
key_dim: =width
rate: =p
negative_slope: =slope
alpha: =slope =decay =weight_decay
use_bias: =bias
epsilon: =eps
batch_first: leave it out: sequences are (N, T, D) always
return_sequences return_state: leave it out: a recurrent layer gives all outputs and the last
    state, `y, state = nn.LSTM(3, 4)(batch)`; the last output is `y[:, -1]`
nonlinearity: leave it out: nn.RNN computes with tanh
activation: a layer of its own, after this one: `nn.Sequential(nn.Linear(3, 4), nn.ReLU())`
input_shape batch_input_shape: leave it out: a layer is told n_in, `nn.Linear(3, 4)`
kernel_initializer bias_initializer: `nn.init.initialise(model, "he_normal")`
kernel_regularizer: weight_decay= of the optimiser: `optim.AdamW(model.parameters(),
    weight_decay=0.01)`
name: leave it out: a part is named by the attribute that holds it
data_format: leave it out: images are (N, C, H, W)
padding_mode: leave it out: padding is with zeros
ceil_mode return_indices count_include_pad divisor_override: minidl has no such option
elementwise_affine affine track_running_stats: minidl has no such option
padding_idx max_norm sparse mask_zero: minidl has no such option
approximate: leave it out: GELU is the form with tanh
dropout_p: =p
attn_mask: =mask
is_causal: =causal
key_padding_mask: =key_mask, which is True where a key may be looked at
need_weights: leave it out: attention gives its output alone
# losses
label_smoothing: =smoothing
beta: =delta
pos_weight: =sample_weight, with larger numbers where the target is 1
class_weight sample_weight: of fit: `trainer.fit(dataset, class_weight="balanced")`
weight: =class_weight, a number for each class (sample_weight: for each sample)
size_average reduce: write reduction="sum" or "none"
from_logits: leave it out: cross_entropy and bce_with_logits take logits
y_true y_pred: write (output, target), by position: the output is first
# optimisers
params: =parameters
learning_rate learning_rate_init: =lr
beta_1 beta_2: =betas, both in one: `optim.Adam(model.parameters(), betas=(0.9, 0.999))`
rho: =decay
clipnorm clip_norm max_grad_norm gradient_clip_val: clip_norm= of a Trainer, or
    `optim.clip_grad_norm(model.parameters(), 1.0)`
clipvalue: `optim.clip_grad_value(model.parameters(), 1.0)`
amsgrad centered maximize foreach capturable differentiable fused dampening lr_decay ema_momentum
    use_ema: minidl has no such option
T_max total_steps decay_steps: =total
eta_min: =last
step_size: =every
gamma decay_rate: =factor =decay
pct_start: =peak_at
div_factor max_lr: =highest | the rate at the top is the optimiser's lr
scheduler lr_scheduler: =schedule | schedule= of the optimiser:
    `optim.Adam(model.parameters(), schedule=optim.cosine(1000))`
last_epoch: leave it out: a schedule is told the number of steps done
clip_value: =limit
norm max_grad: =max_norm
l2 decay: =weight_decay
warmup_steps num_warmup_steps: =steps
set_to_none: leave it out: the gradients become None
closure: leave it out: `loss.backward()`, then `optimizer.step()`
# training
validation_data validation_split val_data validation_loader valid_data: =valid
verbose: =progress | leave it out: only fit shows its progress
max_iter: =epochs
max_epochs num_epochs n_epochs nb_epoch nb_epochs epochs: =epochs | `trainer.fit(dataset, epochs=3)`
loss_fn criterion loss_function: =loss
validation_batch_size: =batch_size
initial_epoch: =resume
opset_version opset target_opset: leave it out: a file has the version `minidl.onnx.OPSET`
input_names output_names: leave it out: inputs are called as forward's arguments
dynamic_axes dynamic_shapes: =axes
grey gray grayscale color_mode: of images that were read, `images.mean(1, keepdims=True)`
metric: =monitor =metrics
steps_per_epoch validation_steps: give data of that size, such as `data.split(dataset, 0.5)[0]`
shuffle: training data is shuffled; else `data.DataLoader(dataset, shuffle=False)`
callback callbacks: =callbacks | `trainer.fit(dataset, callbacks=[train.EarlyStopping()],
    valid=0.2)`
batch: =batch_size
batch_size valid progress seed resume: of fit: `trainer.fit(dataset, batch_size=64, valid=0.2)`
lr: lr= of the optimiser: `optim.Adam(model.parameters(), lr=0.01)`
optimizer loss metrics: of the Trainer: `train.Trainer(model, optimizer, "mse", ["mae"])`
fp16 bf16 amp precision autocast: =mixed_precision
jit_compile mode dynamic fullgraph backend options disable: =compile =largest | leave it out:
    every shape is traced by itself, as one graph of NumPy calls
accumulate_grad_batches gradient_accumulation_steps accumulation_steps: =accumulate
accelerator devices gpus: =device
return_dict: leave it out: it is a dict name -> number
save_top_k: =best_only
append separator: leave it out: the file is written anew after each epoch
function: the function, in first place: `minidl.compile(step)`
weighted_metrics loss_weights: a loss of one's own: any function (output, target) -> Tensor
x y: the data, first, by position
num_workers use_multiprocessing: =workers
prefetch_factor max_queue_size: =prefetch
persistent_workers timeout worker_init_fn multiprocessing_context: leave it out: workers are
    threads
collate_fn: =collate
batch_sampler: =sampler
filepath filename: =path
save_best_only: =best_only
save_weights_only: leave it out: a checkpoint holds the whole run
save_freq: =every
min_delta threshold cooldown baseline start_from_epoch: minidl has no such option
restore_best_weights: leave it out: EarlyStopping always does
min_lr start_lr lr_min init_value: =lowest
end_lr lr_max final_value: =highest
num_iter num_training num_steps n_steps: =steps
map_location weights_only: leave it out: arrays alone are read, into memory; `model.to("cpu")`
    moves them
compress compression protocol: minidl has no such option
# data
sep: =delimiter
usecols columns feature_columns feature_names: =features
label label_column label_name labels y_col target_column: =target | classes=, the names of the
    classes, of `data.ArrayDataset(rows, classes, classes=["a", "b", "c", "d", "e"])`
na_filter keep_default_na fill_value fillna: =empty
missing_values na na_values: =na_values, a list of the words that mean nothing, with empty="mean"
header names index_col skiprows nrows chunksize parse_dates converters encoding engine: a file in
    UTF-8, whose first line names the columns; else pandas.read_csv, and
    `data.ArrayDataset(rows, classes)`
class_names: =classes
train_size lengths ratio frac: =fraction
test_size: =fraction, of the first part: `data.split(dataset, 0.8)`
random_state: =seed
stratify: leave it out: samples are drawn without regard to their class
padding_value: =value
padding truncating maxlen: leave it out: each row is as long as the longest sequence
num_samples replacement: leave it out: as many are drawn, each anew, as there are samples
n_samples: =n
return_X_y as_frame train download root: leave it out: `rows, labels = data.datasets.iris()[:]`
angle: =degrees
height width: =size, a number or a pair (height, width)
probability prob: =p
max_tokens max_features vocab_size: =max_size
idx: =indices
target_transform: a transform= of `data.DataLoader(dataset, 2)`: a function (batch, rng) -> batch
# estimators
hidden_layer_sizes: =hidden
solver: =optimizer
n_iter_no_change: =patience
tol: =patience, the epochs without improvement
"""


# ---- what is missing


# Where else a name is looked up that a place has no line for.
_ALSO = {
    "minidl": ["Tensor"], "nn.functional": ["nn", "Tensor"], "train": ["nn"],
    "data.images": ["nn", "data"], "data.text": ["nn", "data"], "data.datasets": ["data"],
}  # fmt: skip
_IN_PLACE = "write x = ..., a new tensor; in place are `x *= 2` and `x[...] = y`"


def _plain(name):
    """A name without what differs between the ways of joining words."""
    return name.replace("_", "").lower()


def _spread(text):
    """A dict name -> line of a text such as those of NAMES."""
    found = {}
    for entry in re.split(r"\n(?! )", text.strip()):
        names, _, line = " ".join(entry.split()).partition(": ")
        if not names.startswith("#"):
            found |= dict.fromkeys(names.split(), line)
    return found


_lines = {place: _spread(text) for place, text in NAMES.items()}
_alike = {place: {_plain(name): line for name, line in t.items()} for place, t in _lines.items()}
_keywords = _spread(KEYWORDS)


def missing(where: str, name: str, known: Iterable[str]) -> str:
    """What to write in place of `name`, which the place `where` lacks.  known: the names it has."""
    if where == "Tensor" and name.endswith("_") and name not in _lines[where]:
        return _IN_PLACE
    places = where, *_ALSO.get(where, [])
    for lines, key in (_lines, name), (_alike, _plain(name)):
        for place in places:
            if key in lines.get(place, {}):
                return lines[place][key].replace("NAME", name)
    return _elsewhere(name) or f"{_nearest(name, known)}; see {PAGE}"


# Where a public name of minidl's own is looked for, when it is asked for in another place.
_ROOMS = [
    "minidl", "nn", "nn.functional", "nn.init", "optim", "train", "data", "data.datasets",
    "data.images", "data.text", "io", "graph", "distributed",
]  # fmt: skip


def _elsewhere(name):
    """The place where minidl has a public name that is spelled so, or else alike; or None."""
    found = {}
    for room in _ROOMS:
        module = sys.modules.get(f"minidl.{room}", sys.modules["minidl"])
        for other, value in vars(module).items():
            ours = str(getattr(value, "__module__", "")).startswith("minidl")
            if ours and not other.startswith("_"):
                found.setdefault(other, f"`{room}.{other}`")
    alike = [place for other, place in found.items() if _plain(other) == _plain(name)]
    return found.get(name) or next(iter(alike), None)


def instead(where: str, name: object) -> str:
    """The line about `name` at the place `where`, to end a sentence with; "" if there is none."""
    line = _alike[where].get(_plain(str(name)), "")
    return line and f"; {line.replace('NAME', str(name))}"


def _nearest(name, known):
    """Words that name what is most like `name` among the names `known`."""
    plain = {_plain(other): other for other in known if not other.startswith("_")}
    found = get_close_matches(_plain(name), plain, n=1, cutoff=0.6)
    if found:
        return f"the nearest is {plain[found[0]]}"
    return "nothing is called nearly so"


def of_module(module: str) -> Any:
    """The `__getattr__` of a module, given by its dotted name: it raises AttributeError.

    `from module import name` would not pass that on, so there it raises ImportError.
    """

    def __getattr__(name):
        text = f"module {module!r} has no attribute {name!r}"
        if name.startswith("_"):
            raise AttributeError(text)
        found = vars(sys.modules[module])
        line = missing(module.removeprefix("minidl."), name, found.get("__all__", found))
        asking = sys._getframe(1)
        if asking.f_code.co_name == "__getattr__":  # of a module that has more to say in its own
            asking = asking.f_back
        if asking.f_code.co_code[asking.f_lasti] == opmap["IMPORT_FROM"]:
            raise ImportError(f"cannot import name {name!r} from {module!r}: {line}", name=name)
        raise AttributeError(f"{text}: {line}")

    return __getattr__


def of_object(where: str) -> Any:
    """The `__getattr__` of a class whose names stand in NAMES under `where`."""

    def __getattr__(self, name):
        text = f"{type(self).__name__!r} object has no attribute {name!r}"
        if not name.startswith("_"):
            text += f": {missing(where, name, [*vars(self), *dir(type(self))])}"
        raise AttributeError(text)

    return __getattr__


class Absent:
    """An attribute that minidl's Tensor lacks: to ask for it raises AttributeError."""

    def __init__(self, name: str):
        self.name: str = name

    def __repr__(self) -> str:
        return f"absent: {missing('Tensor', self.name, ())}"

    def __get__(self, x: object, kind: type) -> NoReturn:
        raise AttributeError(f"'Tensor' object has no attribute {self.name!r}: "
                             f"{missing('Tensor', self.name, dir(kind))}")  # fmt: skip


class Elsewhere:
    """The base of Tensor, which knows what PyTorch's tensors have and minidl's lack.

    Not by a `__getattr__`: that would make every attribute slower, and a step by 4 %.
    """

    __slots__ = ()

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in _ABSENT]


_ABSENT = {*_lines["Tensor"], *_OTHERS.split()}
_ABSENT |= {f"{name}_" for name in _ABSENT if not name.endswith("_")}
for _name in _ABSENT:
    setattr(Elsewhere, _name, Absent(_name))


# ---- wrong arguments


def keyword(name: str, known: Collection[str]) -> str:
    """What to write in place of the keyword `name`, which a function lacks that has those known."""
    line = _keywords.get(name, "")
    named, either, else_ = line.partition(" | ")
    names = re.findall(r"(?:^|\s)=(\w+)", named)
    for other in names:
        if other in known:
            return f"write {other}={named.rpartition('=' + names[-1])[2]}"
    if line and not names:
        return named
    if either:
        return else_
    return f"it has {', '.join(known) or 'none'}; see {PAGE}"


def advised(f: Function) -> Function:
    """Decorator: the function f, whose TypeErrors about its own arguments say what to write."""

    @wraps(f)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return f(*args, **options)
        except TypeError as error:
            kind = type(next(iter(args), None)).__name__
            text = about_arguments(inspect.unwrap(f), str(error), options, kind)
            if text is None:
                raise
            raise TypeError(text) from None

    return cast("Function", call)


def about_arguments(
    f: Callable[..., Any], text: str, options: Mapping[str, Any], kind: str = ""
) -> str | None:
    """The text of an error with advice, if it says that f was called with wrong arguments.

    Or that a function was to which f handed `options` on: then the advice is f's, if it has any.
    kind: whose constructor f is, if it is one.
    """
    signature = inspect.signature(f)
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "xp")]
    known = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    own = text.startswith(f"{f.__qualname__}() ")
    wrong = re.search(r"(?:unexpected keyword|has no) argument '(\w+)'", text)
    unknown = [name for name in options if name not in known and (not wrong or name == wrong[1])]
    name = f.__qualname__
    if f.__name__ == "__init__":
        name = kind
    if unknown and (own or wrong):
        advice = keyword(unknown[0], known)
        if own or PAGE not in advice:
            return f"{name}() has no argument {unknown[0]!r}: {advice}"
    if own and not wrong:
        mine = [p.replace(annotation=p.empty) for p in parameters]
        called = signature.replace(parameters=mine, return_annotation=inspect.Signature.empty)
        text = f"{text}; it is called {name}{called}"
        if "*, " in text:
            text += ": what follows the * goes by its name"
        return text
    return None


def constructors(cls: type) -> None:
    """Let the constructor that `cls` itself defines give advice, for an `__init_subclass__`."""
    f = vars(cls).get("__init__")
    if f and f.__module__ == cls.__module__ and not hasattr(f, "__wrapped__"):
        cls.__init__ = advised(f)


def methods(cls: type) -> None:
    """Let the public methods of `cls` give advice, but those that take any keyword."""
    for name, f in list(vars(cls).items()):
        if inspect.isfunction(f) and name[0] != "_" and not inspect.getfullargspec(f).varkw:
            setattr(cls, name, advised(f))


def functions(module: str) -> None:
    """Let all public functions and constructors that `module`, by its dotted name, defines give
    advice.
    """
    names = vars(sys.modules[module])
    for name, f in list(names.items()):
        if name.startswith("_") or getattr(f, "__module__", None) != module:
            continue
        if inspect.isfunction(f):
            names[name] = advised(f)
        elif inspect.isclass(f):
            constructors(f)
