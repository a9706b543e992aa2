"""RNN, LSTM and GRU: against PyTorch, a slow reference and themselves; lengths, states, errors."""

import numpy as np
import pytest

import minidl
from minidl import optim, tensor
from minidl.nn import GRU, LSTM, RNN
from minidl.nn import functional as F
from minidl.nn.recurrent import Recurrent

CELLS = [RNN, LSTM, GRU]
LENGTHS = np.array([5, 2, 1, 4])
N, T, D, H = 4, 5, 3, 2

every_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def to_pytorch(torch, layer):
    """PyTorch's layer with the weights of `layer`: the same names, its matrices transposed."""
    options = {"dropout": layer.dropout, "bidirectional": len(layer.directions) == 2}
    kind = getattr(torch.nn, type(layer).__name__)
    theirs = kind(layer.n_in, layer.n_hidden, layer.n_layers, batch_first=True, **options)
    state = {name: torch.tensor(a.T.copy()) for name, a in layer.state_dict().items()}
    theirs = theirs.to(next(iter(state.values())).dtype)
    theirs.load_state_dict(state)
    return theirs


def from_pytorch(layer, theirs):
    """Load into `layer` the weights of PyTorch's layer `theirs`."""
    layer.load_state_dict({name: a.detach().numpy().T for name, a in theirs.state_dict().items()})


def flat(output, state):
    """The output and the final states as one list."""
    return [output, *(state if isinstance(state, tuple) else [state])]


def pytorchs(torch, theirs, x, state, lengths):
    """What PyTorch's layer gives, packed where there are lengths."""
    rnn = torch.nn.utils.rnn
    if lengths is None:
        return flat(*theirs(x, state))
    packed = rnn.pack_padded_sequence(
        x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    output, state = theirs(packed, state)
    output, _ = rnn.pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])
    return flat(output, state)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "both"])
@pytest.mark.parametrize("n_layers", [1, 2])
@every_cell
def test_outputs_states_and_gradients_are_pytorchs(
    cell, n_layers, bidirectional, lengths, device, torch
):
    source = cell(D, H, n_layers, bidirectional=bidirectional).to(dtype="float64")
    theirs = to_pytorch(torch, source)
    ours = cell(D, H, n_layers, bidirectional=bidirectional).to(device, dtype="float64")
    from_pytorch(ours, theirs)

    begin = [numbers(n_layers * len(ours.directions), N, H, seed=1 + i) for i in range(cell.states)]
    arrays = [numbers(N, T, D), *begin]
    x, *state = mine = [tensor(a, requires_grad=True, device=device) for a in arrays]
    u, *v = other = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = flat(*ours(x, tuple(state) if cell is LSTM else state[0], lengths))
    z = pytorchs(torch, theirs, u, tuple(v) if cell is LSTM else v[0], lengths)

    assert len(y) == len(z)
    total, expected = 0.0, 0.0
    for i, (a, b) in enumerate(zip(y, z)):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-11, atol=1e-13)
        w = numbers(*a.shape, seed=10 + i)
        total = total + (a * tensor(w, device=device)).sum()
        expected = expected + (b * torch.tensor(w)).sum()
    total.backward()
    expected.backward()
    mine += [p for _, p in sorted(ours.named_parameters())]
    other += [p for _, p in sorted(theirs.named_parameters())]
    assert len(mine) == len(other)
    for a, b in zip(mine, other):
        transposed = b.grad.numpy().T if b.ndim == 2 else b.grad.numpy()
        np.testing.assert_allclose(a.grad.numpy(), transposed, rtol=1e-10, atol=1e-12)


@every_cell
def test_a_state_begins_at_zero_and_float32_stays(cell, torch, device):
    ours = cell(D, 7, 2, bidirectional=True)
    theirs = to_pytorch(torch, ours)
    x = numbers(3, 9, D).astype("f")
    y = flat(*ours.to(device)(tensor(x, device=device)))
    for a, b in zip(y, flat(*theirs(torch.tensor(x))), strict=True):
        assert a.dtype == "float32" and a.device == device
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), atol=1e-6)


