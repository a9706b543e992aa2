"""The tasks of lesson 18: perplexity, temperature and top-k, top-p, a cache, a tied matrix."""

import numpy as np

from .task import Task

# ---- 18.1


def perplexity_cases(rng):
    def case(group, lengths, width, kinds, scale=2.0, pad=None):
        lengths = np.array(lengths)
        n = len(lengths)
        scores = (scale * rng.normal(size=(n, width, kinds))).round(3)
        ids = rng.integers(0, kinds, (n, width))
        if pad is not None:
            ids[np.arange(width) >= lengths[:, None]] = pad
        return group, scores, ids, lengths

    logs = np.log(np.array([[[2.0, 1.0, 1.0], [1.0, 2.0, 1.0]], [[1.0, 1.0, 6.0]] * 2]))
    yield "by hand", logs, np.array([[1, 1], [0, 2]]), np.array([2, 1])
    yield "by hand", np.zeros((1, 3, 4)), np.array([[3, 0, 2]]), np.array([3])
    yield case("one length", [4, 4], 4, 3)
    yield case("one length", [1], 1, 5)
    yield case("one length", [6], 6, 1)
    yield case("unequal lengths", [5, 2, 1], 5, 4)
    yield case("unequal lengths", [1, 7, 3, 2], 8, 3)
    yield case("unequal lengths", [3, 1], 4, 6)
    yield case("a text without tokens", [0, 3], 4, 3)
    yield case("a text without tokens", [2, 0, 0], 3, 5)
    yield case("padding that is no token", [2, 4, 1], 5, 3, pad=-1)
    yield case("padding that is no token", [3, 1], 4, 3, pad=1000)
    yield case("many", [60, 3, 17], 64, 30, pad=-100)
    yield case("many", [1] * 150, 2, 3)
    yield case("many", [130, 200], 200, 2)
    large = rng.choice([-300.0, 250.0, 300.0], (2, 3, 4))
    large[0, 0] = 300, -300, 300, 300
    yield "large scores", large, np.array([[0, 2, 1], [3, 3, 0]]), np.array([3, 2])
    yield "large scores", np.full((1, 2, 3), -300.0), np.array([[0, 2]]), np.array([2])
    yield "large scores", np.full((1, 2, 3), 300.0), np.array([[0, 2]]), np.array([2])
    apart = np.array([[1e6, -1e6, 0], [-1e6, 5e5, 1e6]])[..., None]
    apart = apart + rng.normal(size=(2, 3, 4)).round(2)
    yield "large scores", apart, np.array([[0, 2, 1], [3, 3, 0]]), np.array([3, 3])
    wide = np.array([[[1e4, 1e4 - 1, -1e4], [-1e4, 3.0, 4.0]]])
    yield "large scores", wide, np.array([[1, 2]]), np.array([2])
    far = np.array([[[300.0, -300.0], [-300.0, 300.0]]])
    yield "an improbable token", far, np.array([[1, 1]]), np.array([2])
    yield "an improbable token", far, np.array([[1, 0]]), np.array([2])


def perplexity_reference(scores, ids, lengths):
    losses = []
    for n in range(len(ids)):
        for i in range(lengths[n]):
            row = scores[n, i]
            most = max(row)
            losses.append(most + np.log(sum(np.exp(v - most) for v in row)) - row[ids[n, i]])
    return float(np.exp(sum(losses) / len(losses)))


