"""The tasks of lesson 10: two optimisers, smoothed targets, a schedule, and clipping."""

import math

import numpy as np

from .task import Task


def _cancels(path):
    """Whether a number of the path is what rounding leaves of far larger ones."""
    return bool((abs(path[1:]) < 1e-4 * abs(path).max(axis=0)).any())


# ---- 10.1


def rms_cases(rng):
    def case(group, steps, d, rate=0.1, decay=0.9, scale=1.0, near=1.0):
        while True:
            w = near * np.round(rng.uniform(-5, 5, d), 2)
            g = scale * np.round(rng.uniform(-5, 5, (steps, d)), 2)
            if not _cancels(rms_reference(w, g, rate, decay)):
                return group, w, g, rate, decay

    def power(low, high):
        return 10.0 ** rng.uniform(low, high)

    yield "one step", np.array([10.0, 1.0]), np.array([[10.0, 0.1]]), 0.1, 0.9
    yield case("one step", 1, 3)
    yield case("no step", 0, 2)
    yield case("several steps", 3, 1)
    yield case("several steps", 4, 2, 0.01, 0.5)
    yield case("several steps", 7, 5, 1.5, 0.99)
    yield case("nothing is kept", 3, 2, 0.2, 0.0)
    yield case("many steps", 150, 2, 0.01)
    yield case("many parameters", 3, 60)
    yield case("large and small gradients", 4, 3, 0.1, 0.9, 1e8)
    yield case("large and small gradients", 4, 3, 0.1, 0.9, 1e-8)
    yield case("large and small gradients", 4, 3, 0.1, 0.9, power(91, 99))
    yield "weights near 0", np.zeros(2), power(-20, -12) * rng.uniform(1, 5, (2, 2)), 0.1, 0.9
    for near in power(-14, -10), power(-85, -55):
        yield case("weights near 0", 2, 2, 0.1, 0.9, 1e-8 * near, near)
    yield case("large weights", 2, 2, near=power(40, 95))
    yield "a whole rate", np.array([10.0, 1.0]), np.array([[3.0, -4.0], [1.0, 2.0]]), 1, 0
    w, g = np.array([1.0, -2.0]), np.array([[0.0, 3.0], [0.0, 0.0], [2.0, 0.0], [0.0, -1.0]])
    yield "gradients of 0", w, g, 0.3, 0.8
    yield "gradients of 0", w, 0 * g, 0.3, 0.8
    yield "signs that change", w, np.array([[1.0, 2.0], [-1.0, -2.0]] * 4), 0.2, 0.7


def rms_reference(w, gradients, rate, decay):
    place, s = [float(v) for v in w], [0.0] * len(w)
    path = [list(place)]
    for g in gradients:
        for i in range(len(place)):
            s[i] = decay * s[i] + (1 - decay) * float(g[i]) ** 2
            place[i] -= rate * float(g[i]) / (math.sqrt(s[i]) + 1e-8)
        path.append(list(place))
    return np.array(path)


