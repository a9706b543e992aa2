"""How the answers of lesson 07 are called: plain arrays in, a list of arrays out.

This file also runs in the submission's process, so it holds no expected value.
"""

import numpy as np


def drive_unbroadcast(answer, g, shape):
    return [answer(g, tuple(int(n) for n in shape))]


def drive_matmul_gradient(answer, g, a, b):
    return list(answer(g, a, b))


class Node:
    """As in the exercise: a number that knows what it was made of."""

    def __init__(self, number, inputs, slopes):
        self.number, self.inputs, self.slopes = number, inputs, slopes


def drive_backward(answer, inputs, slopes):
    """inputs (n, 2): numbers of earlier nodes, or -1; slopes (n, 2).  The last is the result."""
    nodes = []
    for i, (sources, local) in enumerate(zip(inputs.tolist(), slopes.tolist())):
        used = [k for k in range(2) if sources[k] >= 0]
        nodes.append(Node(i, [nodes[sources[k]] for k in used], [local[k] for k in used]))
    found = answer(nodes[-1])
    return [np.array([float(found.get(node, 0.0)) for node in nodes])]


def ramp(x):
    return np.arange(1, x.size + 1).reshape(x.shape)


A = np.array([[2.0, -1.0, 0.5], [0.3, 1.5, -2.0]])
# Functions of an array x, each with a gradient; the odd ones are wrong on purpose.
FUNCTIONS = [
    (lambda x: (x**3).sum(), lambda x: 3.0 * x * x),
    (lambda x: (x**3).sum(), lambda x: 2.0 * x * x),  # a factor
    (lambda x: np.sin(3 * x).sum(), lambda x: 3 * np.cos(3 * x)),
    (lambda x: np.sin(3 * x).sum(), lambda x: -3 * np.cos(3 * x)),  # the sign
    (lambda x: (x * ramp(x)).sum() * 5.0, lambda x: 5.0 * ramp(x)),
    (lambda x: (x * ramp(x)).sum() * 5.0, lambda x: 5.0 * ramp(x) + 40.0 * (x == x.max())),
    (lambda x: np.exp(A @ x).sum(), lambda x: A.T @ np.exp(A @ x)),
    (lambda x: np.exp(A @ x).sum(), lambda x: A.T @ np.exp(A @ x) * 1.001),  # a little
]  # fmt: skip


def drive_gradient_check(answer, which, x):
    f, gradient = FUNCTIONS[int(which)]
    before = x.copy()
    error = answer(f, gradient, x)
    return [np.array(error), np.array(x.dtype == before.dtype and (x == before).all())]