PERPLEXITY = Task(
    id="18.1",
    cases=perplexity_cases,
    reference=perplexity_reference,
    equal=(
        ("`(0, 0.0)` in place of", "0 and 0.0 count alike"),
        ("count += T -> count = count + T", "a number is no array"),
        ("ids = abs(ids)", "only padding is below 0"),
        ("lengths = abs(lengths)", "a length is never below 0"),
        ("np.exp(rows - most[:, None]).sum(axis=1, keepdims=True)",
         "the mean of all differences is the difference of the means"),
        ("the order turned round", "a sum has no order"),
        ("zip(rows[:], tokens[:T])", "zip ends with the shorter"),
        ("zip(rows[:T + 1], tokens[:T])", "zip ends with the shorter"),
        ("zip(rows[:T], tokens[:])", "zip ends with the shorter"),
        ("zip(rows[:T], tokens[:T + 1])", "zip ends with the shorter"),
    ),
    hints=(
        "Which tokens of text n are real? Only the first lengths[n].",
        "log_p[n, np.arange(T), ids[n, :T]] are the logarithms of the probabilities that the T "
        "real tokens had.",
        "loss -= log_p[n, np.arange(T), ids[n, :T]].sum(), and count += T, with T = lengths[n].",
    ),
    right=(
        """
        def perplexity(scores, ids, lengths):
            scores = scores - scores.max(axis=2, keepdims=True)
            log_p = scores - np.log(np.exp(scores).sum(axis=2, keepdims=True))
            loss, count = 0.0, 0
            for n in range(len(ids)):
                T = lengths[n]
                loss -= log_p[n, np.arange(T), ids[n, :T]].sum()
                count += T
            return np.exp(loss / count)""",
        """
        def perplexity(scores, ids, lengths):
            real = np.arange(ids.shape[1]) < lengths[:, None]
            rows, right = scores[real], ids[real]
            most = rows.max(axis=1)
            log_sum = most + np.log(np.exp(rows - most[:, None]).sum(axis=1))
            return np.exp((log_sum - rows[np.arange(len(rows)), right]).mean())""",
        """
        def perplexity(scores, ids, lengths):
            losses = []
            for rows, tokens, T in zip(scores, ids, lengths):
                for row, token in zip(rows[:T], tokens[:T]):
                    shifted = row - row[token]
                    most = shifted.max()
                    losses.append(most + np.log(np.sum(np.exp(shifted - most))))
            return float(np.exp(np.mean(losses)))""",
    ),
    wrong=(
        ("the loss is returned; the perplexity is its exponential", "np.exp(loss / count)",
         "loss / count"),
        ("the sum of the losses is not divided by the number of tokens", "loss / count", "loss"),
        ("the sum is divided by the number of texts, not of tokens", "loss / count",
         "loss / len(ids)"),
        ("the sum is divided by all places, padding too", "loss / count", "loss / ids.size"),
        ("the sign of the logarithm is lost: less probable is more perplexing", "loss -=",
         "loss +="),
        ("the exponential has base 2 and the logarithm base e", "np.exp(loss / count)",
         "2 ** (loss / count)"),
        ("the last token of each text is left out", "T = lengths[n]", "T = max(lengths[n] - 1, 1)"),
        ("the first token of each text is left out", "log_p[n, np.arange(T), ids[n, :T]].sum()\n"
         "                count += T",
         "log_p[n, np.arange(1, T), ids[n, 1:T]].sum()\n                count += max(T - 1, 0)"),
        ("the scores of a place are taken for the token after it; nothing is to be moved",
         "log_p[n, np.arange(T), ids[n, :T]]", "log_p[n, np.arange(T - 1), ids[n, 1:T]]"),
        ("padding is counted as tokens", "T = lengths[n]", "T = ids.shape[1]"),
        ("each text has the same say, however long it is; each token has", """
        def perplexity(scores, ids, lengths):
            scores = scores - scores.max(axis=2, keepdims=True)
            log_p = scores - np.log(np.exp(scores).sum(axis=2, keepdims=True))
            losses = []
            for n in range(len(ids)):
                T = lengths[n]
                if T > 0:
                    losses.append(-log_p[n, np.arange(T), ids[n, :T]].mean())
            return np.exp(np.mean(losses))"""),
        ("perplexities of the texts are averaged; the mean is taken of the losses", """
        def perplexity(scores, ids, lengths):
            scores = scores - scores.max(axis=2, keepdims=True)
            log_p = scores - np.log(np.exp(scores).sum(axis=2, keepdims=True))
            found = []
            for n in range(len(ids)):
                T = lengths[n]
                if T > 0:
                    found.append(np.exp(-log_p[n, np.arange(T), ids[n, :T]].mean()))
            return np.mean(found)"""),
        ("the mean is taken of the probabilities, not of their logarithms", """
        def perplexity(scores, ids, lengths):
            p = np.exp(scores - scores.max(axis=2, keepdims=True))
            p = p / p.sum(axis=2, keepdims=True)
            found = [p[n, i, ids[n, i]] for n in range(len(ids)) for i in range(lengths[n])]
            return 1 / np.mean(found)"""),
        ("the probabilities themselves are made, and the smallest become 0: their logarithm is "
         "not finite", """
        def perplexity(scores, ids, lengths):
            p = np.exp(scores - scores.max(axis=2, keepdims=True))
            p = p / p.sum(axis=2, keepdims=True)
            found = [p[n, i, ids[n, i]] for n in range(len(ids)) for i in range(lengths[n])]
            return np.exp(-np.mean(np.log(np.array(found) + 1e-12)))"""),
    ),
)  # fmt: skip

# ---- 18.2


