"""Attention, block and GPT: against PyTorch, slow references and themselves; caches and draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl import nn, optim, tensor
from minidl.nn import GPT, MultiHeadAttention, TransformerBlock, sample
from minidl.nn import functional as F

N, T, S, D, HEADS = 3, 4, 5, 6, 2
CAUSAL = np.tri(T, dtype=bool)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def padding(*lengths, total):
    return np.arange(total) < np.array(lengths)[:, None]


def spread(layer):
    """The layer in float64 with parameters far from 0, so that nothing hides in a small number."""
    layer.to(dtype="float64")
    for i, p in enumerate(layer.parameters()):
        p.data = p.data + 0.5 * numbers(*p.shape, seed=100 + i)
    return layer


# ---- the names of the same parameters, here and in PyTorch


def attention_to_pytorch(torch, state, prefix=""):
    """PyTorch's state dict for the attention whose state dict is `state`."""
    found = {}
    for kind in "weight", "bias":
        if f"query.{kind}" in state:
            parts = [state[f"{name}.{kind}"].T for name in ("query", "key", "value")]
            found[f"{prefix}in_proj_{kind}"] = torch.tensor(np.concatenate(parts))
            found[f"{prefix}out_proj.{kind}"] = torch.tensor(state[f"out.{kind}"].T.copy())
    return found


BLOCK_NAMES = {"norm1": "norm1", "norm2": "norm2", "mlp.0": "linear1", "mlp.2": "linear2"}


def block_to_pytorch(torch, state):
    inner = {k.removeprefix("attention."): a for k, a in state.items() if k.startswith("att")}
    found = attention_to_pytorch(torch, inner, "self_attn.")
    for ours, theirs in BLOCK_NAMES.items():
        for kind in "weight", "bias":
            found[f"{theirs}.{kind}"] = torch.tensor(state[f"{ours}.{kind}"].T.copy())
    return found


def pytorchs_block(torch, block):
    theirs = torch.nn.TransformerEncoderLayer(
        D, HEADS, 4 * D, dropout=0.0, norm_first=True, batch_first=True, dtype=torch.float64,
        activation=lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    )  # fmt: skip
    theirs.load_state_dict(block_to_pytorch(torch, block.state_dict()))
    return theirs


def gradients(module):
    return {name: p.grad.numpy() for name, p in module.named_parameters()}


def assert_same_gradients(expected, theirs):
    """Ours, renamed to PyTorch's names, are PyTorch's."""
    found = dict(theirs.named_parameters())
    assert expected.keys() == found.keys()
    for name, g in expected.items():
        np.testing.assert_allclose(g.numpy(), found[name].grad.numpy(), rtol=1e-9, atol=1e-11)


# ---- attention

CASES = {
    "self": {},
    "causal": {"causal": True},
    "padding": {"key_mask": padding(4, 1, 2, total=T)},
    "padding, causal": {"key_mask": padding(4, 1, 2, total=T), "causal": True},
    "a mask for each head": {"mask": numbers(N, HEADS, T, T) + 2 * np.eye(T) > 0},
    "one mask for all": {"mask": np.eye(T, k=-1) + np.eye(T) > 0},
    "context": {"context": numbers(N, S, D, seed=1)},
    "context, padding": {"context": numbers(N, S, D), "key_mask": padding(5, 2, 3, total=S)},
    "context of one": {"context": numbers(N, 1, D, seed=1)},
    "no bias": {"bias": False, "context": numbers(N, S, D, seed=1)},
}


