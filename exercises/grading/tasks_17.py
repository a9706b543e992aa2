"""The tasks of lesson 17: attention with masks, lengths, its gradients, and waves as positions."""

import math

import numpy as np

from .task import Task


def numbers(rng, *shape, scale=1.0):
    return scale * np.round(rng.uniform(-3, 3, shape), 2)


def softmax_of(scores):
    """Probabilities of a list of scores, in plain Python."""
    top = max(scores)
    raised = [math.exp(score - top) for score in scores]
    return [one / sum(raised) for one in raised]


def score(q, k):
    return sum(float(a) * float(b) for a, b in zip(q, k)) / math.sqrt(len(q))


# ---- 17.1


def attend_cases(rng):
    def case(group, t, s, d, e, scale=1.0, hide=0.4):
        mask = rng.random((t, s)) > hide
        mask[np.arange(t), rng.integers(0, s, t)] = True
        return (group, numbers(rng, t, d, scale=scale), numbers(rng, s, d), numbers(rng, s, e),
                mask)  # fmt: skip

    q, k = np.array([[2.0, 0, 0, 0]]), np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0]])
    v = np.array([[10.0], [0], [30]])
    yield "by hand", q, k, v, np.array([[True, True, True]])
    yield "by hand", q, k, v, np.array([[False, True, True]])
    yield case("all may be seen", 3, 4, 2, 3, hide=-1.0)
    yield case("all may be seen", 4, 2, 3, 1, hide=-1.0)
    yield case("some are hidden", 3, 5, 2, 2)
    yield case("some are hidden", 5, 3, 4, 2)
    yield case("some are hidden", 4, 4, 4, 4)
    yield (
        "only one is seen",
        numbers(rng, 3, 2),
        numbers(rng, 3, 2),
        numbers(rng, 3, 2),
        np.eye(3) > 0,
    )
    yield (
        "the last ones are hidden",
        numbers(rng, 4, 3),
        numbers(rng, 4, 3),
        numbers(rng, 4, 2),
        np.tri(4) > 0,
    )
    yield (
        "one number each",
        numbers(rng, 2, 1),
        numbers(rng, 3, 1),
        numbers(rng, 3, 1),
        np.array([[True, False, True], [False, True, True]]),
    )
    yield (
        "one key",
        numbers(rng, 3, 2),
        numbers(rng, 1, 2),
        numbers(rng, 1, 2),
        np.ones((3, 1), bool),
    )
    yield case("large scores", 3, 4, 3, 2, 1e5)
    yield case("large scores", 2, 5, 1, 1, 1e5)
    # The largest scores are hidden: what is left is far below them.
    far = np.array([[100.0, 0.0], [0.0, 100.0]])
    keys = np.array([[30.0, 30.0], [-30.0, -29.9], [-29.9, -30.0]])
    mask = np.array([[False, True, True], [False, True, True]])
    yield "the largest score is hidden", far, keys, numbers(rng, 3, 2), mask
    yield (
        "equal scores",
        np.zeros((2, 3)),
        numbers(rng, 4, 3),
        numbers(rng, 4, 2),
        np.array([[True] * 4, [True, True, False, False]]),
    )
    yield (
        "large values",
        numbers(rng, 2, 2),
        numbers(rng, 3, 2),
        1e6 * numbers(rng, 3, 2),
        np.ones((2, 3), bool),
    )
    yield case("many keys", 2, 40, 3, 2)
    yield case("many queries", 40, 2, 3, 2)
    yield case("many columns", 2, 3, 40, 35)


def attend_reference(q, k, v, mask):
    answers = np.zeros((len(q), v.shape[1]))
    for i in range(len(q)):
        seen = [j for j in range(len(k)) if mask[i, j]]
        for j, weight in zip(seen, softmax_of([score(q[i], k[j]) for j in seen])):
            answers[i] += weight * v[j]
    return answers


