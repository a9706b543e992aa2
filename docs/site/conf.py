"""Sphinx's settings for the site; docs/site/build.py lays out its sources and calls Sphinx."""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import formulas  # noqa: E402
import reference  # noqa: E402

import minidl  # noqa: E402

project = "minidl"
author = "The minidl authors"
copyright = "The minidl authors. Code: MIT. Text and figures: CC BY 4.0"
version = release = minidl.__version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
root_doc = "index"
exclude_patterns = ["notebooks/**"]
suppress_warnings = ["misc.highlighting_failure"]  # a cell that is meant to be no Python

# Outputs are those that are stored: nothing runs.
nb_execution_mode = "off"
nb_merge_streams = True
nb_number_source_lines = False
nb_render_markdown_format = "myst"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_update_mathjax = False

autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 80
viewcode_line_numbers = True

html_theme = "pydata_sphinx_theme"
html_title = "minidl"
templates_path = ["templates"]
html_static_path = ["style.css"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = (
    False  # browsers refuse to fetch it for pages that are read from the disk
)
html_last_updated_fmt = None
html_permalinks_icon = "#"
html_math_renderer = "mathml"
html_theme_options = {
    "logo": {"text": "minidl"},
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "show_prev_next": True,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "back_to_top_button": False,
}
if repository := os.environ.get("MINIDL_REPOSITORY"):
    icon = {"name": "Source code", "icon": "fa-solid fa-code", "type": "fontawesome"}
    html_theme_options["icon_links"] = [icon | {"url": repository}]

# ---- docstrings


def plain_docstring(app, what, name, thing, options, lines):
    if what in ("class", "function", "method", "attribute", "property", "exception"):
        lines[:] = reference.marked_up("\n".join(lines))


def source_of(app, module, name):
    """Where the source of a name is: an operation does not know it by itself."""
    return reference.defined_in(module, name)


_BACK = re.compile(r'(<a class="viewcode-back" href=")[^"#]*#[^"]*(">\[docs\]</a>)')
_BLOCK = re.compile(r'<div class="viewcode-block" id="([^"]+)">\n' + _BACK.pattern)


def lead_back(app, page, template, context, doctree):
    """Lead from a module's source to the names' places in the reference."""
    if not page.startswith("_modules/minidl/"):
        return
    module = page.removeprefix("_modules/minidl/").replace("/", ".")

    def lead(match):
        top, dot, rest = match[1].partition(".")
        path = reference.address(module, top)
        room = "minidl" if path == f"minidl.{top}" else module.partition(".")[0]
        address = app.builder.get_relative_uri(page, f"reference/{room}")
        block, link, end = f'<div class="viewcode-block" id="{match[1]}">\n', match[2], match[3]
        return f"{block}{link}{address}#{path}{dot}{rest}{end}"

    context["body"] = _BLOCK.sub(lead, context["body"])


_ARGUMENTS = re.compile(r'(<span class="sig-paren">\(</span>)\s*<dl>(.*?)</dl>', re.DOTALL)


def for_all_readers(app, page, template, context, doctree):
    """Mend what axe-core finds in the HTML of Sphinx and MyST-NB."""
    text = context.get("body")
    if not text:
        return
    # Its own words are a better name for what is folded.
    text = text.replace('<summary aria-label="Toggle hidden content">', "<summary>")

    def listed(match):  # a list of definitions, in which there is nothing but definitions
        inside = match[2].replace("<dd>", '<span class="argument">').replace("</dd>", "</span>")
        return match[1] + inside

    context["body"] = _ARGUMENTS.sub(listed, text)


def setup(app):
    formulas.setup(app)
    app.connect("autodoc-process-docstring", plain_docstring)
    app.connect("viewcode-follow-imported", source_of)
    app.connect("html-page-context", lead_back)
    app.connect("html-page-context", for_all_readers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