@pytest.mark.parametrize("case", CASES)
def test_attention_is_pytorchs_in_value_and_gradient(case, device, torch):
    options = dict(CASES[case])
    bias, context = options.pop("bias", True), options.pop("context", None)
    ours = spread(MultiHeadAttention(D, HEADS, bias=bias))
    theirs = torch.nn.MultiheadAttention(
        D, HEADS, bias=bias, batch_first=True, dtype=torch.float64
    )  # fmt: skip
    theirs.load_state_dict(attention_to_pytorch(torch, ours.state_dict()))
    ours.to(device)

    arrays = [numbers(N, T, D), *([] if context is None else [context])]
    a = [tensor(x, requires_grad=True, device=device) for x in arrays]
    b = [torch.tensor(x, requires_grad=True) for x in arrays]
    for name in options.keys() & {"mask", "key_mask"}:
        options[name] = tensor(options[name], device=device)
    y = ours(*a, **options)

    see = np.ones((N, HEADS, T, arrays[-1].shape[1]), bool)
    see = see & CASES[case].get("mask", True)
    if "key_mask" in options:
        see = see & CASES[case]["key_mask"][:, None, None]
    see = see & CAUSAL if options.get("causal") else see
    hide = torch.tensor(~see.reshape(N * HEADS, T, -1))
    z, _ = theirs(b[0], b[-1], b[-1], attn_mask=hide)

    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-10, atol=1e-12)
    weight = numbers(*y.shape, seed=9)
    (y * tensor(weight, device=device)).sum().backward()
    (z * torch.tensor(weight)).sum().backward()
    for p, q in zip(a, b):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9, atol=1e-12)
    assert_same_gradients(attention_to_pytorch(torch, gradients(ours)), theirs)


def slow_attention(layer, x, context, see):
    """One sequence x (T, D), head by head and query by query; see (T, S)."""
    state = layer.state_dict()

    def project(name, a):
        return a @ state[f"{name}.weight"] + state[f"{name}.bias"]

    q, k, v = project("query", x), project("key", context), project("value", context)
    y, d = np.zeros_like(x), x.shape[1] // layer.heads
    for head in range(layer.heads):
        columns = slice(head * d, (head + 1) * d)
        for t in range(len(x)):
            weights = np.exp(k[see[t]][:, columns] @ q[t, columns] / np.sqrt(d))
            y[t, columns] = weights / weights.sum() @ v[see[t]][:, columns]
    return project("out", y)


@pytest.mark.parametrize("heads", [1, 2, 3, 6])
def test_a_slow_reference_agrees(heads, device):
    layer = spread(MultiHeadAttention(D, heads))
    x, context = numbers(N, T, D), numbers(N, S, D, seed=1)
    mask = padding(5, 1, 3, total=S)
    everything = np.ones((T, S), bool)
    alone = [slow_attention(layer, a, a, CAUSAL) for a in x]
    across = [slow_attention(layer, a, b, everything & m) for a, b, m in zip(x, context, mask)]
    layer.to(device)
    x, context, mask = (tensor(a, device=device) for a in (x, context, mask))
    np.testing.assert_allclose(layer(x, causal=True).numpy(), alone, rtol=1e-10)
    np.testing.assert_allclose(layer(x, context, key_mask=mask).numpy(), across, rtol=1e-10)


def test_what_is_padded_does_not_matter(device):
    layer, x = spread(MultiHeadAttention(D, HEADS)).to(device), numbers(N, T, D)
    lengths = (4, 1, 2)
    mask = tensor(padding(*lengths, total=T), device=device)
    first = layer(tensor(x, device=device), key_mask=mask).numpy()
    for i, n in enumerate(lengths):
        x[i, n:] = 1e3
    second = layer(tensor(x, device=device), key_mask=mask).numpy()
    for i, n in enumerate(lengths):
        np.testing.assert_allclose(first[i, :n], second[i, :n], rtol=1e-12)