RMS = Task(
    id="10.1",
    replaces="optim.RMSProp.update",
    cases=rms_cases,
    reference=rms_reference,
    atol=1e-110,
    equal=(
        ("-> rate = abs(rate)", "the rate is above 0"),
        ("-> decay = abs(decay)", "decay is not below 0"),
        ("return np.array(path) -> return path", "a list is as good"),
        ("-> mean += (1 - decay)", "an array of the answer's own"),
        ("for _ in list(w)[::-1]]", "they are equal"),
    ),
    hints=(
        "Two arrays change from step to step: the mean of squares and the parameters. Which of "
        "them does the step need in its new form?",
        "First s, from the old s and the square of the gradient; then the step, with the root of "
        "the new s.",
        "s = decay * s + (1 - decay) * g**2; w = w - rate * g / (np.sqrt(s) + 1e-8).",
    ),
    right=(
        """
        def rmsprop(w, gradients, rate, decay):
            s, path = np.zeros(len(w)), [w]
            for g in gradients:
                s = decay * s + (1 - decay) * g**2
                w = w - rate * g / (np.sqrt(s) + 1e-8)
                path.append(w)
            return np.array(path)""",
        """
        def rmsprop(w, gradients, rate, decay):
            path = np.empty((len(gradients) + 1, len(w)))
            path[0], mean = w, 0.0
            for t, g in enumerate(gradients):
                mean = mean + (1 - decay) * (g * g - mean)
                path[t + 1] = path[t] - rate / (mean**0.5 + 1e-8) * g
            return path""",
        """
        def rmsprop(w, gradients, rate, decay):
            squares = [0.0 for _ in w]
            path = [[float(value) for value in w]]
            for row in gradients:
                here = []
                for i, g in enumerate(row):
                    squares[i] = squares[i] * decay + g * g - decay * g * g
                    here.append(path[-1][i] - rate * g / (squares[i] ** 0.5 + 1e-8))
                path.append(here)
            return path""",
    ),
    wrong=(
        ("the root is missing", "np.sqrt(s)", "s"),
        ("the step uses the old mean of squares, before this gradient is in it",
         "s = decay * s + (1 - decay) * g**2\n", "new = decay * s + (1 - decay) * g**2\n",
         "path.append(w)", "path.append(w); s = new"),
        ("the gradient is not squared", "g**2", "abs(g)"),
        ("the two shares have changed places", "decay * s + (1 - decay) * g**2",
         "(1 - decay) * s + decay * g**2"),
        ("the new square counts in full", "(1 - decay) * g**2", "g**2"),
        ("the step goes up the slope", "w - rate", "w + rate"),
        ("the start is missing from the path", "np.array(path)", "np.array(path[1:])"),
        ("one mean of squares serves all parameters", "g**2", "(g**2).mean()"),
        ("the small number stands inside the root", "(np.sqrt(s) + 1e-8)", "np.sqrt(s + 1e-8)"),
        ("the first mean is corrected, as Adam does", "np.sqrt(s) + 1e-8",
         "np.sqrt(s / (1 - decay ** len(path))) + 1e-8"),
        ("the running mean begins with the first square; it begins at 0", """
            def rmsprop(w, gradients, rate, decay):
                s, path = None, [w]
                for g in gradients:
                    s = g**2 if s is None else decay * s + (1 - decay) * g**2
                    w = w - rate * g / (np.sqrt(s) + 1e-8)
                    path.append(w)
                return np.array(path)"""),
        ("the start is missing from the path where there is no step", "np.array(path)",
         "np.array(path) if len(path) > 1 else np.zeros((0, len(w)))"),
        ("the path is rounded; a number near 0 is lost", "np.array(path)", "np.round(path, 9)"),
        ("the path is float32, which does not reach from 1e-100 to 1e100", "np.array(path)",
         "np.array(path, np.float32)"),
        ("a gradient near 0 counts as 0", "for g in gradients:\n",
         "for g in np.where(abs(gradients) < 1e-10, 0, gradients):\n"),
    ),
)  # fmt: skip

# ---- 10.2


def adam_cases(rng):
    def case(group, steps, d, rate=0.1, beta1=0.9, beta2=0.999, decay=0.0, scale=1.0, near=1.0):
        while True:
            w = near * np.round(rng.uniform(1, 5, d) * rng.choice([-1, 1], d), 2)
            g = scale * np.round(rng.uniform(-5, 5, (steps, d)), 2)
            if not _cancels(adam_reference(w, g, rate, beta1, beta2, decay)):
                return group, w, g, rate, beta1, beta2, decay

    def power(low, high):
        return 10.0 ** rng.uniform(low, high)

    yield "one step", np.array([10.0, 1.0]), np.array([[10.0, 0.1]]), 0.1, 0.9, 0.999, 0.0
    yield case("one step", 1, 3, 0.3, 0.8, 0.9)
    yield case("no step", 0, 2, decay=0.1)
    yield case("several steps", 3, 1)
    yield case("several steps", 5, 4, 0.02, 0.5, 0.7)
    yield case("several steps", 8, 2, 1.5, 0.99, 0.9)
    w, g = rng.uniform(1, 5, 1), rng.uniform(1, 5, (25, 1)) * rng.choice([-1, 1], (25, 1))
    g[-1] *= rng.uniform(100, 200)
    yield "a large gradient after small ones", w, g, 0.1, 0.0, 0.999, 0.1
    yield case("decay", 1, 2, decay=0.1)
    yield case("decay", 4, 3, 0.2, 0.9, 0.99, 0.3)
    yield case("decay", 6, 2, 0.5, 0.7, 0.8, 1.2)
    product = float(np.round(rng.uniform(1.2, 1.8), 2))
    yield case("a decay that turns the sign", 1, 2, 1.0, decay=product)
    yield case("a decay that turns the sign", 3, 2, 0.5, 0.8, 0.9, 2 * product)
    yield case("nothing is kept", 3, 2, 0.2, 0.0, 0.9)
    yield case("nothing is kept", 3, 2, 0.2, 0.9, 0.0, 0.1)
    yield case("many steps", 150, 2, 0.01, decay=0.01)
    yield case("many steps", int(rng.integers(300, 400)), 1, 0.01, decay=0.01)
    yield case("many parameters", 3, 60, decay=0.2)
    yield case("large and small gradients", 4, 3, scale=1e8, decay=0.1)
    yield case("large and small gradients", 4, 3, scale=1e-8, decay=0.1)
    yield case("large and small gradients", 3, 2, scale=power(91, 99))
    g = power(-20, -12) * rng.uniform(1, 5, (2, 2))
    yield "weights near 0", np.zeros(2), g, 0.1, 0.9, 0.999, 0.1
    for near in power(-14, -10), power(-85, -55):
        yield case("weights near 0", 2, 2, scale=1e-8 * near, near=near)
    yield case("large weights", 2, 2, decay=0.3, near=power(40, 95))
    w, g = np.array([1.0, -2.0]), np.array([[0.0, 3.0], [0.0, 0.0], [2.0, 0.0], [0.0, -1.0]])
    yield "gradients of 0", w, g, 0.3, 0.8, 0.9, 0.1
    yield "gradients of 0", w, 0 * g, 0.3, 0.8, 0.9, 0.5