def top_k_cases(rng):
    def case(group, n, k, temperature, scale=3.0):
        return group, (scale * rng.normal(size=n)).round(4), k, temperature

    logs = np.log(np.array([2.0, 4.0, 1.0]))
    yield "by hand", logs, 2, 1.0
    yield "by hand", logs, 3, 0.5
    yield case("all tokens", 6, 6, 1.0)
    yield case("all tokens", 5, 9, 0.7)
    yield case("all tokens", 4, 1000, 2.0)
    yield case("temperature 1", 9, 4, 1.0)
    yield case("temperature 1", 9, 8, 1.0)
    yield case("temperature 1", 3, 2, 1.0)
    yield case("cold and hot", 9, 4, 0.3)
    yield case("cold and hot", 9, 5, 3.0)
    yield case("cold and hot", 12, 7, 100.0)
    yield case("cold and hot", 7, 3, 0.01)
    yield case("one token stays", 7, 1, 1.3)
    yield case("one token stays", 1, 1, 1.0)
    yield case("one token stays", 1, 5, 0.0)
    yield case("temperature 0", 8, 5, 0.0)
    yield case("temperature 0", 8, 1, 0.0)
    yield "temperature 0", np.array([1.0, 3.0, 3.0, 2.0, 3.0]), 4, 0.0
    yield "equal scores", np.array([1.0, 3.0, 2.0, 2.0, 2.0]), 2, 1.0
    yield "equal scores", np.array([2.0, 1.0, 2.0, 2.0, 0.0, 1.0]), 4, 0.5
    yield "equal scores", np.full(40, -1.5), 17, 1.0
    yield "equal scores", np.repeat([0.5, 1.0], 30), 45, 2.0
    yield case("large scores", 6, 4, 1.0, 1e5)
    yield "large scores", np.array([1e6, 1e6 - 1, -1e6, 1e6 - 2]), 3, 1.0
    yield "large scores", np.array([-1e6, -1e6 - 1, -1e6 - 3]), 2, 2.0
    yield "large scores", np.array([5.0, 4.0, -1e6, 0.0]), 3, 0.01
    yield "all below 0", -np.arange(1.0, 7.0)[rng.permutation(6)], 3, 1.0
    yield case("many", 400, 150, 1.5)
    yield case("many", 300, 200, 0.5)


def top_k_reference(s, k, temperature):
    n = len(s)
    order = sorted(range(n), key=lambda i: (-s[i], i))
    kept = order[: min(k, n)]
    p = np.zeros(n)
    if temperature == 0:
        p[kept[0]] = 1.0
        return p
    parts = [np.exp((s[i] - s[kept[0]]) / temperature) for i in kept]
    for i, part in zip(kept, parts):
        p[i] = part / sum(parts)
    return p


TOP_K = Task(
    id="18.2",
    replaces="nn.transformer.sample",
    cases=top_k_cases,
    reference=top_k_reference,
    equal=(
        ("temperature = abs(temperature)", "a temperature is never below 0"),
        ("list(order[:k])[::-1]", "each place is written once"),
        ("return e / sum(e)", "sum(e) is a number of NumPy, which makes an array of the list"),
        ("(1, 0.5)", "one token alone has all, at any temperature"),
        ("(1, 2.0)", "one token alone has all, at any temperature"),
    ),
    hints=(
        "At temperature 0 a single token has everything: the first of the order.",
        "Take the scores s[kept], subtract the largest, divide by the temperature; only then take "
        "the exponential.",
        "e = np.exp((s[kept] - s[kept[0]]) / temperature), then p[kept] = e / e.sum().",
    ),
    right=(
        """
        def top_k_probabilities(s, k, temperature):
            p = np.zeros(len(s))
            kept = np.argsort(-s, kind="stable")[:k]
            if temperature == 0:
                p[kept[0]] = 1
                return p
            e = np.exp((s[kept] - s[kept[0]]) / temperature)
            p[kept] = e / e.sum()
            return p""",
        """
        def top_k_probabilities(s, k, temperature):
            if temperature == 0:
                return np.eye(len(s))[np.argmax(s)]
            kept = np.argsort(-s, kind="stable")[:k]
            stays = np.isin(np.arange(len(s)), kept)
            e = np.where(stays, np.exp((s - s.max()) / temperature), 0.0)
            return e / e.sum()""",
        """
        def top_k_probabilities(s, k, temperature):
            order = sorted(range(len(s)), key=lambda i: s[i], reverse=True)
            most = s[order[0]]
            if temperature == 0:
                k, temperature = 1, 1.0
            e = [0.0] * len(s)
            for i in order[:k]:
                e[i] = np.exp((s[i] - most) / temperature)
            return np.array(e) / sum(e)""",
    ),
    wrong=(
        ("scores are multiplied by the temperature; they are divided", "/ temperature)",
         "* temperature)"),
        ("the temperature is left out", " / temperature)", ")"),
        ("one token too many is kept", "[:k]", "[: k + 1]"),
        ("one token too few is kept", "[:k]", "[: max(k - 1, 1)]"),
        ("the least probable are kept", "np.argsort(-s", "np.argsort(s"),
        ("the others are cut after softmax, and what is left has a sum below 1",
         "e / e.sum()", "e / np.exp((s - s[kept[0]]) / temperature).sum()"),
        ("what is left is not divided by its sum", "e / e.sum()", "e"),
        ("tokens that are as probable as the last one all stay; k stay, the first of them", """
        def top_k_probabilities(s, k, temperature):
            if temperature == 0:
                return np.eye(len(s))[np.argmax(s)]
            least = np.sort(s)[-min(k, len(s))]
            e = np.where(s >= least, np.exp((s - s.max()) / temperature), 0.0)
            return e / e.sum()"""),
        ("of equally probable tokens the last are kept, not the first", """
        def top_k_probabilities(s, k, temperature):
            p = np.zeros(len(s))
            kept = np.argsort(s, kind="stable")[::-1][:k]
            if temperature == 0:
                p[kept[0]] = 1
                return p
            e = np.exp((s[kept] - s[kept[0]]) / temperature)
            p[kept] = e / e.sum()
            return p"""),
        ("at temperature 0 equally probable tokens share; the first gets all",
         "p[kept[0]] = 1\n", "p[s == s.max()] = 1 / (s == s.max()).sum()\n"),
        ("temperature 0 is treated as 1", "if temperature == 0:\n                p[kept[0]] = 1\n"
         "                return p\n", "temperature = temperature or 1\n"),
        ("the exponential of large scores overflows: subtract the largest first",
         "s[kept] - s[kept[0]]", "s[kept]"),
        ("the probabilities stand in the order of their size, not at their tokens",
         "p[kept] = e / e.sum()", "p[: len(e)] = e / e.sum()"),
        ("a score of 0 takes the place of the tokens left out, and gets a probability",
         "e = np.exp((s[kept] - s[kept[0]]) / temperature)\n            p[kept] = e / e.sum()",
         "z = np.zeros(len(s))\n            z[kept] = s[kept]\n"
         "            e = np.exp((z - z.max()) / temperature)\n            p = e / e.sum()"),
    ),
)  # fmt: skip

