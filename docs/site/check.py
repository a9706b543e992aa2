"""What is wrong in the pages that were built: links, images, sizes, and what would be fetched.

    python docs/site/check.py [FOLDER]

FOLDER is build/site, if not said.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGEST = 3_000_000  # bytes of a page
# Attributes whose address a browser fetches by itself.
FETCHED = {("link", "href"), *((tag, "src") for tag in ("script", "img", "iframe", "source"))}
OTHERS = {"_static", "lite"}  # the theme's templates, and JupyterLite: not our pages
NOT_FETCHED = {"canonical", "index", "search", "next", "prev", "author", "copyright"}  # of a link


class Page(HTMLParser):
    """The names that can be led to in a page, its links, and its images without words."""

    def __init__(self, text):
        super().__init__()
        self.names, self.links, self.fetched, self.wordless = {"", "top"}, [], [], []
        self.feed(text)

    def handle_starttag(self, tag, pairs):
        given = dict(pairs)
        self.names |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "img" and not (given.get("alt") or "").strip():
            self.wordless.append(given.get("src"))
        for key in ("href", "src"):
            if given.get(key) is not None:
                self.links.append(given[key])
                relation = (given.get("rel") or "").split()
                if (tag, key) in FETCHED and not NOT_FETCHED & {*relation}:
                    self.fetched.append(given[key])


def faults(folder):
    """Sentences, one for each thing that is wrong in a folder of pages."""
    files = {path: path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()}
    pages = {
        path: Page(path.read_text(encoding="utf-8"))
        for path in files
        if path.suffix == ".html" and not OTHERS & {*path.relative_to(folder).parts}
    }
    found = []
    for path, page in sorted(pages.items()):
        name = path.relative_to(folder)
        if files[path] > LARGEST:
            found.append(f"{name} has {files[path] / 1e6:.1f} MB")
        found += [f"{name}: an image without words, {src}" for src in page.wordless]
        found += [f"{name}: fetches {src}" for src in page.fetched if urlsplit(src).netloc]
        for link in dict.fromkeys(page.links):
            found += [f"{name}: {why}" for why in broken(link, path, pages, files)]
    return found


def broken(link, path, pages, files):
    """Why a link in the page `path` leads nowhere; nothing if it does not, or leads elsewhere."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if target not in files:
        yield f"{link} is not there"
    elif target in pages and unquote(parts.fragment) not in pages[target].names:
        yield f"{link}: the page has no such place"


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/site").resolve()
    found = faults(folder)
    print(*found, sep="\n", end="\n" * bool(found))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
