"""Pages that lie outside of docs/, and links that lead somewhere in a checkout and on the site alike.

A hook of MkDocs. Every link of the manual is relative to its own file in the repository. ``extra.elsewhere``
of mkdocs.yml says which files become pages of the site, and as what; any other file of the repository that a
page links to is copied to ``files/``.
"""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

COPIES = "files"
_FENCE = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere."""
    root = Path(config.config_file_path).parent
    for name, source in config.extra["elsewhere"].items():
        files.append(File.generated(config, name, abs_src_path=str(root / source)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    root = Path(config.config_file_path).parent
    docs = Path(config.docs_dir).relative_to(root).as_posix()
    elsewhere: dict[str, str] = config.extra["elsewhere"]
    own = page.file.src_uri
    source = elsewhere.get(own, f"{docs}/{own}")
    pages = {path: name for name, path in elsewhere.items()}

    def on_site(path: str) -> str:
        """Of a file of the repository, its place on the site; it is copied there if it is no page."""
        if path in pages:
            return pages[path]
        if path.startswith(f"{docs}/"):
            return path.removeprefix(f"{docs}/")
        copy = f"{COPIES}/{path}"
        if files.get_file_from_path(copy) is None and (root / path).is_file():
            files.append(File.generated(config, copy, abs_src_path=str(root / path)))
        return copy

    return with_links(markdown, lambda link: relinked(link, source, own, on_site))


def relinked(link: str, source: str, own: str, on_site: Callable[[str], str]) -> str:
    """A link of a file as one of its page; those to elsewhere in the web, and in the page, as they are.

    Args:
        source, own: the file in the repository, and its place on the site.
    """
    path, hash_, anchor = link.partition("#")
    if not path or re.match(r"[a-z][a-z0-9+.-]*:", path):
        return link
    there = on_site(posixpath.normpath(posixpath.join(posixpath.dirname(source), path)))
    return posixpath.relpath(there, posixpath.dirname(own) or ".") + hash_ + anchor


def with_links(markdown: str, change: Callable[[str], str]) -> str:
    """The text with each of its links changed; what stands in code is left alone."""
    spared = [found.span() for found in _FENCE.finditer(markdown)]
    spared += [found.span() for found in _CODE.finditer(markdown) if not _within(found.start(), spared)]
    return _LINK.sub(
        lambda found: (
            found[0] if _within(found.start(), spared) else f"{found[1]}{change(found[2])}{found[3]}"
        ),
        markdown,
    )


def _within(place: int, spans: list[tuple[int, int]]) -> bool:
    return any(start <= place < end for start, end in spans)