def adam_reference(w, gradients, rate, beta1, beta2, decay):
    path = [np.array(w)]
    for t in range(1, len(gradients) + 1):
        past, age = gradients[:t], np.arange(t)[::-1]  # the newest is 0 steps old
        share1, share2 = float(beta1) ** age, float(beta2) ** age
        m = (share1[:, None] * past).sum(axis=0) / share1.sum()
        s = (share2[:, None] * past**2).sum(axis=0) / share2.sum()
        path.append(path[-1] - rate * decay * path[-1] - rate * m / (s**0.5 + 1e-8))
    return np.array(path)


ADAM = Task(
    id="10.2",
    replaces="optim.AdamW.update",
    cases=adam_cases,
    reference=adam_reference,
    atol=1e-110,
    equal=(
        ("-> rate = abs(rate)", "the rate is above 0"),
        ("-> decay = abs(decay)", "decay is not below 0"),
        ("-> beta1 = abs(beta1)", "it is not below 0"),
        ("-> beta2 = abs(beta2)", "it is not below 0"),
        ("return np.array(path) -> return path", "a list is as good"),
        ("-> m += (1 - beta1)", "an array of the answer's own"),
        ("-> s += (1 - beta2)", "an array of the answer's own"),
        ("([w], 0.0, 0.0)", "w is not changed"),
        ("-> w -= rate * (m", "after the decay w is an array of the answer's own"),
        ("for _ in list(w)[::-1]]", "they are equal"),
        ("path.append(new); for i, pair", "the list is filled after it was put there"),
        ("+ (1 - beta2) * g * g; pair[0] = beta1", "neither needs the other"),
        ("top = pair[0] / (1 - beta1 ** (t + 1)); pair[1]", "neither needs the other"),
    ),
    hints=(
        "Four things belong to a step: the two means, their corrections, the decay, and the step "
        "itself. Which of them needs the number of the step?",
        "t counts from 1. First shrink w, then bring both means up to date, divide each by its "
        "correction, and take the step.",
        "w = (1 - rate * decay) * w; m = beta1 * m + (1 - beta1) * g; s = beta2 * s + (1 - beta2) "
        "* g**2; w = w - rate * (m / (1 - beta1**t)) / (np.sqrt(s / (1 - beta2**t)) + 1e-8).",
    ),
    right=(
        """
        def adamw(w, gradients, rate, beta1, beta2, decay):
            m, s, path = np.zeros(len(w)), np.zeros(len(w)), [w]
            for t, g in enumerate(gradients, 1):
                w = (1 - rate * decay) * w
                m = beta1 * m + (1 - beta1) * g
                s = beta2 * s + (1 - beta2) * g**2
                root = np.sqrt(s / (1 - beta2**t)) + 1e-8
                w = w - rate * (m / (1 - beta1**t)) / root
                path.append(w)
            return np.array(path)""",
        """
        def adamw(w, gradients, rate, beta1, beta2, decay):
            path, m, s = [np.array(w)], 0.0, 0.0
            left1 = left2 = 1.0
            for g in gradients:
                left1, left2 = left1 * beta1, left2 * beta2
                m = m + (1 - beta1) * (g - m)
                s = s + (1 - beta2) * (g * g - s)
                step = (m / (1 - left1)) / ((s / (1 - left2)) ** 0.5 + 1e-8)
                path.append(path[-1] - rate * (step + decay * path[-1]))
            return path""",
        """
        def adamw(w, gradients, rate, beta1, beta2, decay):
            path = [[float(value) for value in w]]
            means = [[0.0, 0.0] for _ in w]
            for t in range(len(gradients)):
                new = []
                for i, pair in enumerate(means):
                    g = gradients[t][i]
                    pair[0] = beta1 * pair[0] + (1 - beta1) * g
                    pair[1] = beta2 * pair[1] + (1 - beta2) * g * g
                    top = pair[0] / (1 - beta1 ** (t + 1))
                    below = (pair[1] / (1 - beta2 ** (t + 1))) ** 0.5 + 1e-8
                    p = path[t][i]
                    new.append(p - rate * decay * p - rate * top / below)
                path.append(new)
            return path""",
    ),
    wrong=(
        ("the corrections for the start at 0 are missing",
         "s / (1 - beta2**t)", "s", "m / (1 - beta1**t)", "m"),
        ("only the mean of the gradients is corrected", "s / (1 - beta2**t)", "s"),
        ("only the mean of the squares is corrected", "m / (1 - beta1**t)", "m"),
        ("the steps are counted from 2; the first is t = 1", "enumerate(gradients, 1)",
         "enumerate(gradients, 2)"),
        ("the steps are counted from 0; the first is t = 1", "enumerate(gradients, 1)",
         "enumerate(gradients)"),
        ("the factor of the decay stops at 0; it may be below", "(1 - rate * decay)",
         "max(0.0, 1 - rate * decay)"),
        ("the factor of the decay has lost its minus; it may be below 0", "(1 - rate * decay)",
         "abs(1 - rate * decay)"),
        ("large gradients are cut off", "enumerate(gradients, 1)",
         "enumerate(np.clip(gradients, -1e20, 1e20), 1)"),
        ("a gradient near 0 counts as 0", "enumerate(gradients, 1)",
         "enumerate(np.where(abs(gradients) < 1e-10, 0, gradients), 1)"),
        ("the decay is added to the gradient, and divided with it; that is Adam, not AdamW",
         "w = (1 - rate * decay) * w", "g = g + decay * w"),
        ("the decay is forgotten", "(1 - rate * decay) * w", "w"),
        ("the decay does not know of the rate", "(1 - rate * decay) * w", "(1 - decay) * w"),
        ("the weights grow, where they should decay", "(1 - rate", "(1 + rate"),
        ("the two shares have changed places",
         "beta1 * m + (1 - beta1) * g", "beta2 * m + (1 - beta2) * g",
         "beta2 * s + (1 - beta2) * g**2", "beta1 * s + (1 - beta1) * g**2"),
        ("the root is missing", "np.sqrt(s / (1 - beta2**t))", "s / (1 - beta2**t)"),
        ("the start is missing from the path", "np.array(path)", "np.array(path[1:])"),
        ("the decay shrinks the new weights, after the step",
         "                w = (1 - rate * decay) * w\n", "",
         "path.append(w)", "w = (1 - rate * decay) * w\n                path.append(w)"),
    ),
)  # fmt: skip

