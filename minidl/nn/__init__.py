"""Layers and models, the functions they are made of, and how first weights are drawn.

Explained in course/09 (modules), 13 (norms, dropout), 14 (convolution), 16 (recurrent layers),
17 (attention), 18 (GPT) and 25 (eight bits).
"""

from .. import advice
from . import functional, init
from .layers import (
    GELU,
    AvgPool2d,
    BatchNorm,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool2d,
    GroupNorm,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    RMSNorm,
    Sigmoid,
    Tanh,
)
from .module import Module, Parameter, Sequential, checkpoint, evaluating, summary, watched
from .quantized import QuantizedConv2d, QuantizedLinear, quantize
from .recurrent import GRU, LSTM, RNN
from .transformer import GPT, MultiHeadAttention, TransformerBlock, sample

__all__ = [
    "GELU",
    "GPT",
    "GRU",
    "LSTM",
    "RNN",
    "AvgPool2d",
    "BatchNorm",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAvgPool2d",
    "GroupNorm",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "Module",
    "MultiHeadAttention",
    "Parameter",
    "QuantizedConv2d",
    "QuantizedLinear",
    "RMSNorm",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "TransformerBlock",
    "checkpoint",
    "evaluating",
    "functional",
    "init",
    "quantize",
    "sample",
    "summary",
    "watched",
]
__getattr__ = advice.of_module(__name__)