ATTEND = Task(
    id="17.1",
    replaces="nn.functional.attention",
    cases=attend_cases,
    reference=attend_reference,
    equal=(
        ("-> weights /= weights.sum(axis=1, keepdims=True)", "an array of the answer's own"),
        ("return np.array(answers) -> return answers", "a list is as good"),
    ),
    hints=(
        "A hidden key must have the weight 0 after the softmax. Which score gives that?",
        "np.where puts -inf where the mask is False; then take off the largest score of each row, "
        "which is then one that may be seen.",
        "scores = np.where(mask, scores, -np.inf); weights = np.exp(scores - scores.max(axis=1, "
        "keepdims=True)); divide by the sum of each row; weights @ v.",
    ),
    right=(
        """
        def attend(q, k, v, mask):
            scores = q @ k.T / np.sqrt(q.shape[1])
            scores = np.where(mask, scores, -np.inf)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            weights = weights / weights.sum(axis=1, keepdims=True)
            return weights @ v""",
        """
        def attend(q, k, v, mask):
            answers = []
            for query, seen in zip(q, mask):
                scores = k[seen] @ query / len(query) ** 0.5
                weights = np.exp(scores - scores.max())
                answers.append(weights @ v[seen] / weights.sum())
            return np.array(answers)""",
        """
        def attend(q, k, v, mask):
            scores = np.einsum("td,sd->ts", q, k) * q.shape[1] ** -0.5
            top = np.array([row[seen].max() for row, seen in zip(scores, mask)])
            raised = np.zeros(scores.shape)
            raised[mask] = np.exp((scores - top[:, None])[mask])
            return (raised[:, :, None] * v).sum(axis=1) / raised.sum(axis=1)[:, None]""",
    ),
    wrong=(
        ("what is hidden gets the score 0, not minus infinity", "-np.inf", "0.0"),
        ("the mask is read the other way round", "np.where(mask, scores, -np.inf)",
         "np.where(mask, -np.inf, scores)"),
        ("hidden weights are set to 0 after the softmax, and the rest no longer has the sum 1",
         "            scores = np.where(mask, scores, -np.inf)\n", "",
         "keepdims=True)\n            return", "keepdims=True) * mask\n            return"),
        ("the root of D is missing", " / np.sqrt(q.shape[1])", ""),
        ("the scores are divided by D, not by its root", "np.sqrt(q.shape[1])", "q.shape[1]"),
        ("the root is that of the number of keys", "np.sqrt(q.shape[1])", "np.sqrt(len(k))"),
        ("the softmax is taken over the queries", "weights.sum(axis=1, keepdims=True)",
         "weights.sum(axis=0, keepdims=True)", "scores.max(axis=1, keepdims=True)", "scores.max()"),
        ("nothing is taken off before exp, so it overflows",
         "np.exp(scores - scores.max(axis=1, keepdims=True))", "np.exp(scores)"),
        ("the largest score is sought among the hidden ones too",
         "            scores = np.where(mask, scores, -np.inf)\n"
         "            weights = np.exp(scores - scores.max(axis=1, keepdims=True))\n",
         "            weights = np.exp(scores - scores.max(axis=1, keepdims=True)) * mask\n"),
        ("the weights are not divided by their sum",
         "            weights = weights / weights.sum(axis=1, keepdims=True)\n", ""),
        ("what is hidden gets a score of -100, which is not low enough", "-np.inf", "-100.0"),
    ),
)  # fmt: skip

# ---- 17.2


def causal_cases(rng):
    yield "some read before", 2, 4
    for group, t, s in [
        ("none read before", 1, 1), ("none read before", 4, 4), ("none read before", 7, 7),
        ("some read before", 3, 5), ("some read before", 2, 9), ("one query", 1, 6),
        ("one query", 1, 2), ("all but one are queries", 5, 6), ("many", 40, 45), ("many", 2, 60),
    ]:  # fmt: skip
        yield group, t, s
    t = int(rng.integers(2, 8))
    yield "some read before", t, t + int(rng.integers(1, 6))