# ---- 10.3


def smooth_cases(rng):
    def case(group, n, k, share, scale=2.0):
        return group, np.round(scale * rng.normal(size=(n, k)), 2), rng.integers(0, k, n), share

    yield "nothing is spread", np.array([[2.0, 1.0, 0.1]]), np.array([0]), 0.0
    yield case("nothing is spread", 3, 4, 0.0)
    yield case("one sample", 1, 2, 0.1)
    yield case("one sample", 1, 5, 0.3)
    yield case("several samples", 4, 3, 0.1)
    yield case("several samples", 7, 10, 0.25)
    yield case("everything is spread", 3, 4, 1.0)
    yield case("one class", 3, 1, 0.2)
    yield case("large scores", 4, 3, 0.1, 800.0)
    yield case("large scores", 3, 4, 0.5, 5000.0)
    for k in 2, 3:
        scores = np.round(rng.uniform(-4000, -1000, (1, k)), 1)
        yield "large scores, all below 0", scores, rng.integers(0, k, 1), 0.2
    yield case("many", 300, 3, 0.1)
    yield case("many", 3, 200, 0.2)
    group, scores, _, share = case("labels that repeat", 6, 4, 0.2)
    yield group, scores, np.array([1, 1, 3, 1, 1, 3]), share
    yield "labels that repeat", scores, np.full(6, 2), 0.7


