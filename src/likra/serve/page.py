"""The page for people: one file, and a policy that lets nothing else in."""

import base64
import hashlib
import re
from pathlib import Path

_FOLDER = Path(__file__).with_name("web")


def _inlined(html: str) -> str:
    """A page with the text of its style sheet and its scripts in the place of references to their files."""

    def text(name: str) -> str:
        return (_FOLDER / name).read_text(encoding="utf-8")

    html = re.sub(r'<link rel="stylesheet" href="(.+?)">', lambda found: f"<style>\n{text(found[1])}</style>", html)
    return re.sub(r'<script src="(.+?)"></script>', lambda found: f"<script>\n{text(found[1])}</script>", html)


PAGE = _inlined((_FOLDER / "page.html").read_text(encoding="utf-8"))


def _hashes(tag: str) -> str:
    """CSP sources of the page's own scripts or styles."""
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in found)


#: Content-Security-Policy: the page's own script and style, requests to this server, and nothing else.
POLICY = (
    f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