def causal_reference(t, s):
    return np.array([[j <= i + s - t for j in range(s)] for i in range(t)])


CAUSAL = Task(
    id="17.2",
    cases=causal_cases,
    reference=causal_reference,
    equal=(("`dtype=bool` left out", "1 and 0 are as good as True and False"),),
    hints=(
        "Query 0 is not place 0: s - t places came before it.",
        "The places of the queries are s - t, ..., s - 1; a key may be seen if its place is not "
        "larger.",
        "queries = np.arange(s - t, s); return keys <= queries[:, None].",
    ),
    right=(
        """
        def causal(t, s):
            keys = np.arange(s)
            queries = np.arange(s - t, s)
            return keys <= queries[:, None]""",
        """
        def causal(t, s):
            return np.tri(t, s, s - t, dtype=bool)""",
        """
        def causal(t, s):
            mask = []
            for i in range(t):
                seen = s - t + i + 1
                mask.append([True] * seen + [False] * (s - seen))
            return mask""",
        """
        def causal(t, s):
            return np.tril(np.ones((s, s), dtype=bool))[s - t :]""",
    ),
    wrong=(
        ("the queries are taken for the first places, not the last", "np.arange(s - t, s)",
         "np.arange(t)"),
        ("a place may not see itself", "keys <= queries", "keys < queries"),
        ("the future is seen and the past hidden", "keys <= queries", "keys >= queries"),
        ("one place too many is seen", "np.arange(s - t, s)", "np.arange(s - t, s) + 1"),
        ("all queries may see everything", "keys <= queries[:, None]",
         "keys <= s + 0 * queries[:, None]"),
        ("all see what the first query sees", "queries[:, None]",
         "queries[:1, None] + 0 * queries[:, None]"),
        ("True stands where a query must not look", "keys <= queries[:, None]",
         "keys > queries[:, None]"),
        ("keys and queries have changed places", "keys <= queries[:, None]",
         "(keys[:, None] <= queries)"),
        ("only its own place is seen", "keys <= queries", "keys == queries"),
    ),
)  # fmt: skip

# ---- 17.3


def ask_cases(rng):
    def case(group, n, t, s, d, e, lengths, scale=1.0, fill=None):
        k, v = numbers(rng, n, s, d), numbers(rng, n, s, e)
        if fill is not None:
            for i, length in enumerate(lengths):
                k[i, length:], v[i, length:] = fill, fill
        return group, numbers(rng, n, t, d, scale=scale), k, v, np.array(lengths)

    nan = float("nan")
    two, values = np.array([[[1.0], [5.0]]]), np.array([[[10.0], [nan]]])
    yield "by hand", np.array([[[2.0]]]), two, values, np.array([1])
    yield case("full lengths", 2, 3, 4, 2, 3, [4, 4])
    yield case("full lengths", 1, 2, 3, 3, 1, [3])
    yield case("padding of numbers", 3, 2, 4, 2, 2, [1, 3, 4])
    yield case("padding of numbers", 2, 4, 5, 3, 1, [2, 5])
    yield case("padding of zeros", 3, 2, 4, 2, 2, [2, 1, 3], fill=0.0)
    yield case("padding of nan", 3, 2, 4, 2, 3, [2, 4, 1], fill=nan)
    yield case("padding of nan", 2, 3, 3, 1, 1, [1, 2], fill=nan)
    yield case("padding of large numbers", 2, 2, 4, 2, 2, [2, 3], fill=1e6)
    yield case("padding of large numbers", 2, 2, 4, 2, 2, [1, 3], fill=-1e6)
    yield case("large scores", 2, 3, 4, 2, 2, [3, 2], 1e5)
    yield case("one query, one key", 3, 1, 1, 2, 2, [1, 1, 1])
    yield case("all of one length", 3, 2, 5, 2, 2, [2, 2, 2], fill=nan)
    yield case("many samples", 35, 1, 3, 2, 1, list(rng.integers(1, 4, 35)), fill=nan)
    yield case("long", 2, 2, 40, 2, 1, [35, 7], fill=nan)
    yield case("long", 1, 36, 3, 2, 1, [2], fill=nan)
    yield case("many columns", 2, 2, 3, 40, 36, [2, 3], fill=nan)


