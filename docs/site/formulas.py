"""Formulas as MathML: browsers draw it by themselves, with no script, no font and nothing fetched.

docutils converts; what its converter lacks, or sets in the wrong place, is written otherwise first.
"""

import re

from docutils import nodes
from docutils.utils.math import latex2mathml

_SAME = {r"\dots": r"\ldots", r"\big": "", r"\Big": ""}
# It would set an index below a hat: \hat y_n becomes {{}\hat{y}}_n.
_ACCENT = re.compile(r"\\(hat|bar|tilde|vec|dot)\s*(\{[^{}]*\}|[a-zA-Z])")
_OPERATOR = re.compile(r"\\operatorname\*?\{([^{}]*)\}")
_TAG = re.compile(r"\\tag\{([^}]*)\}")


def mathml(text, block):
    """A formula of LaTeX as MathML.  Raises docutils' MathError for what it does not know."""
    for given, plain in _SAME.items():
        text = re.sub(re.escape(given) + r"(?![a-zA-Z])", lambda _, plain=plain: plain, text)
    text = _ACCENT.sub(r"{{}\\\1{\2}}", text)
    text = _OPERATOR.sub(lambda m: r"\text{" + m[1].replace(r"\,", " ") + "}", text)
    return str(latex2mathml.tex2mathml(text, as_block=block))


def numbered(text):
    """A formula on a line of its own as HTML, with the number of its \\tag{...} at the right."""
    number = _TAG.search(text)
    told = f'<span class="eqno">({number[1]})</span>' if number else ""
    made = mathml(_TAG.sub("", text), True)
    attributes = 'class="math block" tabindex="0" role="group" aria-label="formula"'
    return f"<div {attributes}>{made}{told}</div>\n"


def _inline(translator, node):
    translator.body.append(mathml(node.astext(), False))
    raise nodes.SkipNode


def _block(translator, node):
    translator.body.append(numbered(node.astext()))
    raise nodes.SkipNode


def setup(app):
    """Have Sphinx write formulas so; the setting `html_math_renderer = "mathml"` asks for it."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