# ---- 18.3


def top_p_cases(rng):
    def case(group, n, kinds, top_p, peak=1.0):
        p = rng.dirichlet(np.full(kinds, peak), n)
        return group, p, top_p

    exact = np.array([[0.5, 0.25, 0.125, 0.125]])
    yield "by hand", np.array([[0.5, 0.25, 0.15, 0.1]]), 0.8
    yield "by hand", exact[:, ::-1].copy(), 0.6
    yield "the sum is reached exactly", exact, 0.75
    yield "the sum is reached exactly", exact, 0.5
    yield "the sum is nearly reached", exact, 0.75 + 1e-9
    yield "the sum is nearly reached", exact, 0.75 - 1e-9
    yield "the sum is reached exactly", exact[:, [2, 0, 3, 1]], 0.875
    yield "the sum is reached exactly", np.array([[0.25] * 4, [0.0, 0.5, 0.5, 0.0]]), 0.5
    yield case("one row", 1, 6, 0.5)
    yield case("one row", 1, 9, 0.9)
    yield case("one row", 1, 2, 0.3)
    yield case("several rows", 4, 5, 0.7)
    yield case("several rows", 5, 4, 0.6)
    yield case("several rows", 3, 3, 0.85, 5.0)
    yield "rows of unlike width", np.array([[0.9, 0.05, 0.05], [0.4, 0.3, 0.3]]), 0.8
    yield case("a small share", 3, 6, 1e-9)
    yield case("a small share", 2, 5, 0.01)
    yield case("all", 3, 6, 1.0)
    yield "all", exact[:, [3, 1, 0, 2]], 1.0
    yield "all", np.full((1, 10), 0.1), 1.0  # their sum, one by one, is a little below 1
    yield "equal probabilities", np.full((1, 8), 0.125), 0.3
    yield "equal probabilities", np.array([[0.125, 0.25, 0.25, 0.125, 0.25]]), 0.5
    yield "equal probabilities", np.array([[0.125, 0.25, 0.25, 0.125, 0.25]]), 0.8
    yield "equal probabilities", np.full((2, 64), 1 / 64), 0.4
    mixed = np.repeat([1 / 64, 1 / 128], (40, 48))  # their sum is 1
    yield "equal probabilities", rng.permuted(np.array([mixed] * 3), axis=1), 0.3
    yield "certain", np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), 0.9
    yield "certain", np.array([[1.0]]), 0.5
    yield "certain", np.array([[0.0, 1.0, 0.0]]), 1.0
    yield case("many", 40, 150, 0.8)
    yield case("many", 150, 3, 0.65)
    yield case("no row", 0, 3, 0.5)


def top_p_reference(p, top_p):
    out = np.zeros(p.shape)
    for n, row in enumerate(p):
        total, kept = 0.0, []
        for i in sorted(range(len(row)), key=lambda i: (-row[i], i)):
            if total >= top_p:
                break
            kept.append(i)
            total += row[i]
        for i in kept:
            out[n, i] = row[i] / total
    return out