def ask_reference(q, k, v, lengths):
    answers = np.zeros((*q.shape[:2], v.shape[2]))
    for n, length in enumerate(lengths):
        for i in range(q.shape[1]):
            found = softmax_of([score(q[n, i], k[n, j]) for j in range(length)])
            for j, weight in enumerate(found):
                answers[n, i] += weight * v[n, j]
    return answers


ASK = Task(
    id="17.3",
    cases=ask_cases,
    reference=ask_reference,
    equal=(
        ("list(enumerate(lengths))[::-1]", "each sample by itself"),
        ("-> answers = np.ones(", "all of it is written"),
        ("-> k = np.where(np.isfinite(k), k, 0)", "what is real is finite"),
        ("-> v = np.where(np.isfinite(v), v, 0)", "what is real is finite"),
        ("-> lengths = abs(lengths)", "lengths are from 1"),
        ("for a in list((k, v))[:20]", "there are two"),
        ("for a in list((k, v))[:3]", "there are two"),
        ("a, 1.0) for a in (k, v))", "it is hidden afterwards"),
        ("-> scores = q @ k.transpose(0, 2, 1) / q.shape[2] ** 0.5; k, v", "hidden afterwards"),
        ("return np.array(found) -> return found", "a list is as good"),
        ("list(zip(raised, values))[::-1]", "a sum has no order"),
        ("v[n][:])", "zip ends with the shorter"),
        ("v[n][:lengths[n] + 1])", "zip ends with the shorter"),
        ("key @ query for key in keys", "a product of vectors"),
        ("zip(values, raised)", "a product of two"),
    ),
    hints=(
        "A mask is not enough: a weight of 0 times nan is nan. What if padding never enters the "
        "product?",
        "Sample by sample: cut keys and values at the sample's length, then it is 17.1 without a "
        "mask.",
        "for n, length in enumerate(lengths): use k[n, :length] and v[n, :length].",
    ),
    right=(
        """
        def ask(q, k, v, lengths):
            answers = np.zeros((*q.shape[:2], v.shape[2]))
            for n, length in enumerate(lengths):
                scores = q[n] @ k[n, :length].T / np.sqrt(q.shape[2])
                weights = np.exp(scores - scores.max(axis=1, keepdims=True))
                weights /= weights.sum(axis=1, keepdims=True)
                answers[n] = weights @ v[n, :length]
            return answers""",
        """
        def ask(q, k, v, lengths):
            real = np.arange(k.shape[1]) < lengths[:, None]
            k, v = (np.where(real[:, :, None], a, 0.0) for a in (k, v))
            scores = q @ k.transpose(0, 2, 1) / q.shape[2] ** 0.5
            scores = np.where(real[:, None], scores, -np.inf)
            raised = np.exp(scores - scores.max(axis=2, keepdims=True))
            return raised @ v / raised.sum(axis=2, keepdims=True)""",
        """
        def ask(q, k, v, lengths):
            def one(query, keys, values):
                scores = np.array([query @ key for key in keys]) / len(query) ** 0.5
                raised = np.exp(scores - max(scores))
                return sum(weight * value for weight, value in zip(raised, values)) / raised.sum()

            found = []
            for n in range(len(q)):
                keys, values = k[n][: lengths[n]], v[n][: lengths[n]]
                found.append([one(query, keys, values) for query in q[n]])
            return np.array(found)""",
    ),
    wrong=(
        ("padding is looked at like anything else", "k[n, :length]", "k[n]", "v[n, :length]",
         "v[n]"),
        ("one key too few is real", "k[n, :length]", "k[n, : max(1, length - 1)]",
         "v[n, :length]", "v[n, : max(1, length - 1)]"),
        ("one key too many is real", "k[n, :length]", "k[n, : length + 1]",
         "v[n, :length]", "v[n, : length + 1]"),
        ("all samples have the first one's length", "for n, length in enumerate(lengths):",
         "for n, length in enumerate(lengths * 0 + lengths[0]):"),
        ("all samples have the shortest one's length", "for n, length in enumerate(lengths):",
         "for n, length in enumerate(lengths * 0 + lengths.min()):"),
        ("the last keys are real, not the first", "k[n, :length]", "k[n, -length:]",
         "v[n, :length]", "v[n, -length:]"),
        ("the root of D is missing", " / np.sqrt(q.shape[2])", ""),
        ("nothing is taken off before exp, so it overflows",
         "scores - scores.max(axis=1, keepdims=True)", "scores"),
        ("queries beyond the length get no answer", "            return answers",
         "            for n, length in enumerate(lengths):\n"
         "                answers[n, length:] = 0\n            return answers"),
        ("the mean of the real values is taken, whatever the scores are",
         "scores = q[n] @ k[n, :length].T", "scores = 0 * q[n] @ k[n, :length].T"),
        ("the softmax is taken over the queries", "weights.sum(axis=1, keepdims=True)",
         "weights.sum(axis=0, keepdims=True)"),
    ),
)  # fmt: skip