def slow(layer, x):
    """The last h of one sequence x (T, D), as the papers write the cells, gate by gate."""
    w_x, w_h, b_x, b_h = (layer.state_dict()[f"{name}_l0"] for name in layer.names)
    h = c = np.zeros(layer.n_hidden)

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    for element in x:
        a = np.split(element @ w_x + b_x, layer.gates)
        b = np.split(h @ w_h + b_h, layer.gates)
        if isinstance(layer, RNN):
            h = np.tanh(a[0] + b[0])
        elif isinstance(layer, LSTM):
            i, f, o = (sigmoid(a[k] + b[k]) for k in (0, 1, 3))
            c = f * c + i * np.tanh(a[2] + b[2])
            h = o * np.tanh(c)
        else:
            r, z = (sigmoid(a[k] + b[k]) for k in (0, 1))
            h = (1 - z) * np.tanh(a[2] + r * b[2]) + z * h
    return h


@every_cell
def test_a_slow_reference_agrees_sequence_by_sequence(cell, device):
    layer, x = cell(D, H).to(dtype="float64"), numbers(N, T, D)
    expected = [slow(layer, x[i, :n]) for i, n in enumerate(LENGTHS)]
    _, state = layer.to(device)(tensor(x, device=device), lengths=LENGTHS)
    h = state[0] if cell is LSTM else state
    np.testing.assert_allclose(h.numpy()[0], expected, rtol=1e-12)


@every_cell
def test_a_padded_batch_gives_what_each_sequence_gives_alone(cell, device):
    layer = cell(D, H, 2, bidirectional=True).to(device, dtype="float64")
    x = numbers(N, T, D)
    for i, n in enumerate(LENGTHS):
        x[i, n:] = np.nan
    x = tensor(x, device=device, requires_grad=True)
    lengths = tensor(LENGTHS, device=device)
    output, *states = flat(*layer(x, lengths=lengths))
    for i, n in enumerate(LENGTHS):
        alone, *ends = flat(*layer(x[i : i + 1, :n]))
        np.testing.assert_allclose(output[i : i + 1, :n].numpy(), alone.numpy(), rtol=1e-12)
        np.testing.assert_array_equal(output.numpy()[i, n:], 0)
        for state, end in zip(states, ends, strict=True):
            np.testing.assert_allclose(state.numpy()[:, [i]], end.numpy(), rtol=1e-12)
    (output * output).sum().backward()
    for i, n in enumerate(LENGTHS):
        np.testing.assert_array_equal(x.grad.numpy()[i, :n] != 0, True)
        np.testing.assert_array_equal(x.grad.numpy()[i, n:], 0)
    assert not [p for p in layer.parameters() if not np.isfinite(p.grad.numpy()).all()]


def test_lengths_may_be_a_list_and_full_lengths_change_nothing():
    layer, x = GRU(D, H, bidirectional=True), tensor(numbers(2, 3, D).astype("f"))
    for a, b in zip(flat(*layer(x)), flat(*layer(x, lengths=[3, 3]))):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@every_cell
def test_a_sequence_may_be_read_in_two_pieces(cell):
    layer, x = cell(D, H, 2).to(dtype="float64"), tensor(numbers(N, T, D))
    whole, *expected = flat(*layer(x))
    first, state = layer(x[:, :2])
    second, *found = flat(*layer(x[:, 2:], state))
    np.testing.assert_allclose(minidl.concatenate([first, second], axis=1).numpy(), whole.numpy())
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy())