def smooth_reference(scores, labels, share):
    n, k = scores.shape
    loss, gradient = 0.0, np.zeros((n, k))
    for i, row in enumerate(scores):
        top = sorted(row)[-1]
        total = math.fsum(math.exp(v - top) for v in row)
        for c in range(k):
            target = share / k + (1 - share) * (c == labels[i])
            loss -= target * (row[c] - top - math.log(total)) / n
            gradient[i, c] = (math.exp(row[c] - top) / total - target) / n
    return loss, gradient


SMOOTH = Task(
    id="10.3",
    replaces="nn.functional.cross_entropy",
    cases=smooth_cases,
    reference=smooth_reference,
    equal=(
        ("-> labels = abs(labels)", "labels are not below 0"),
        ("-> share = abs(share)", "the share is not below 0"),
        ("-> loss = loss + (", "a number"),
        ("-> k = scores.shape[1]", "scores have two axes"),
        ("np.sum(-targets * log_p, 1, keepdims=True)", "their mean is the same"),
    ),
    hints=(
        "Make the table of targets first: one-hot rows, of which a share is spread over all "
        "classes. What remains is lesson 05 with this table in place of the one-hot one.",
        "loss = -(targets * log_p).sum(axis=1).mean(), with log_p from the scores, the largest of "
        "each row taken out first. The gradient is (p - targets) / N, as ever.",
        "targets = (1 - share) * np.eye(K)[labels] + share / K; s = scores - scores.max(axis=1, "
        "keepdims=True); log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True)).",
    ),
    right=(
        """
        def smoothed_loss(scores, labels, share):
            n, k = scores.shape
            targets = (1 - share) * np.eye(k)[labels] + share / k
            s = scores - scores.max(axis=1, keepdims=True)
            log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
            loss = -(targets * log_p).sum() / n
            return loss, (np.exp(log_p) - targets) / n""",
        """
        def smoothed_loss(scores, labels, share):
            rows, k = len(scores), scores.shape[1]
            loss, back = 0.0, np.empty(scores.shape)
            for i in range(rows):
                s = scores[i] - max(scores[i])
                powers = np.exp(s)
                log_total = np.log(powers.sum())
                right = log_total - s[labels[i]]
                every = log_total - s.mean()
                loss += ((1 - share) * right + share * every) / rows
                back[i] = (powers / powers.sum() - share / k) / rows
                back[i, labels[i]] -= (1 - share) / rows
            return loss, back""",
        """
        def smoothed_loss(scores, labels, share):
            k = scores.shape[-1]
            targets = np.where(np.arange(k) == labels[:, None], 1 - share + share / k, share / k)
            top = np.max(scores, 1)
            total = np.exp(scores - top[:, None]).sum(1)
            log_p = scores - (top + np.log(total))[:, None]
            p = np.exp(log_p)
            return np.mean(np.sum(-targets * log_p, 1)), (p - targets) / len(p)""",
    ),
    wrong=(
        ("the share is spread over the other classes alone; the label's own gets its part too",
         "targets = (1 - share) * np.eye(k)[labels] + share / k",
         "one = np.eye(k)[labels]; "
         "targets = (1 - share) * one + (1 - one) * share / max(k - 1, 1)"),
        ("nothing is taken off the label for what is spread", "(1 - share) * np.eye", "np.eye"),
        ("the share is not divided by the number of classes", "+ share / k", "+ share"),
        ("the gradient is that of one-hot targets", "(np.exp(log_p) - targets)",
         "(np.exp(log_p) - np.eye(k)[labels])"),
        ("the loss is summed over the samples, not averaged", ".sum() / n\n", ".sum()\n"),
        ("the gradient is not divided by the number of samples", "- targets) / n", "- targets)"),
        ("the largest score is not taken out, so exp overflows",
         "scores - scores.max(axis=1, keepdims=True)", "scores + 0"),
        ("the largest score is looked for from 0 up; all may be below 0",
         "scores.max(axis=1, keepdims=True)", "scores.max(axis=1, keepdims=True, initial=0.0)"),
        ("the label gets 1 - share, and not its own part of what is spread", """
            def smoothed_loss(scores, labels, share):
                n, k = scores.shape
                t = np.full((n, k), share / k)
                t[np.arange(n), labels] = 1 - share
                s = scores - scores.max(axis=1, keepdims=True)
                logp = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
                return -(t * logp).sum(axis=1).mean(), (np.exp(logp) - t) / n"""),
        ("the gradient has the wrong sign", "(np.exp(log_p) - targets)",
         "(targets - np.exp(log_p))"),
        ("the loss has lost its minus", "loss = -(", "loss = ("),
        ("the loss is also divided by the number of classes", ".sum() / n\n", ".mean()\n"),
        ("the share goes to the wrong classes alone; each class gets a part", """
            def smoothed_loss(scores, labels, share):
                n, k = scores.shape
                t = np.full((n, k), share / max(k - 1, 1))
                t[np.arange(n), labels] = 1 - share if k > 1 else 1.0
                s = scores - scores.max(axis=1, keepdims=True)
                logp = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
                return -(t * logp).sum(axis=1).mean(), (np.exp(logp) - t) / n"""),
    ),
)  # fmt: skip