TOP_P = Task(
    id="18.3",
    replaces="nn.transformer.sample",
    cases=top_p_cases,
    reference=top_p_reference,
    equal=(
        ("p = abs(p)", "a probability is never below 0"),
        ("p = np.minimum(p, 1)", "a probability is never above 1"),
        ("top_p = abs(top_p)", "a share is never below 0"),
        ("list(enumerate(p))[::-1]", "the rows know nothing of each other"),
        ("total = total + row[i]", "a number is no array"),
        ("`continue` in place of `break`", "what is enough stays enough"),
        ("order = np.argsort(-p, kind='stable')", "the last axis is axis 1"),
        ("np.take_along_axis(p, order)", "the last axis is axis 1"),
        ("count = 1 -> count = 0", "a share is above 0, so one token is counted at once"),
        ("count <= len(row)", "one beyond the end is nothing beyond the end"),
    ),
    hints=(
        "Sort a row from the most probable down. Which sums have you before each token?",
        "A token stays while the sum of those before it is below top_p. So the one that reaches "
        "top_p stays too.",
        'order = np.argsort(-row, kind="stable"); sums = row[order].cumsum(); as many stay as '
        "np.sum(sums - row[order] < top_p).",
    ),
    right=(
        """
        def nucleus(p, top_p):
            out = np.zeros(p.shape)
            for n, row in enumerate(p):
                total = 0.0
                for i in np.argsort(-row, kind="stable"):
                    if total >= top_p:
                        break
                    out[n, i] = row[i]
                    total += row[i]
                out[n] /= total
            return out""",
        """
        def nucleus(p, top_p):
            order = np.argsort(-p, axis=1, kind="stable")
            ordered = np.take_along_axis(p, order, axis=1)
            sums = ordered.cumsum(axis=1)
            before = np.concatenate([np.zeros((len(p), 1)), sums[:, :-1]], axis=1)
            ordered = np.where(before < top_p, ordered, 0.0)
            out = np.empty(p.shape)
            np.put_along_axis(out, order, ordered, axis=1)
            return out / out.sum(axis=1, keepdims=True)""",
        """
        def nucleus(p, top_p):
            rows = []
            for row in p:
                order = sorted(range(len(row)), key=lambda i: row[i], reverse=True)
                count = 1
                while count < len(row) and sum(row[order[:count]]) < top_p:
                    count += 1
                new = np.zeros(len(row))
                new[order[:count]] = row[order[:count]]
                rows.append(new / new.sum())
            return np.array(rows).reshape(p.shape)""",
    ),
    wrong=(
        ("the token that reaches top_p is left out; it stays", """
        def nucleus(p, top_p):
            out = np.zeros(p.shape)
            for n, row in enumerate(p):
                total = 0.0
                for i in np.argsort(-row, kind="stable"):
                    if total > 0 and total + row[i] > top_p:
                        break
                    out[n, i] = row[i]
                    total += row[i]
                out[n] /= total
            return out"""),
        ("a sum of exactly top_p is not yet taken for enough", "total >= top_p", "total > top_p"),
        ("what is left is not divided by its sum", "out[n] /= total", "pass"),
        ("what is left is divided by top_p, not by its own sum", "out[n] /= total",
         "out[n] /= top_p"),
        ("the least probable come first", "np.argsort(-row", "np.argsort(row"),
        ("the tokens are taken in the order of their numbers, not of their probabilities",
         'np.argsort(-row, kind="stable")', "range(len(row))"),
        ("tokens with at least the probability top_p are kept; it is their sum that counts", """
        def nucleus(p, top_p):
            out = np.where(p >= np.minimum(top_p, p.max(axis=1, keepdims=True)), p, 0.0)
            return out / out.sum(axis=1, keepdims=True)"""),
        ("the probabilities stand in the order of their size, not at their tokens", """
        def nucleus(p, top_p):
            out = np.zeros(p.shape)
            for n, row in enumerate(p):
                total = 0.0
                for place, i in enumerate(np.argsort(-row, kind="stable")):
                    if total >= top_p:
                        break
                    out[n, place] = row[i]
                    total += row[i]
                out[n] /= total
            return out"""),
        ("all rows keep as many tokens as the first", """
        def nucleus(p, top_p):
            out = np.zeros(p.shape)
            for n, row in enumerate(p):
                order = np.argsort(-row, kind="stable")
                if n == 0:
                    sums = row[order].cumsum()
                    count = np.sum(sums - row[order] < top_p)
                out[n, order[:count]] = row[order[:count]]
                out[n] /= out[n].sum()
            return out"""),
        ("of equally probable tokens the last are kept, not the first",
         'np.argsort(-row, kind="stable")', 'np.argsort(row, kind="stable")[::-1]'),
        ("all tokens as probable as the last that stays are kept; the fewest are",
         "if total >= top_p:", "if total >= top_p and row[i] < out[n][out[n] > 0].min():"),
        ("the share top_p of the tokens is kept, not of the probability", """
        def nucleus(p, top_p):
            out = np.zeros(p.shape)
            for n, row in enumerate(p):
                order = np.argsort(-row, kind="stable")
                kept = order[: int(np.ceil(top_p * len(row)))]
                out[n, kept] = row[kept] / row[kept].sum()
            return out"""),
        ("the sum is kept from one row to the next", """
        def nucleus(p, top_p):
            out, total = np.zeros(p.shape), 0.0
            for n, row in enumerate(p):
                for i in np.argsort(-row, kind="stable"):
                    if total >= top_p and out[n].sum() > 0:
                        break
                    out[n, i] = row[i]
                    total += row[i]
                out[n] /= out[n].sum()
            return out"""),
    ),
)  # fmt: skip

# ---- 18.4