# ---- 17.4


def gradient_cases(rng):
    def case(group, t, s, d, e, scale=1.0, size=1.0):
        q, k = numbers(rng, t, d, scale=scale), numbers(rng, s, d)
        return group, q, k, numbers(rng, s, e), size * numbers(rng, t, e)

    one = np.array([[1.0]])
    yield "by hand", 0 * one, np.array([[1.0], [-1.0]]), np.array([[2.0], [4.0]]), one
    yield case("one query", 1, 3, 2, 1)
    yield case("one query", 1, 4, 3, 2)
    yield case("several queries", 3, 4, 2, 1)
    yield case("several queries", 4, 2, 3, 2)
    yield case("as many of each", 3, 3, 3, 3)
    yield case("one key", 3, 1, 2, 2)
    yield case("one number each", 2, 3, 1, 1)
    yield case("sharp weights", 2, 3, 2, 2, 5.0)
    yield case("large and small gradients", 2, 3, 2, 2, size=1e5)
    yield case("large and small gradients", 2, 3, 2, 2, size=1e-5)
    q, k, v = numbers(rng, 2, 2), numbers(rng, 3, 2), np.ones((3, 2))
    yield "equal values", q, k, v, numbers(rng, 2, 2)
    yield "no gradient", q, k, numbers(rng, 3, 2), np.zeros((2, 2))
    yield case("many keys", 2, 36, 2, 2)
    yield case("many queries", 36, 2, 2, 2)
    yield case("many columns", 2, 3, 36, 34)


def gradient_reference(q, k, v, g):
    to_q, to_k, to_v = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    root = math.sqrt(q.shape[1])
    for i in range(len(q)):
        p = softmax_of([score(q[i], key) for key in k])
        to_p = [float(g[i] @ value) for value in v]
        for j in range(len(k)):
            to_v[j] += p[j] * g[i]
            # The slope of each probability for score j: p_m (1 - p_j) for m = j, else -p_m p_j.
            slope = sum(to_p[m] * p[m] * ((m == j) - p[j]) for m in range(len(k)))
            to_q[i] += slope * k[j] / root
            to_k[j] += slope * q[i] / root
    return to_q, to_k, to_v