# ---- 10.4


def schedule_cases(rng):
    yield "the rise", 0, 0.4, 4, 20
    yield "the rise", 2, 1.0, 4, 20
    yield "the rise", 6, 0.3, 10, 11
    yield "its end", 3, 0.4, 4, 20
    yield "its end", 4, 0.4, 4, 20
    yield "the fall", 12, 0.4, 4, 20
    yield "the fall", 19, 2.0, 4, 20
    yield "the fall", 77, 0.01, 13, 113
    yield "no rise", 0, 0.5, 0, 10
    yield "no rise", 5, 0.5, 0, 10
    yield "no rise", 9, 0.5, 0, 10
    yield "after the end", 20, 0.4, 4, 20
    yield "after the end", 21, 0.4, 4, 20
    yield "after the end", 500, 0.4, 0, 20
    yield "a rise of one step", 0, 0.7, 1, 6
    yield "a rise of one step", 3, 0.7, 1, 6
    for _ in range(6):
        warm = int(rng.integers(0, 40))
        total = warm + int(rng.integers(1, 200))
        step = int(rng.integers(0, total + 20))
        yield "any", step, float(rng.uniform(0.001, 3)), warm, total
    yield "any", 900, 0.1, 300, 1700
    peak, warm = float(np.round(rng.uniform(1.5, 9), 2)), int(rng.integers(3, 9))
    total = warm + int(rng.integers(4, 20))
    yield "a rise of two steps", 0, peak, 2, total
    yield "a rise of two steps", 1, peak, 2, total
    yield "a peak above 1", warm - 1, peak, warm, total
    yield "a peak above 1", warm, peak, warm, total
    total = int(rng.integers(120_000, 150_000))
    yield "a long fall", total - int(rng.integers(1, 30)), peak, warm, total


def schedule_reference(step, peak, warm, total):
    if step >= total:
        return 0.0
    if step < warm:
        return peak * (step + 1) / warm
    angle = math.pi * (step - warm) / (total - warm)
    return peak * math.cos(angle / 2) ** 2