def cache_cases(rng):
    def case(group, before, width, heads, scale=1.0):
        x = (scale * rng.normal(size=width)).round(3)
        keys, values = (scale * rng.normal(size=(2, before, width))).round(3)
        wq, wk, wv = rng.normal(size=(3, width, width)).round(3)
        return group, x, keys, values, wq, wk, wv, heads

    one = np.ones((1, 1))
    yield "by hand", np.zeros(1), np.array([[1.0]]), np.array([[4.0]]), one, one, one, 1
    yield "by hand", np.ones(1), np.array([[0.0]]), np.array([[0.0]]), np.log(3) * one, one, one, 1
    yield case("an empty cache", 0, 3, 1)
    yield case("an empty cache", 0, 4, 2)
    yield case("an empty cache", 0, 1, 1)
    yield case("one head", 4, 3, 1)
    yield case("one head", 1, 5, 1)
    yield case("one head", 3, 3, 1)
    yield case("several heads", 3, 4, 2)
    yield case("several heads", 5, 6, 3)
    yield case("several heads", 6, 6, 2)
    yield case("several heads", 2, 8, 2)
    yield case("heads of width 1", 4, 3, 3)
    yield case("heads of width 1", 2, 5, 5)
    yield case("heads of width 1", 3, 40, 40)
    yield case("many", 150, 4, 2)
    yield case("many", 40, 24, 4)
    yield case("large numbers", 4, 4, 2, 100.0)
    yield case("large numbers", 3, 3, 1, 100.0)
    yield case("small numbers", 4, 4, 2, 0.01)
    x, keys, values = np.zeros(4), np.ones((3, 4)), np.arange(12.0).reshape(3, 4)
    eye = np.eye(4)
    yield "a query of zeros", x, keys, values, eye, eye, eye, 2
    yield "a query of zeros", x, keys, values, np.ones((4, 4)), eye, eye, 1


def cache_reference(x, keys, values, wq, wk, wv, heads):
    width = len(x)
    query, key, value = (
        [sum(x[i] * w[i, j] for i in range(width)) for j in range(width)] for w in (wq, wk, wv)
    )
    keys = np.array([*keys.tolist(), key]).reshape(-1, width)
    values = np.array([*values.tolist(), value]).reshape(-1, width)
    size, out = width // heads, []
    for head in range(heads):
        places = range(head * size, (head + 1) * size)
        scores = [sum(query[j] * row[j] for j in places) / size**0.5 for row in keys]
        e = [np.exp(score - max(scores)) for score in scores]
        for j in places:
            out.append(sum(a * row[j] for a, row in zip(e, values)) / sum(e))
    return np.array(out), keys, values


