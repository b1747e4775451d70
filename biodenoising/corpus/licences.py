"""Names of licences as the sources write them, and what each allows.

Tiers: `open` (CC0, CC-BY, public domain, permissive), `copyleft` (BY-SA, GPL, LGPL),
`noncommercial` (any NC) and `unclear` (anything else, and whatever forbids adaptations: a denoised
call is one). Only the text of the statement is judged; whether it is true nobody can know.
"""

from __future__ import annotations

import re

_CREATIVE = re.compile(r"\b(?:licenses/|cc[ -]+)(by(?:-(?:nc|nd|sa))*)[ /-]*(\d\.\d)?")
_ZERO = re.compile(r"\bcc[ -]?(?:0|zero)\b|publicdomain/zero")
_DOMAIN = re.compile(r"public[ -]?domain|\bpdm\b|publicdomain/mark")
_COPYLEFT = re.compile(r"\b[al]?gpl\b")
_DOUBT = re.compile(
    r"not (?:stated|listed|verified|restated|known)|none stated|unstated|unclear|unknown|guess"
    r"|all rights reserved|under creative commons license"
)
_PERMISSIVE = re.compile(r"\b(?:mit|bsd|apache|isc|ogl|unlicense)\b")


def licence_name(statement: str) -> str:
    """Return the short name of a licence given by an address, a code or in words.

    Words of doubt are kept: a short name would make them forgotten.

    >>> licence_name("//creativecommons.org/licenses/by-nc-sa/4.0/")
    'CC-BY-NC-SA-4.0'
    >>> licence_name("cc-by-4.0"), licence_name("cc0"), licence_name("cc-by-nc")
    ('CC-BY-4.0', 'CC0-1.0', 'CC-BY-NC')
    >>> licence_name("ask the museum"), licence_name("")
    ('ask the museum', 'none stated')
    """
    text = _plain(statement)
    doubtful = _DOUBT.search(text)
    if _ZERO.search(text) and not doubtful:
        return "CC0-1.0"
    if (match := _CREATIVE.search(text)) and not doubtful:
        version = f"-{match[2]}" if match[2] else ""
        return f"CC-{match[1].upper()}{version}"
    return " ".join(statement.split()) or "none stated"


def tier_of(licence: str) -> str:
    """Return the tier of a licence's name or statement.

    >>> [tier_of(name) for name in ("CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-ND-4.0", "CC-BY-ND-4.0")]
    ['open', 'copyleft', 'noncommercial', 'unclear']
    >>> tier_of("none stated"), tier_of("MIT"), tier_of("public domain (USGS)")
    ('unclear', 'open', 'open')
    """
    text = _plain(licence)
    if _DOUBT.search(text):
        return "unclear"
    if match := _CREATIVE.search(text):
        rights = match[1].split("-")
        if "nc" in rights:
            return "noncommercial"
        if "nd" in rights:
            return "unclear"
        return "copyleft" if "sa" in rights else "open"
    if re.search(r"non-?commercial|not commercial|\bnc\b", text):
        return "noncommercial"
    if _COPYLEFT.search(text):
        return "copyleft"
    if _ZERO.search(text) or _DOMAIN.search(text) or _PERMISSIVE.search(text):
        return "open"
    return "unclear"


def _plain(statement: str) -> str:
    return re.sub(r"[\s_]+", " ", statement.lower()).strip()