@pytest.mark.parametrize("pieces", [[1, 1, 1, 1, 1], [2, 3], [4, 1], [5]])
@pytest.mark.parametrize("kind", [MultiHeadAttention, TransformerBlock])
def test_a_cache_gives_what_the_whole_sequence_gives(kind, pieces, device):
    layer, x = spread(kind(D, HEADS)).to(device), tensor(numbers(N, 5, D), device=device)
    before, cache, found, start = layer.state_dict(), [], [], 0
    for n in pieces:
        found.append(layer(x[:, start : start + n], causal=True, cache=cache).numpy())
        start += n
        assert [a.shape for a in cache] == [(N, HEADS, start, D // HEADS)] * 2
    expected = layer(x, causal=True).numpy()
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, rtol=1e-10)
    after = layer.state_dict()
    assert before.keys() == after.keys()
    assert not [name for name in after if not bool((after[name] == before[name]).all())]


def test_a_mask_beside_a_cache_speaks_of_all_keys():
    layer, x = spread(MultiHeadAttention(D, HEADS)), tensor(numbers(2, 3, D))
    mask, cache = np.array([[True, False, True], [True, True, True]]), []
    layer(x[:, :2], causal=True, key_mask=mask[:, :2], cache=cache)
    y = layer(x[:, 2:], causal=True, key_mask=mask, cache=cache).numpy()
    np.testing.assert_allclose(y, layer(x, causal=True, key_mask=mask).numpy()[:, 2:], rtol=1e-12)


def test_a_context_is_never_put_into_the_cache_twice():
    layer, context, cache = spread(MultiHeadAttention(D, HEADS)), tensor(numbers(N, S, D)), []
    for seed in range(3):
        x = tensor(numbers(N, T, D, seed=seed))
        y = layer(x, context, cache=cache)
        np.testing.assert_array_equal(y.numpy(), layer(x, context).numpy())
        assert cache[0].shape == (N, HEADS, S, D // HEADS)


@pytest.mark.parametrize("options", [{"causal": True}, {"key_mask": padding(2, 3, total=3)}])
@pytest.mark.parametrize("kind", [MultiHeadAttention, TransformerBlock])
def test_second_derivatives(kind, options):
    """The gradient of a projection of the first gradients, against central differences."""
    layer = spread(kind(2, 2))
    owner = layer if kind is MultiHeadAttention else layer.attention
    first = numbers(2, 3, 2)

    def projected(x, weight, *, create_graph=False):
        inputs = tensor(x, requires_grad=True), nn.Parameter(weight)
        owner.key.weight = inputs[1]
        y = layer(inputs[0], **options)
        loss = (y * y * tensor(numbers(*y.shape, seed=1))).sum()
        found = minidl.grad(loss, inputs, create_graph=create_graph)
        return sum((g * tensor(numbers(*g.shape, seed=2))).sum() for g in found), inputs

    arrays = [first, owner.key.weight.data]
    total, inputs = projected(*arrays, create_graph=True)
    for k, g in enumerate(minidl.grad(total, inputs)):
        for place in np.ndindex(g.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [a.copy() for a in arrays]
                moved[k][place] += step
                ends.append(projected(*moved)[0].item())
            slope = (ends[0] - ends[1]) / 2e-5
            assert g.numpy()[place] == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_no_sequences_and_one_place(device):
    layer = MultiHeadAttention(D, HEADS).to(device)
    for n in 0, 2:
        x = tensor(np.ones((n, 1, D), "f"), device=device, requires_grad=True)
        y = layer(x, causal=True)
        assert y.shape == (n, 1, D) and y.dtype == "float32" and y.device == device
        y.sum().backward()
        assert x.grad.shape == x.shape


X = np.ones((2, 3, 4), "f")


@pytest.mark.parametrize(
    "call, complaint",
    [
        (lambda layer: layer(X[0]), r"\(3, 4\)"),
        (lambda layer: layer(X[:, :, :3]), r"Linear\(4, 4\): expected x .*, got \(2, 3, 3\)"),
        (lambda layer: layer(X, X[:, :, :3]), r"expected x .*\(..., 4\), got \(2, 3, 3\)"),
        (lambda layer: layer(X, np.ones((3, 3, 4), "f")), r"\(2, 2, 3, 2\) and \(3, 2, 2, 3\)"),
        (lambda layer: layer(X, mask=np.ones((2, 4), bool)), r"\(2, 4\) must .* \(2, 2, 3, 3\)"),
        (lambda layer: layer(X, mask=np.ones((2, 3), bool)), r"\(2, 3\) must .* \(2, 2, 3, 3\)"),
        (lambda layer: layer(X, key_mask=np.ones((3, 3), bool)), r"\(N, S\), here \(2, 3\), got"),
        (lambda layer: layer(X, key_mask=np.ones((2, 3))), r"booleans \(N, S\), .* got float64"),
        (lambda layer: layer(X, mask=np.ones((1, 3, 3), bool)), r"which axis .* mask\[:, None\]"),
        (lambda layer: layer(X[:1], mask=np.ones((2, 1, 1, 3), bool)), r"\(2, 1, 1, 3\).*\(1, 2"),
        (lambda layer: layer(X, mask=np.ones((1, 2, 2, 3, 3), bool)), r"\(1, 2, 2, 3, 3\)"),
        (lambda layer: MultiHeadAttention(6, 4), "width of 6 cannot be cut into 4 heads"),
        (lambda layer: TransformerBlock(6, 0), "width of 6 cannot be cut into 0 heads"),
        (lambda layer: GPT(5, 4, 6, 4, 1), "width of 6 cannot be cut into 4 heads"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call(MultiHeadAttention(4, 2))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("added", [False, True])
def test_as_many_places_as_sequences_are_no_doubt(added, causal, device, torch):
    """T == S == N: two axes are (T, S) in a mask, (N, S) in a key_mask, as in PyTorch."""
    n = 4
    ours = spread(MultiHeadAttention(D, HEADS)).to(device)
    theirs = torch.nn.MultiheadAttention(D, HEADS, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict(attention_to_pytorch(torch, ours.to("cpu").state_dict()))
    x, keys = numbers(n, n, D), padding(4, 3, 2, 4, total=n)
    see = (numbers(n, n, seed=1) > 0) | (np.arange(n) == 0)
    for key_mask in (None, keys):
        seen = see & np.tri(n, dtype=bool) if causal else see
        hide = {"attn_mask": torch.tensor(~seen)}
        if key_mask is not None:
            hide["key_padding_mask"] = torch.tensor(~key_mask)
        mask = np.where(see, 0.0, -np.inf) if added else see
        to = {"device": device}
        found = ours.to(device)(
            tensor(x, **to), mask=tensor(mask, **to), causal=causal,
            key_mask=None if key_mask is None else tensor(key_mask, **to),
        )  # fmt: skip
        expected, _ = theirs(*[torch.tensor(x)] * 3, **hide)
        np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), rtol=1e-10)


def test_a_mask_of_integers_is_refused():
    with pytest.raises(TypeError, match=r"mask: a mask is booleans.*got int64"):
        MultiHeadAttention(4, 2)(X, mask=np.ones((3, 3), int))


# ---- block


@pytest.mark.parametrize("case", ["plain", "causal", "padding"])
def test_the_block_is_pytorchs_in_value_and_gradient(case, device, torch):
    ours = spread(TransformerBlock(D, HEADS))
    theirs = pytorchs_block(torch, ours)
    ours.to(device)
    array, mask = numbers(N, T, D), padding(4, 1, 2, total=T)
    x, u = tensor(array, requires_grad=True, device=device), torch.tensor(array, requires_grad=True)
    if case == "plain":
        y, z = ours(x), theirs(u)
    elif case == "causal":
        y, z = ours(x, causal=True), theirs(u, src_mask=torch.tensor(~CAUSAL))
    else:
        y = ours(x, key_mask=tensor(mask, device=device))
        z = theirs(u, src_key_padding_mask=torch.tensor(~mask))
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-10, atol=1e-12)
    weight = numbers(*y.shape, seed=9)
    (y * tensor(weight, device=device)).sum().backward()
    (z * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), u.grad.numpy(), rtol=1e-9, atol=1e-11)
    assert_same_gradients(block_to_pytorch(torch, gradients(ours)), theirs)


def test_dropout_falls_on_what_is_added_and_only_in_training():
    block, plain = TransformerBlock(8, 2, dropout=0.5), TransformerBlock(8, 2)
    plain.load_state_dict(block.state_dict())
    x = tensor(numbers(2, 3, 8).astype("f"))
    minidl.manual_seed(5)
    found = block(x).numpy()
    minidl.manual_seed(5)
    y = x + F.dropout(plain.attention(plain.norm1(x)), p=0.5)
    y = y + F.dropout(plain.mlp(plain.norm2(y)), p=0.5)
    np.testing.assert_allclose(found, y.numpy(), atol=1e-6)
    np.testing.assert_array_equal(block.eval()(x).numpy(), plain(x).numpy())


# ---- GPT

IDS = np.random.default_rng(0).integers(0, 9, (2, 7))


def gpt(n_tokens=9, context=7, width=D, layers=2):
    return spread(GPT(n_tokens, context, width, HEADS, layers))


def test_gpt_is_pytorchs_parts_in_value_and_gradient(device, torch):
    ours = gpt()
    nnf, state = torch.nn.functional, ours.state_dict()
    blocks = [pytorchs_block(torch, block) for block in ours.blocks]
    names = "tokens.weight", "positions.weight", "norm.weight", "norm.bias"
    tokens, positions, *norm = (torch.tensor(state[n], requires_grad=True) for n in names)
    ours.to(device)
    x = nnf.embedding(torch.tensor(IDS), tokens) + positions[:7]
    for block in blocks:
        x = block(x, src_mask=torch.tensor(~np.tri(7, dtype=bool)))
    z = nnf.layer_norm(x, (D,), *norm) @ tokens.T
    y = ours(tensor(IDS, device=device))
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-9, atol=1e-11)
    labels = (IDS + 1) % 9
    F.cross_entropy(y, tensor(labels, device=device)).backward()
    nnf.cross_entropy(z.reshape(-1, 9), torch.tensor(labels.ravel())).backward()
    found = gradients(ours)
    for name, theirs in zip(names, (tokens, positions, *norm)):
        np.testing.assert_allclose(found[name], theirs.grad.numpy(), rtol=1e-7, atol=1e-10)
    for block, theirs in zip(ours.blocks, blocks):
        assert_same_gradients(block_to_pytorch(torch, gradients(block)), theirs)


def test_gpt_starts_as_gpt_2_does():
    model = GPT(300, 50, 64, 4, 3)
    state = model.state_dict()
    for name, a in state.items():
        assert a.dtype == "float32"
        if a.ndim == 1:
            assert (a == ("norm" in name and name.endswith("weight"))).all(), name
        else:
            added = name.endswith(("attention.out.weight", "mlp.2.weight"))
            assert a.std() == pytest.approx(0.02 / 6**0.5 if added else 0.02, rel=0.05), name
            assert abs(a.mean()) < 0.001
    assert model(IDS).numpy().std() < 0.3, "all tokens about equally likely"
    minidl.manual_seed(0)
    again = GPT(300, 50, 64, 4, 3).state_dict()
    assert not [(name, a) for name, a in state.items() if not (again[name] == a).all()]


def test_the_output_layer_is_the_embedding():
    model = GPT(11, 8, 12, 3, 2)
    block = 4 * (12 * 12 + 12) + 2 * 2 * 12 + 2 * 12 * 48 + 48 + 12
    assert sum(p.size for p in model.parameters()) == (11 + 8) * 12 + 2 * block + 2 * 12
    summary = nn.summary(model, IDS)
    assert "(2, 7, 11)" in summary and "blocks.1.attention.out" in summary


def test_a_token_does_not_see_what_comes_later():
    model, other = gpt(), IDS.copy()
    other[:, 4] = (other[:, 4] + 1) % 9
    a, b = model(IDS).numpy(), model(other).numpy()
    np.testing.assert_array_equal(a[:, :4], b[:, :4])
    np.testing.assert_array_equal(abs(a - b).max(axis=2)[:, 4:] > 1e-6, True)


@pytest.mark.parametrize("pieces", [[1] * 7, [3, 1, 1, 2], [7]])
def test_logits_with_a_cache_are_those_without(pieces, device):
    model = GPT(9, 7, 16, 2, 3)
    for i, p in enumerate(model.parameters()):
        p.data = p.data + (0.3 * numbers(*p.shape, seed=i)).astype("f")
    ids, start = tensor(IDS, device=device), 0
    expected, cache, found = model.to(device)(ids).numpy(), [[] for _ in model.blocks], []
    for n in pieces:
        found.append(model(ids[:, start : start + n], cache=cache).numpy())
        start += n
    assert not [(k, v) for k, v in cache if not (k.shape == v.shape == (2, 2, 7, 8))]
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=1e-5)


def places(end, context):
    """Where the window that ends at `end` begins: halves are left behind until it fits."""
    start = 0
    while end - start > context:
        start += (context + 1) // 2
    return start


@pytest.mark.parametrize("context, prompt", [(1, 1), (2, 3), (5, 2), (6, 6), (6, 17), (40, 2)])
def test_generate_gives_what_a_loop_without_a_cache_gives(context, prompt, device):
    model = gpt(context=context).to(device)
    expected = np.resize(IDS, (2, prompt))
    start = expected.copy()
    for _ in range(15):
        seen = expected[:, places(expected.shape[1], context) :]
        logits = model(tensor(seen, device=device))[:, -1].numpy()
        expected = np.concatenate([expected, logits.argmax(1)[:, None]], axis=1)
    ids = model.generate(tensor(start, device=device), 15, temperature=0)
    assert isinstance(ids, np.ndarray) and ids.dtype.kind == "i"
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(
        model.generate(model.generate(start, 4, temperature=0), 11, temperature=0), expected
    )
    assert len(np.unique(expected)) > 1


def test_a_token_costs_one_place_except_where_the_context_is_full():
    model, read = gpt(context=6), []
    forward = model.forward
    model.forward = lambda ids, *, cache: read.append(ids.shape[1]) or forward(ids, cache=cache)
    model.generate(IDS[:, :3], 12, temperature=0)
    assert read == [3, 1, 1, 1, 4, 1, 1, 4, 1, 1, 4, 1]


def test_logits_past_the_context_are_those_of_the_window_alone(monkeypatch):
    """Not only the most probable token: the numbers themselves, each step, to 1e-5."""
    model, found = GPT(9, 6, 16, 2, 2), []
    for i, p in enumerate(model.parameters()):
        p.data = p.data + (0.3 * numbers(*p.shape, seed=i)).astype("f")

    def keep(logits, **options):
        found.append(logits)
        return sample(logits, **options)

    monkeypatch.setattr("minidl.nn.transformer.sample", keep)
    ids = model.generate(IDS[:, :2], 14, rng=np.random.default_rng(0))
    for end, logits in zip(range(2, 16), found, strict=True):
        expected = model(ids[:, places(end, 6) : end]).numpy()[:, -1]
        np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_generate_draws_from_the_generator_given_or_from_minidls():
    model = gpt(context=20)
    first = model.generate(IDS, 12, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(first, model.generate(IDS, 12, rng=np.random.default_rng(1)))
    np.testing.assert_array_equal(first[:, :7], IDS)
    assert first.shape == (2, 19)
    other = model.generate(IDS, 12, rng=np.random.default_rng(2))
    assert (first != other).any(), "two seeds wrote the same"
    minidl.manual_seed(3)
    a, b = model.generate(IDS, 12), model.generate(IDS, 12)
    minidl.manual_seed(3)
    np.testing.assert_array_equal(model.generate(IDS, 12), a)
    assert (a != b).any(), "the two are the same"
    small = model.generate(IDS, 12, temperature=1e-4, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(small, model.generate(IDS, 12, temperature=0))
    one = model.generate(IDS, 12, top_k=1)
    np.testing.assert_array_equal(one, small)


def test_generate_is_in_evaluation_and_records_nothing():
    model = GPT(9, 20, D, HEADS, 2, dropout=0.9)
    a = model.generate(IDS, 5, temperature=0)
    assert model.training and model.blocks[0].dropout.training, "as it was before"
    model.blocks[0].eval()
    np.testing.assert_array_equal(model.generate(IDS, 5, temperature=0), a)
    assert model.training and not model.blocks[0].dropout.training
    np.testing.assert_array_equal(model.generate(IDS.tolist(), 0), IDS)
    assert model.generate(IDS[:0], 3).shape == (0, 10)
    forward, results = model.forward, []
    model.forward = lambda ids, *, cache: results.append(forward(ids, cache=cache)) or results[-1]
    model.generate(IDS, 3)
    assert len(results) == 3
    assert not [y for y in results if y.requires_grad]
    assert forward(IDS).requires_grad


@pytest.mark.parametrize(
    "call, error, complaint",
    [
        (lambda m: m(np.zeros((1, 8), int)), ValueError,
         r"ids \(1, 8\) .* end at 8 within the context of 7; cut them: ids\[:, -7:\]"),
        (lambda m: m(np.zeros(3, int)), ValueError, r"ids \(3,\) must be \(N, T > 0\)"),
        (lambda m: m(np.zeros((2, 0), int)), ValueError, r"ids \(2, 0\) must be \(N, T > 0\)"),
        (lambda m: m(np.array([[9]])), ValueError, r"ids must be in \[0, 9\), got 9 to 9"),
        (lambda m: m.generate([[0.5]], 1), TypeError, "expected integers, got float32"),
        (lambda m: m.generate([1, 2], 1), ValueError, r"ids \(2,\) must be \(N, T > 0\)"),
        (lambda m: m.generate(np.zeros((2, 0), int), 1), ValueError, r"ids \(2, 0\) must be"),
        (lambda m: m.generate([[1]], 1, temperature=-1), ValueError,
         r"expected temperature >= 0, top_k >= 1 and top_p in \(0, 1\], got -1, None and 1.0"),
        (lambda m: m.generate([[1]], 1, top_k=0), ValueError, "got 1.0, 0 and 1.0"),
        (lambda m: m.generate([[1]], 1, top_p=0), ValueError, "got 1.0, None and 0"),
        (lambda m: m.generate([[1]], 1, top_p=1.5), ValueError, "got 1.0, None and 1.5"),
        (lambda m: m.generate([[1]], 1, tempo=1), TypeError, "tempo"),
    ],
)  # fmt: skip
def test_gpt_says_what_it_expects(call, error, complaint):
    with pytest.raises(error, match=complaint):
        call(GPT(9, 7, D, HEADS, 1))


def test_a_cache_that_is_full_is_named():
    model = GPT(9, 7, D, HEADS, 1)
    cache = [[]]
    model(IDS, cache=cache)
    with pytest.raises(ValueError, match=r"ids \(2, 1\) must .* end at 8 within the context of 7"):
        model(IDS[:, :1], cache=cache)


# ---- sampling


def allowed(row, top_k, top_p):
    """The tokens that may be drawn, and their probabilities before the cut: slow and plain."""
    p = np.exp(row - row.max())
    order = sorted(range(len(row)), key=lambda i: (-row[i], i))[:top_k]
    p = p / p[order].sum()
    kept, total = [], 0.0
    for i in order:
        if total >= top_p - 1e-12:
            break
        kept.append(i)
        total += p[i]
    return kept, p


LOGITS = np.log([[0.4, 0.1, 0.3, 0.05, 0.15], [0.05, 0.5, 0.05, 0.3, 0.1]])


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_k, top_p", [(None, 1.0), (3, 1.0), (None, 0.75), (3, 0.6), (1, 0.5)])
def test_draws_have_the_probabilities_of_those_that_are_left(temperature, top_k, top_p):
    n = 4000
    logits = np.repeat(LOGITS, n, axis=0).astype("f")
    draws = sample(
        logits, temperature=temperature, top_k=top_k, top_p=top_p, rng=np.random.default_rng(0)
    ).reshape(2, n)
    for row, found in zip(LOGITS, draws):
        kept, p = allowed(row / temperature, top_k, top_p)
        expected = np.zeros(5)
        expected[kept] = p[kept] / p[kept].sum()
        share = np.bincount(found, minlength=5) / n
        np.testing.assert_array_equal(share[expected == 0], 0)
        # Five standard deviations of a share of n draws.
        np.testing.assert_array_equal(
            abs(share - expected) <= 5 * np.sqrt(expected * (1 - expected) / n), True
        )


@given(
    st.lists(st.integers(-8, 8), min_size=1, max_size=7),
    st.none() | st.integers(1, 9),
    st.floats(0.01, 1),
    st.integers(0, 1000),
)
def test_only_what_is_allowed_is_drawn(row, top_k, top_p, seed):
    row = np.array(row, dtype=np.float64) / 2
    draws = sample(
        np.tile(row, (20, 1)), top_k=top_k, top_p=top_p, rng=np.random.default_rng(seed)
    )  # fmt: skip
    assert {*draws.tolist()} <= {*allowed(row, top_k, top_p)[0]}


def test_top_p_comes_after_top_k():
    """Of 0.4, 0.3, 0.15 the first two are 0.82 of what top_k=3 leaves, but 0.7 of all."""
    logits = np.repeat(LOGITS[:1], 500, axis=0)
    rng = np.random.default_rng(0)
    assert {*sample(logits, top_k=3, top_p=0.8, rng=rng).tolist()} == {0, 2}
    assert {*sample(logits, top_p=0.8, rng=rng).tolist()} == {0, 2, 4}


def test_tokens_that_sum_to_top_p_are_enough():
    logits = np.zeros((50, 4))
    assert {*sample(logits, top_p=0.5).tolist()} == {0, 1}


def test_no_temperature_is_the_most_probable_and_of_equals_the_first():
    logits = np.array([[0.0, 2, 2, 1], [5, 5, 5, 5], [-1, -3, -2, 0]])
    np.testing.assert_array_equal(sample(logits, temperature=0), [1, 0, 3])
    np.testing.assert_array_equal(sample(logits, temperature=0, top_k=2, top_p=0.5), [1, 0, 3])


def test_large_and_impossible_logits():
    logits = np.array([[1e4, -1e4, 1e4], [-np.inf, 3, -np.inf]], dtype="f")
    draws = np.stack([sample(logits, rng=np.random.default_rng(i)) for i in range(20)])
    assert {*draws[:, 0].tolist()} == {0, 2}
    np.testing.assert_array_equal(draws[:, 1], 1)
    assert sample(logits[:0]).shape == (0,) and sample(logits[:0]).dtype == "int64"
    assert sample(np.zeros((3, 1))).tolist() == [0, 0, 0]


# ---- learning


@pytest.mark.slow
def test_a_gpt_learns_to_go_on_with_what_it_read_before():
    """Texts repeat a random word of three letters: only attention can know which."""
    rng = np.random.default_rng(0)
    model = GPT(8, 12, 32, 4, 2)
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, schedule=optim.warmup(20))
    for _ in range(250):
        ids = np.tile(rng.integers(0, 8, (32, 3)), (1, 4))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(ids)[:, 3:-1], tensor(ids[:, 4:]))
        loss.backward()
        optimizer.step()
    words = rng.integers(0, 8, (50, 3))
    ids = model.generate(np.tile(words, (1, 2)), 6, temperature=0)
    assert (ids == np.tile(words, (1, 4))).mean() > 0.95