CACHE = Task(
    id="18.4",
    replaces="nn.transformer.MultiHeadAttention.forward",
    cases=cache_cases,
    reference=cache_reference,
    equal=(
        ("`ones` in place of `zeros`", "each place is written to"),
        ("in list((keys, values))[:20]", "there are two"),
        ("in list((keys, values))[:3]", "there are two"),
        ("in list((wq, wk, wv))[:20]", "there are three"),
        ("in list((wq, wk, wv))[:3]", "there are three"),
        ("in list((query, keys, values))[:20]", "there are three"),
        ("in list((query, keys, values))[:3]", "there are three"),
    ),
    hints=(
        "Key and value of the new row first: they belong to the new cache, and the new row looks "
        "at itself too.",
        "Head 0 has the columns 0 to D / heads - 1 of query, keys and values, head 1 the next "
        "ones. Each has its own softmax.",
        "For one head: s = keys[:, part] @ q[part] / np.sqrt(size); a = softmax(s); "
        "out[part] = a @ values[:, part], with part = slice(h * size, (h + 1) * size).",
    ),
    right=(
        """
        def step(x, keys, values, wq, wk, wv, heads):
            q = x @ wq
            keys = np.concatenate([keys, [x @ wk]])
            values = np.concatenate([values, [x @ wv]])
            size = len(x) // heads
            out = np.zeros(len(x))
            for h in range(heads):
                part = slice(h * size, (h + 1) * size)
                s = keys[:, part] @ q[part] / np.sqrt(size)
                a = np.exp(s - s.max())
                out[part] = a @ values[:, part] / a.sum()
            return out, keys, values""",
        """
        def step(x, keys, values, wq, wk, wv, heads):
            keys, values = np.vstack([keys, x @ wk]), np.vstack([values, x @ wv])
            q = (x @ wq).reshape(heads, -1)
            k, v = (rows.reshape(len(rows), heads, -1) for rows in (keys, values))
            s = np.einsum("hd,thd->ht", q, k) / q.shape[1] ** 0.5
            a = np.exp(s - s.max(axis=1, keepdims=True))
            a /= a.sum(axis=1, keepdims=True)
            return np.einsum("ht,thd->hd", a, v).ravel(), keys, values""",
        """
        def step(x, keys, values, wq, wk, wv, heads):
            query, key, value = [x @ w for w in (wq, wk, wv)]
            keys = np.append(keys, key[None], axis=0)
            values = np.append(values, value[None], axis=0)
            parts = []
            for q, k, v in zip(*(np.split(rows, heads, axis=-1) for rows in (query, keys, values))):
                s = (k * q).sum(axis=1) / len(q) ** 0.5
                a = np.exp(s - max(s))
                parts.append((a[:, None] * v).sum(axis=0) / a.sum())
            return np.concatenate(parts), keys, values""",
    ),
    wrong=(
        ("the new row does not look at itself", "keys[:, part] @ q[part]",
         "keys[:-1, part] @ q[part]",
         "a @ values[:, part] / a.sum()", "a @ values[:-1, part] / max(a.sum(), 1e-9)",
         "a = np.exp(s - s.max())", "a = np.exp(s - s.max(initial=-1e9))"),
        ("the scores are not divided by the root of a head's width", " / np.sqrt(size)", ""),
        ("the scores are divided by a head's width, not by its root", "np.sqrt(size)", "size"),
        ("the scores are divided by the root of the whole width, not of a head's",
         "np.sqrt(size)", "np.sqrt(len(x))"),
        ("there is one softmax over the whole width, not one for each head",
         "heads):\n            q =", "heads):\n            heads = 1\n            q ="),
        ("the exponential of large scores overflows: subtract the largest first",
         "np.exp(s - s.max())", "np.exp(s)"),
        ("the weights are not divided by their sum", " / a.sum()", ""),
        ("the new key and value come first; they come last", "np.concatenate([keys, [x @ wk]])",
         "np.concatenate([[x @ wk], keys])", "np.concatenate([values, [x @ wv]])",
         "np.concatenate([[x @ wv], values])"),
        ("the cache comes back without the new row", "return out, keys, values",
         "return out, keys[:-1], values[:-1]"),
        ("x itself is added to the cache, not its key and value", "[x @ wk]", "[x]", "[x @ wv]",
         "[x]"),
        ("the new key is taken for the value too", "[x @ wv]", "[x @ wk]"),
        ("the weights of key and value are exchanged", "[x @ wk]", "[x @ w_k]", "[x @ wv]",
         "[x @ wk]", "[x @ w_k]", "[x @ wv]"),
        ("the matrix is transposed: a row of x times a matrix is x @ w", "q = x @ wq", "q = wq @ x",
         "[x @ wk]", "[wk @ x]", "[x @ wv]", "[wv @ x]"),
        ("heads take every other column; each has neighbouring ones",
         "part = slice(h * size, (h + 1) * size)", "part = slice(h, None, heads)"),
        ("the query is compared with the values; the keys are what it is compared with",
         "s = keys[:, part]", "s = values[:, part]"),
        ("the mean is taken of the keys, not of the values", "a @ values[:, part]",
         "a @ keys[:, part]"),
    ),
)  # fmt: skip

# ---- 18.5


def tied_cases(rng):
    def case(group, length, kinds, width, scale=1.0, ids=None):
        w = (scale * rng.normal(size=(kinds, width))).round(4)
        ids = rng.integers(0, kinds, length) if ids is None else np.array(ids)
        return group, w, ids, rng.integers(0, kinds, len(ids))

    yield "by hand", np.zeros((2, 1)), np.array([0]), np.array([1])
    yield "by hand", np.array([[1.0], [0.0]]), np.array([0]), np.array([1])
    yield "by hand", np.array([[1.0], [0.0]]), np.array([0, 0]), np.array([1, 0])
    yield case("one place", 1, 4, 3)
    yield case("one place", 1, 3, 5)
    yield case("each token once", 4, 4, 3, ids=rng.permutation(4))
    yield case("each token once", 3, 6, 2, ids=rng.permutation(6)[:3])
    yield case("tokens that repeat", 5, 3, 2, ids=[1, 1, 2, 1, 2])
    yield case("tokens that repeat", 6, 5, 4, ids=[0, 3, 0, 3, 0, 0])
    yield case("tokens that repeat", 9, 2, 3)
    yield case("one token", 4, 1, 3)
    yield case("one number a row", 5, 4, 1)
    yield case("square", 4, 4, 4)
    yield case("many", 300, 5, 3)
    yield case("many", 20, 150, 4)
    yield case("many", 40, 6, 130, 0.1)
    yield case("large numbers", 4, 5, 3, 100.0)
    yield "large numbers", np.array([[1e3, 1e3], [-1e3, 1e3]]), np.array([0, 1]), np.array([1, 1])
    yield "large numbers", np.array([[1e3], [900], [-5]]), np.array([0, 2]), np.array([1, 0])
    yield case("small numbers", 5, 4, 3, 1e-4)


def tied_reference(w, ids, y):
    kinds, width = w.shape
    out = np.zeros((kinds, width))
    for token, label in zip(ids, y):
        h = [np.tanh(w[token, d]) for d in range(width)]
        s = [sum(h[d] * w[k, d] for d in range(width)) for k in range(kinds)]
        e = [np.exp(v - max(s)) for v in s]
        g = [(e[k] / sum(e) - (k == label)) / len(ids) for k in range(kinds)]
        for d in range(width):
            for k in range(kinds):
                out[k, d] += g[k] * h[d]
            out[token, d] += (1 - h[d] ** 2) * sum(g[k] * w[k, d] for k in range(kinds))
    return out