@pytest.mark.parametrize("n_layers, bidirectional", [(1, False), (2, True)])
@every_cell
def test_second_derivatives(cell, n_layers, bidirectional):
    """The gradient of a projection of the first gradients, against central differences."""
    layer = cell(2, 2, n_layers, bidirectional=bidirectional).to(dtype="float64")
    names = list(layer.state_dict())[:4]
    arrays = [numbers(2, 3, 2), *(layer.state_dict()[name] for name in names)]

    def projected(arrays, *, create_graph=False):
        x, *parts = inputs = [tensor(a, requires_grad=True) for a in arrays]
        for name, p in zip(names, parts):
            vars(layer)[name] = p  # past the check that keeps parameters trained
        y = flat(*layer(x, lengths=[3, 2]))
        loss = sum((a * a * tensor(numbers(*a.shape, seed=i))).sum() for i, a in enumerate(y))
        first = minidl.grad(loss, inputs, create_graph=create_graph)
        return sum((g * tensor(numbers(*g.shape, seed=7))).sum() for g in first), inputs

    total, inputs = projected(arrays, create_graph=True)
    for k, g in enumerate(minidl.grad(total, inputs)):
        at = np.unravel_index(np.argsort(-abs(g.numpy()), axis=None)[:4], g.shape)
        for place in zip(*at):  # the four largest of each
            ends = []
            for step in (1e-5, -1e-5):
                moved = [a.copy() for a in arrays]
                moved[k][place] += step
                ends.append(projected(moved)[0].item())
            assert g.numpy()[place] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-8)


def test_going_back_does_not_cost_the_square_of_the_time():
    made = []

    def counting(xp, a, *indices, key, shape):
        made.append(np.prod(shape))
        return forward(xp, a, *indices, key=key, shape=shape)

    forward, layer, steps = minidl.engine.shapes.scatter.forward, RNN(D, H), 64
    with minidl.replaced("scatter", forward=counting):
        layer(tensor(numbers(N, steps, D).astype("f")))[0].sum().backward()
    assert sum(made) <= 2 * steps * N * H + 100, "one array of zeros for all times"


def test_dropout_stands_between_layers_and_only_in_training():
    both, below, above = LSTM(D, 8, 2, dropout=0.5), LSTM(D, 8), LSTM(8, 8)
    state = both.state_dict()
    for layer, number in ((below, 0), (above, 1)):
        layer.load_state_dict(
            {name: state[name.replace("l0", f"l{number}")] for name in layer.state_dict()}
        )
    x = tensor(numbers(N, T, D).astype("f"))
    minidl.manual_seed(3)
    found = both(x)[0].numpy()
    minidl.manual_seed(3)
    between = F.dropout(below(x)[0].transpose(1, 0, 2), p=0.5).transpose(1, 0, 2)
    np.testing.assert_allclose(found, above(between)[0].numpy(), atol=1e-6)
    assert not np.allclose(found, both(x)[0].numpy()), "another draw"
    expected = above(below(x)[0])[0].numpy()
    np.testing.assert_allclose(both.eval()(x)[0].numpy(), expected, atol=1e-6)
    alone = LSTM(D, 8, dropout=0.5)
    np.testing.assert_array_equal(alone(x)[0].numpy(), alone(x)[0].numpy())


@every_cell
def test_parameters_start_uniform_within_their_bound_and_by_seed(cell):
    minidl.manual_seed(1)
    first = cell(50, 100, 2, bidirectional=True).state_dict()
    minidl.manual_seed(1)
    second = cell(50, 100, 2, bidirectional=True).state_dict()
    assert len(first) == 16
    for name, a in first.items():
        np.testing.assert_array_equal(a, second[name])
        assert a.dtype == "float32"
        assert 0.09 < abs(a).max() <= 0.1
    wide = first["weight_hh_l1_reverse"]
    assert abs(wide.mean()) < 0.002 and abs(wide.std() - 0.1 / np.sqrt(3)) < 0.001