GRADIENT = Task(
    id="17.4",
    cases=gradient_cases,
    reference=gradient_reference,
    atol=1e-8,
    equal=(
        ("-> weights = np.exp(scores + scores.max", "scores stay below 100"),
        ("-> weights = np.exp(scores)", "scores stay below 100"),
        ("-> weights = np.exp(scores - scores.min", "scores stay below 100"),
        ("-> weights = np.exp(scores - scores.max(keepdims=True))", "scores stay below 100"),
        ("-> p = np.exp(s + s.max())", "scores stay below 100"),
        ("-> p = np.exp(s)", "scores stay below 100"),
        ("-> p = np.exp(s - s.min())", "scores stay below 100"),
        ("-> p /= p.sum()", "an array of the answer's own"),
        ("-> to_q, to_k, to_v = (np.ones(q.shape)", "all of it is written"),
        ("-> to_s = v @ g[i] @ table", "the table is its own transpose"),
    ),
    hints=(
        "Go back step by step: from the answers to weights and values, from the weights to the "
        "scores, from the scores to q and k.",
        "answers = weights @ v gives weights.T @ g for v and g @ v.T for the weights; a row of "
        "softmax passes on p * (g - (p * g).sum()).",
        "to_scores = weights * (to_weights - mean) / root; then to_scores @ k and to_scores.T @ q.",
    ),
    right=(
        """
        def attention_gradients(q, k, v, g):
            root = np.sqrt(q.shape[1])
            scores = q @ k.T / root
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            weights /= weights.sum(axis=1, keepdims=True)
            to_weights = g @ v.T
            mean = (weights * to_weights).sum(axis=1, keepdims=True)
            to_scores = weights * (to_weights - mean) / root
            return to_scores @ k, to_scores.T @ q, weights.T @ g""",
        """
        def attention_gradients(q, k, v, g):
            to_q, to_k, to_v = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
            for i in range(len(q)):
                s = k @ q[i] / q.shape[1] ** 0.5
                p = np.exp(s - s.max())
                p = p / p.sum()
                table = np.diag(p) - np.outer(p, p)
                to_s = table @ (v @ g[i]) / q.shape[1] ** 0.5
                to_q[i] = to_s @ k
                to_k += np.outer(to_s, q[i])
                to_v += np.outer(p, g[i])
            return to_q, to_k, to_v""",
        """
        def attention_gradients(q, k, v, g):
            scale = q.shape[1] ** -0.5
            raised = np.exp(scale * q @ k.T)
            p = raised / raised.sum(axis=1)[:, None]
            y = p @ v
            inner = np.einsum("te,tse->ts", g, v[None] - y[:, None])
            to_s = scale * p * inner
            return [np.einsum("ts,sd->td", to_s, k), np.einsum("ts,td->sd", to_s, q), p.T @ g]""",
    ),
    wrong=(
        ("the softmax passes the gradient on as it is", "weights * (to_weights - mean)",
         "to_weights"),
        ("the mean is not taken off", "weights * (to_weights - mean)", "weights * to_weights"),
        ("the plain mean is taken off, not the weighted one",
         "(weights * to_weights).sum(axis=1, keepdims=True)",
         "to_weights.mean(axis=1, keepdims=True)"),
        ("softmax is taken for sigmoid: p (1 - p)", "weights * (to_weights - mean)",
         "weights * (1 - weights) * to_weights"),
        ("the root counts forwards only", "(to_weights - mean) / root", "(to_weights - mean)"),
        ("the root counts backwards only", "scores = q @ k.T / root", "scores = q @ k.T"),
        ("q and k have changed places", "to_scores @ k, to_scores.T @ q",
         "to_scores.sum(axis=1, keepdims=True) * q, to_scores.sum(axis=0)[:, None] * k"),
        ("the values get the gradient without the weights", "weights.T @ g",
         "np.ones_like(weights).T @ g"),
        ("the values get the scores' gradient", "weights.T @ g", "to_scores.T @ g"),
        ("the sign is turned round", "to_scores = weights", "to_scores = -weights"),
        ("the mean is taken over the queries", "(weights * to_weights).sum(axis=1, keepdims=True)",
         "(weights * to_weights).sum(axis=0, keepdims=True)"),
    ),
)  # fmt: skip

# ---- 17.5