TIED = Task(
    id="18.5",
    cases=tied_cases,
    reference=tied_reference,
    equal=(
        ("s -= s.max(axis=1)[:, None]", "the array is its own"),
        ("p /= p.sum(axis=1", "the array is its own"),
        ("g /= len(y)", "the array is its own"),
        ("no copy made", "p is not needed any more"),
        ("out += np.outer(g, h); out[ids[i]] += (1 - h ** 2) * (g @ w) -> out[ids[i]]",
         "what is added has no order"),
        ("y = abs(y)", "a token's number is never below 0"),
        ("ids = abs(ids)", "a token's number is never below 0"),
    ),
    hints=(
        "Two ways lead from w to the loss: through the scores, and through the rows that the "
        "tokens pick. Write down the gradient of each as if the other were fixed, and add them.",
        "With g = (p - one-hot of y) / T, of shape (T, K): through the scores w gets g.T @ h. "
        "h gets g @ w, and before tanh that is times 1 - h ** 2.",
        "A token may stand in ids several times, and its row gets a sum: np.add.at(out, ids, dx).",
    ),
    right=(
        """
        def tied_gradient(w, ids, y):
            h = np.tanh(w[ids])
            s = h @ w.T
            p = np.exp(s - s.max(axis=1, keepdims=True))
            p = p / p.sum(axis=1, keepdims=True)
            g = p.copy()
            g[np.arange(len(y)), y] -= 1
            g = g / len(y)
            out = g.T @ h
            dx = g @ w * (1 - h**2)
            np.add.at(out, ids, dx)
            return out""",
        """
        def tied_gradient(w, ids, y):
            eye = np.eye(len(w))
            h = np.tanh(eye[ids] @ w)
            s = h @ w.T
            s = s - s.max(axis=1)[:, None]
            g = np.exp(s) / np.exp(s).sum(axis=1)[:, None] - eye[y]
            g /= len(ids)
            return g.T @ h + eye[ids].T @ ((g @ w) * (1 - h * h))""",
        """
        def tied_gradient(w, ids, y):
            out = np.zeros(w.shape)
            for i in range(len(ids)):
                h = np.tanh(w[ids[i]])
                s = w @ h
                g = np.exp(s - s.max())
                g /= g.sum()
                g[y[i]] -= 1
                out += np.outer(g, h)
                out[ids[i]] += (1 - h**2) * (g @ w)
            return out / len(ids)""",
    ),
    wrong=(
        ("only the way through the scores is there; w is used twice",
         "np.add.at(out, ids, dx)", "pass"),
        ("only the way through the rows is there; w is used twice", "out = g.T @ h",
         "out = np.zeros(w.shape)"),
        ("a token that repeats gets only its last part; the parts add up",
         "np.add.at(out, ids, dx)", "out[ids] += dx"),
        ("the way through the rows takes the place of the other; they add up",
         "np.add.at(out, ids, dx)", "out[ids] = dx"),
        ("the loss is a mean: the division by T is missing", "g = g / len(y)", "g = g / 1"),
        ("the loss is a mean over places: it is divided by T, not by K", "g = g / len(y)",
         "g = g / len(w)"),
        ("tanh has no gradient of its own", " * (1 - h**2)", ""),
        ("the gradient of tanh is 1 - tanh squared, and was taken of the tanh already made",
         "(1 - h**2)", "(1 - np.tanh(h) ** 2)"),
        ("1 - h stands for the gradient of tanh, which is 1 - h squared", "(1 - h**2)", "(1 - h)"),
        ("the row before tanh multiplies the scores' gradient; it is the one after",
         "g.T @ h", "g.T @ w[ids]"),
        ("the sign is wrong: the gradient of the scores is p - one-hot",
         "g = g / len(y)", "g = -g / len(y)"),
        ("the label is not subtracted from the probabilities", "g[np.arange(len(y)), y] -= 1",
         "pass"),
        ("the tokens that went in are taken for the labels", "g[np.arange(len(y)), y] -= 1",
         "g[np.arange(len(y)), ids] -= 1"),
        ("the rows of the labels get what belongs to the rows of the tokens",
         "np.add.at(out, ids, dx)", "np.add.at(out, y, dx)"),
        ("the exponential of large scores overflows: subtract the largest first",
         "np.exp(s - s.max(axis=1, keepdims=True))", "np.exp(s)"),
        ("the mean of both ways is taken; they add up", "return out", "return out / 2"),
        ("the gradient of softmax is taken twice: p - one-hot is already that of the scores",
         "g = g / len(y)", "g = p * (g - (g * p).sum(axis=1, keepdims=True)) / len(y)"),
    ),
)  # fmt: skip

TASKS = [PERPLEXITY, TOP_K, TOP_P, CACHE, TIED]