@every_cell
def test_no_sequences_and_one_element(cell, device):
    layer = cell(D, H, 2, bidirectional=True).to(device)
    for n, lengths in ((0, None), (0, np.zeros(0, int)), (2, None), (2, [1, 1])):
        x = tensor(np.ones((n, 1, D), "f"), device=device, requires_grad=True)
        output, *states = flat(*layer(x, lengths=lengths))
        assert output.shape == (n, 1, 2 * H) and {s.shape for s in states} == {(4, n, H)}
        output.sum().backward()
        assert x.grad.shape == (n, 1, D)


X = np.ones((2, 3, D), "f")


@pytest.mark.parametrize(
    "x, state, lengths, complaint",
    [
        (X[0], None, None, r"x \(N, T > 0, 3\), got \(3, 3\)"),
        (X[:, :, :2], None, None, r"x \(N, T > 0, 3\), got \(2, 3, 2\)"),
        (X[:, :0], None, None, r"x \(N, T > 0, 3\), got \(2, 0, 3\)"),
        (X, None, [4, 1], r"2 integer lengths 1 to 3, got \[4 1\]"),
        (X, None, [3, 0], r"2 integer lengths 1 to 3, got \[3 0\]"),
        (X, None, [3, 2, 1], r"2 integer lengths 1 to 3, got tensor\(\[3, 2, 1\]\)"),
        (X, None, [[3, 2]], "2 integer lengths 1 to 3"),
        (X, None, [3.0, 1.0], r"2 integer lengths 1 to 3, got tensor\(\[3\., 1\.\]\)"),
        (X, np.ones((2, 2, H), "f"), None, r"1 x state \(1, 2, 2\), got \[\(2, 2, 2\)\]"),
        (X, np.ones((2, H), "f"), None, r"1 x state \(1, 2, 2\), got \[\(2, 2\)\]"),
    ],
)
def test_what_does_not_fit_is_named(x, state, lengths, complaint, device):
    state = None if state is None else tensor(state, device=device)
    with pytest.raises(ValueError, match=rf"GRU\(3, 2, 1\): expected {complaint}"):
        GRU(D, H).to(device)(tensor(x, device=device), state, lengths)


def test_an_lstm_needs_both_states():
    h = tensor(np.zeros((1, 2, H), "f"))
    with pytest.raises(ValueError, match=r"LSTM.*expected 2 x state \(1, 2, 2\), got \[\(1, 2, 2"):
        LSTM(D, H)(tensor(X), h)
    with pytest.raises(ValueError, match=r"got \[\(1, 2, 2\), \(1, 2\)\]"):
        LSTM(D, H)(tensor(X), (h, h[:, :, 0]))


def test_a_cell_of_ones_own_writes_one_step(device):
    class Sum(Recurrent):
        """h grows by what is read."""

        def step(self, from_x, from_h, h):
            return (h + from_x,)

    layer, x = Sum(D, H).to(device, dtype="float64"), numbers(N, T, D)
    output, _ = layer(tensor(x, device=device))
    w, b = (layer.state_dict()[name] for name in ("weight_ih_l0", "bias_ih_l0"))
    expected = np.cumsum(
        x @ minidl.engine.devices.to_numpy(w) + minidl.engine.devices.to_numpy(b), axis=1
    )
    np.testing.assert_allclose(output.numpy(), expected)


def test_a_gru_learns_to_remember_the_first_element():
    rng = np.random.default_rng(0)
    lengths = rng.integers(8, 13, 64)
    x = rng.standard_normal((64, 12, 1)).astype("f")
    y = (x[:, 0, 0] > 0).astype("f")
    layer = GRU(1, 8)
    optimizer = optim.Adam(layer.parameters(), lr=0.03)
    for _ in range(80):
        optimizer.zero_grad()
        _, state = layer(tensor(x), lengths=lengths)
        loss = F.bce_with_logits(4 * state[0, :, 0], tensor(y))
        loss.backward()
        optimizer.step()
    assert ((state[0, :, 0].numpy() > 0) == y).mean() > 0.95