def waves_cases(rng):
    sizes = [
        ("by hand", 2, 4), ("one place", 1, 2), ("one place", 1, 8), ("two columns", 5, 2),
        ("several", 3, 6), ("several", 7, 4), ("several", 4, 10), ("as many as columns", 6, 6),
        ("many places", 200, 4), ("many columns", 3, 70), ("far away", 2000, 2),
    ]  # fmt: skip
    yield from sizes
    yield "several", int(rng.integers(2, 9)), 2 * int(rng.integers(2, 9))


def waves_reference(n, width):
    table = np.zeros((n, width))
    for t in range(n):
        for column in range(width):
            m = column // 2
            angle = t / 10000.0 ** (2 * m / width)
            table[t, column] = math.cos(angle) if column % 2 else math.sin(angle)
    return table


WAVES = Task(
    id="17.5",
    cases=waves_cases,
    reference=waves_reference,
    hints=(
        "Two neighbouring columns share one length L; there are width / 2 of these.",
        "np.arange(0, width, 2) / width are the powers; t as a column divided by the lengths as a "
        "row makes all angles at once.",
        "table[:, 0::2] = np.sin(t / length); table[:, 1::2] = np.cos(t / length).",
    ),
    equal=(
        ("-> table = np.ones((n, width))", "all of it is written"),
        ("-> table[:, ::2] = np.sin", "0 is the start anyway"),
        ("-> table[:, 1::2] = np.cos(t / length); table[:, 0::2]", "columns of their own"),
        ("-> row = row + [", "the same list"),
        ("-> rows.append(row); for m", "the row is filled afterwards, in its place"),
        ("-> m = np.arange(width / 2)", "the width is even"),
    ),
    right=(
        """
        def waves(n, width):
            t = np.arange(n)[:, None]
            length = 10000 ** (np.arange(0, width, 2) / width)
            table = np.zeros((n, width))
            table[:, 0::2] = np.sin(t / length)
            table[:, 1::2] = np.cos(t / length)
            return table""",
        """
        def waves(n, width):
            rows = []
            for t in range(n):
                row = []
                for m in range(width // 2):
                    angle = t / 10000 ** (2 * m / width)
                    row += [np.sin(angle), np.cos(angle)]
                rows.append(row)
            return rows""",
        """
        def waves(n, width):
            m = np.arange(width // 2)
            angles = np.outer(np.arange(n), np.exp(-np.log(10000) * 2 * m / width))
            return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(n, width)""",
    ),
    wrong=(
        ("all sines come first, then all cosines", "table[:, 0::2]", "table[:, : width // 2]",
         "table[:, 1::2]", "table[:, width // 2 :]"),
        ("sine and cosine have changed places", "np.sin(t / length)", "np.cos(t / length)",
         "table[:, 1::2] = np.cos(t / length)", "table[:, 1::2] = np.sin(t / length)"),
        ("the power is m / width, half of what is asked", "np.arange(0, width, 2) / width",
         "np.arange(width // 2) / width"),
        ("the power is 2m / (width / 2), twice what is asked", "np.arange(0, width, 2) / width",
         "np.arange(0, width, 2) / (width / 2)"),
        ("the places are multiplied by the length, not divided", "np.sin(t / length)",
         "np.sin(t * length)"),
        ("places are counted from 1", "np.arange(n)[:, None]", "np.arange(1, n + 1)[:, None]"),
        ("all columns have the same length", "np.arange(0, width, 2) / width",
         "0 * np.arange(0, width, 2) / width"),
        ("the base is 1000", "10000 **", "1000 **"),
        ("each column has a length of its own, cosines too",
         "table[:, 1::2] = np.cos(t / length)",
         "odd = np.arange(1, width, 2)\n"
         "            table[:, 1::2] = np.cos(t / 10000 ** (odd / width))"),
        ("a full wave is meant: 2 pi t / L", "np.sin(t / length)",
         "np.sin(2 * np.pi * t / length)"),
        ("the lengths reach 10000 in the last column", "np.arange(0, width, 2) / width",
         "np.arange(0, width, 2) / max(1, width - 2)"),
    ),
)  # fmt: skip

TASKS = [ATTEND, CAUSAL, ASK, GRADIENT, WAVES]