SCHEDULE = Task(
    id="10.4",
    replaces="optim.warmup",
    cases=schedule_cases,
    reference=schedule_reference,
    atol=1e-12,
    equal=(
        ("-> peak = abs(peak)", "the peak is above 0"),
        ("if step > total:", "at total the cosine is at its end, 0"),
        ("-> done = (warm - step)", "a cosine is the same on both sides"),
        ("-> done = (step - warm) / (warm - total)", "a cosine is the same on both sides"),
        ("-> if step >= total:; if step < warm:", "warm is below total"),
        ("-> rates = rates + [", "a list of the answer's own"),
    ),
    hints=(
        "Three cases: before the rise is over, while it falls, and after the end.",
        "Rising: peak times (step + 1) / warm. Falling: how much of the way from warm to total is "
        "done? The cosine goes from 1 to -1 while that goes from 0 to 1.",
        "done = (step - warm) / (total - warm); peak * (1 + math.cos(math.pi * done)) / 2; and 0 "
        "from step == total on.",
    ),
    right=(
        """
        def rate_at(step, peak, warm, total):
            if step < warm:
                return peak * (step + 1) / warm
            if step >= total:
                return 0.0
            done = (step - warm) / (total - warm)
            return peak * (1 + np.cos(np.pi * done)) / 2""",
        """
        def rate_at(step, peak, warm, total):
            rising = (step + 1) / max(warm, 1)
            share = min(max((step - warm) / (total - warm), 0.0), 1.0)
            falling = 0.5 + 0.5 * np.cos(share * np.pi)
            return peak * rising if step < warm else peak * falling""",
        """
        def rate_at(step, peak, warm, total):
            rates = [peak * (i + 1) / warm for i in range(warm)]
            n = total - warm
            rates += [peak * (0.5 + np.cos(i * np.pi / n) / 2) for i in range(n)]
            return rates[step] if step < len(rates) else 0""",
    ),
    wrong=(
        ("the rise begins at 0; its first step is peak / warm", "(step + 1) / warm",
         "step / warm"),
        ("the cosine's share counts the rise too", "(step - warm) / (total - warm)",
         "step / total"),
        ("the fall is divided by total, not by what is left after the rise",
         "/ (total - warm)", "/ total"),
        ("the fall is straight, not a cosine", "(1 + np.cos(np.pi * done)) / 2", "(1 - done)"),
        ("the cosine ends at -1 in place of 0", "(1 + np.cos(np.pi * done)) / 2",
         "np.cos(np.pi * done)"),
        ("the cosine is a quarter, not half a turn", "(1 + np.cos(np.pi * done)) / 2",
         "np.cos(np.pi * done / 2)"),
        ("after the end the rate rises again", "step >= total", "False"),
        ("the rise is one step longer", "step < warm", "step <= warm",
         "(step + 1) / warm", "(step + 1) / (warm + 1)"),
        ("without a rise it is divided by 0", """
            def rate_at(step, peak, warm, total):
                rise = min(1.0, (step + 1) / warm)
                done = min(max(step - warm, 0) / (total - warm), 1.0)
                return peak * rise * (1 + np.cos(np.pi * done)) / 2"""),
        ("after the end the peak stays", "return 0.0", "return peak"),
        ("the peak is forgotten on the way down", "return peak * (1 + np", "return (1 + np"),
        ("the fall is one step ahead; step `warm` still has the peak", "(step - warm)",
         "(step + 1 - warm)"),
        ("the share of the fall that is done is cut to a whole number",
         "(step - warm) / (total", "(step - warm) // (total"),
        ("the rise is cut to a whole number", "peak * (step + 1) / warm",
         "peak * ((step + 1) // warm)"),
        ("the rate is kept at 1 or below; the peak may be above", "return peak * (step + 1) / warm",
         "return min(1.0, peak * (step + 1) / warm)",
         "return peak * (1 + np.cos(np.pi * done)) / 2",
         "return min(1.0, peak * (1 + np.cos(np.pi * done)) / 2)"),
        ("the fall ends one step early, at total - 1", """
            import math
            def rate_at(step, peak, warm, total):
                if step < warm:
                    return peak * (step + 1) / warm
                if step >= total:
                    return 0.0
                done = (step - warm) / max(total - warm - 1, 1)
                return peak / 2 * (1 + math.cos(math.pi * done))"""),
    ),
)  # fmt: skip

# ---- 10.5


def clip_cases(rng):
    def some(*shapes, scale=1.0):
        return [scale * np.round(rng.uniform(-5, 5, shape), 2) for shape in shapes]

    yield "too long", [np.array([3.0, 4.0])], 1.0
    yield "too long", [np.array([3.0]), np.array([4.0])], 1
    yield "too long", some((2, 3), (3,)), 0.5
    yield "too long", some((4,), (2, 2), (1,)), 2.0
    yield "short enough", [np.array([0.3, 0.4])], 1.0
    yield "short enough", some((2, 2), (2,), scale=0.01), 3.0
    yield "exactly as long", [np.array([3.0]), np.array([4.0])], 5.0
    for apart in 0.3, 0.05, 0.005, 5e-4, 5e-5, 5e-6, 5e-7:
        apart *= rng.uniform(1, 1.8)
        gradients = [rng.uniform(1, 5, n) * rng.choice([-1, 1], n) for n in (2, 1)]
        length = math.sqrt(sum((g**2).sum() for g in gradients))
        yield "just above the limit", gradients, float(length / (1 + apart))
        yield "just below the limit", gradients, float(length * (1 + apart))
    yield "all 0", [np.zeros((2, 2)), np.zeros(3)], 0.5
    yield "all 0", [np.zeros(1)], 1e-3
    yield "each is short, together they are long", some((3,), (3,), (3,), (3,), scale=0.2), 0.3
    yield "each is short, together they are long", [np.full(1, 0.9)] * 9, 1.0
    yield "one number, no axis", [np.array(-7.0), np.array([1.0])], 2.0
    yield "one number, no axis", [np.array(0.5)], 2.0
    yield "no arrays, empty arrays", [], 1.0
    yield "no arrays, empty arrays", [np.zeros((0, 3)), np.array([6.0, 8.0])], 1.0
    yield "large and small", some((2, 3), (3,), scale=1e8), 1.0
    yield "large and small", some((2, 3), (3,), scale=1e-6), 1e-7
    yield "large and small", some((3,), scale=1e-6), 1.0
    yield "large and small", some((2, 3), (3,), scale=1e99), 1.0
    yield "large and small", some((2, 3), (3,), scale=1e99), 3e99
    yield "large and small", some((2, 3), (3,), scale=1e-97), 1e-99
    yield "large and small", some((2, 2), (3,), scale=1e-97), 1.0
    yield "three axes", some((2, 3, 4), (5,)), 1.5
    yield "many", some(*[(3,)] * 40), 2.0
    yield "many", some((500,), (2,)), 3.0


def clip_reference(gradients, limit):
    squares = [float(v) ** 2 for g in gradients for v in np.ravel(g)]
    length = math.sqrt(math.fsum(squares))
    factor = 1.0 if length <= limit else limit / length
    return [np.array([float(v) * factor for v in np.ravel(g)]).reshape(np.shape(g))
            for g in gradients]  # fmt: skip


CLIP = Task(
    id="10.5",
    replaces="optim.clip_grad_norm",
    cases=clip_cases,
    reference=clip_reference,
    atol=1e-110,
    hints=(
        "One length for all arrays together, and one factor for all of them.",
        "The length is the root of the sum of all squares, over all arrays. If it is above the "
        "limit, the factor is limit / length, else 1.",
        "length = np.sqrt(sum((g**2).sum() for g in gradients)); factor = limit / length if length "
        "> limit else 1.0; [factor * g for g in gradients].",
    ),
    right=(
        """
        def clipped(gradients, limit):
            length = np.sqrt(sum((g**2).sum() for g in gradients))
            factor = 1.0
            if length > limit:
                factor = limit / length
            return [factor * g for g in gradients]""",
        """
        def clipped(gradients, limit):
            if not gradients:
                return []
            length = np.linalg.norm(np.concatenate([g.reshape(-1) for g in gradients]))
            return [g / max(1.0, length / limit) for g in gradients]""",
        """
        def clipped(gradients, limit):
            total = 0.0
            for g in gradients:
                total += float(np.sum(np.square(g)))
            if total <= limit * limit:
                return gradients
            return [g * (limit / total**0.5) for g in gradients]""",
    ),
    equal=(
        ("-> limit = abs(limit)", "the limit is above 0"),
        ("if length >= limit:", "the factor is 1 then"),
        ("if total < limit * limit:", "the factor is 1 then"),
        ("for g in list(gradients)[::-1]))", "the sum is the same in any order"),
        ("for g in list(gradients)[::-1]]))", "the sum is the same in any order"),
        ("-> for g in list(gradients)[::-1]:", "the sum is the same in any order"),
    ),
    wrong=(
        ("each array is clipped by itself; the length is that of all together", """
            def clipped(gradients, limit):
                found = []
                for g in gradients:
                    length = np.sqrt((g**2).sum())
                    found.append(g * (limit / length) if length > limit else g * 1.0)
                return found"""),
        ("each number is clipped, which changes the direction", """
            def clipped(gradients, limit):
                return [np.clip(g, -limit, limit) for g in gradients]"""),
        ("short gradients are made longer", "if length > limit:", "if length > 0:"),
        ("the root is missing", "np.sqrt(sum((g**2).sum() for g in gradients))",
         "sum((g**2).sum() for g in gradients)"),
        ("the gradients are scaled to length 1", "limit / length", "1 / length"),
        ("the largest number is compared, not the length",
         "np.sqrt(sum((g**2).sum() for g in gradients))",
         "max((abs(g).max(initial=0.0) for g in gradients), default=0.0)"),
        ("the sizes are added up without squares",
         "np.sqrt(sum((g**2).sum() for g in gradients))", "sum(abs(g).sum() for g in gradients)"),
        ("the mean of the squares is taken, not their sum", "(g**2).sum()",
         "(g**2).mean() if g.size else 0.0"),
        ("nothing is clipped", "if length > limit:", "if False:"),
        ("only the first array counts in the length", "for g in gradients))",
         "for g in gradients[:1]))"),
        ("an empty list is not taken",
         "length = np.sqrt(sum((g**2).sum() for g in gradients))",
         "length = np.linalg.norm(np.concatenate([g.reshape(-1) for g in gradients]))"),
        ("a small number is added to the length", "limit / length", "limit / (length + 1e-6)"),
        ("a length just above the limit is let through", "if length > limit:",
         "if length > 1.01 * limit:"),
        ("a length just below the limit is clipped too", "if length > limit:",
         "if length > 0.99 * limit:"),
    ),
)  # fmt: skip

TASKS = [RMS, ADAM, SMOOTH, SCHEDULE, CLIP]
