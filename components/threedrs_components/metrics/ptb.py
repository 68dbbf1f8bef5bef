"""The Penn Treebank tokens that captioning compares: lower case, punctuation left out.

Follows the observable behaviour of CoreNLP 3.4.1's PTBTokenizer as the captioning evaluators call
it (one caption per line, lower-cased, fifteen punctuation tokens dropped), without Java.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

DROPPED = frozenset(
    ("''", "'", "``", "`", '"', ".", "?", "!", ",", ":", ";", "...", "-", "--", "---", "----")
)
"""Brackets are not among them: they become -lrb- and so on, which the usual filter, written in
capitals, lets pass."""

_REPLACED = {
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
    "\u20ac": "$",
    "\u00a3": "#",
    "&amp;": "&",
    "&lt;": "<",
    "&gt;": ">",
}
_CLEANED = {
    "\u00ad": "",
    "\u00a0": " ",
    "&nbsp;": " ",
    "\u00bd": "  1/2 ",
    "\u00bc": "  1/4 ",
    "\u00be": "  3/4 ",
    "\u2153": "  1/3 ",
    "\u2154": "  2/3 ",
    "\u2018": "'",
    "\u2019": "'",
    "&apos;": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u00ab": '"',
    "\u00bb": '"',
    "&quot;": '"',
    "\u2039": "'",
    "\u203a": "'",
    "\u2013": "--",
    "\u2014": "--",
    "\u2026": " ",
    "\n": " ",
    "\r": " ",
    "\u2028": " ",
    "\u2029": " ",
    "\u0085": " ",
}
_CLEAN = re.compile("|".join(re.escape(key) for key in _CLEANED) + "|[\U00010000-\U0010ffff]", re.I)

_SUPERSCRIPT = "\u00b2\u00b3\u00b9\u2070-\u209f\u2150-\u218f"
_ALNUM = rf"(?:(?![{_SUPERSCRIPT}])[^\W_])"
_ALPHA = rf"(?:(?![{_SUPERSCRIPT}])[^\W\d_])"
_ABBREVIATIONS = (
    r"mr|mrs|ms|dr|prof|sr|jr|gen|sen|sens|rep|reps|gov|col|lt|capt|rev|hon|maj|sgt|"
    r"messrs|mme|mlle|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|mon|tue|tues|wed|"
    r"thu|thurs|fri|st|ave|rd|blvd|ste|sq|ft|inc|ltd|co|corp|bros|assn|dept|est|etc|vs|cf|"
    r"al|ph\.d|ed\.d|b\.sc|m\.sc|e\.g|i\.e|univ|adm|atty|bldg|brig|cmdr|comdr"
)
_BEFORE_NUMBERS = r"no|nos|pp|p|fig|figs|art|sec|vol|ch|eq"
_SPLIT_WORDS = {
    "cannot": ("can", "not"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "lemme": ("lem", "me"),
    "gimme": ("gim", "me"),
    "wanna": ("wan", "na"),
    "'tis": ("'t", "is"),
    "'twas": ("'t", "was"),
}
_STARTERS = (
    r"a|about|according|additionally|after|an|as|at|but|earlier|he|her|here|however|if|in|"
    r"it|last|many|more|mr\.|ms\.|now|once|one|other|our|she|since|so|some|such|that|the|"
    r"their|then|there|these|they|this|we|what|when|while|yet|you"
)
"""Words that begin a sentence when capitalised, so that an initial before them ends one."""
_SPACE = r"[ \t]*(?:[ \t]|\n)[ \t]*"
_GAP = r"[ \t]*\n?[ \t]*"


_PARTS = rf"{_ALNUM}+(?:_+{_ALNUM}+)*"
_TOKEN = re.compile(
    "|".join(
        (
            r"&(?:amp|lt|gt);",
            r"</?[a-z][^<>\s]*>",
            r"https?://[^\s\"<>()]+",
            rf"{_ALNUM}[\w.+-]*@{_ALNUM}+(?:[.-]{_ALNUM}+)*",
            rf"[#@]{_ALPHA}\w*",
            rf"(?:{_ABBREVIATIONS})\.(?!{_ALNUM})",
            rf"(?:{_BEFORE_NUMBERS})\.(?={_GAP}\d)",
            r"(?-i:[A-Z]+(?:&[A-Z]+)+)",
            r"'n'|'n(?!\w)|'(?:em|cause|til)(?!\w)",
            rf"'\d\ds(?!{_ALNUM})",
            r"ol'(?!\w)",
            rf"{_ALPHA}+(?=n't(?!\w))",
            r"n't(?!\w)",
            r"'(?:s|m|d|ll|re|ve)(?!\w)",
            rf"(?:{'|'.join(_SPLIT_WORDS)})(?![\w'-])",
            rf"(?:o|d|l|c|n|qu)'{_ALPHA}+",
            r"(?:ma'am|e'er|ne'er)(?!\w)",
            r"y'(?=(?:all|know))",
            rf"{_ALPHA}(?:\.{_ALPHA})+\.(?:-{_PARTS})+",
            rf"{_ALPHA}(?=\.{_SPACE}(?-i:(?=[A-Z]))(?:{_STARTERS})(?![\w.]))",
            rf"{_ALPHA}(?:\.{_ALPHA})*\.(?!{_ALPHA})",
            r"\d+ \d+/\d+",
            rf"[+-]?\d+(?:[.,:]\d+)+(?:-{_ALNUM}+)*",
            r"[+-]?\.\d+",
            rf"[+-]\d+(?!{_ALNUM})",
            rf"{_ALPHA}+(?:\.{_ALPHA}+)+",
            rf"{_ALPHA}+[?!]{_ALPHA}+",
            rf"{_PARTS}(?:[-/]{_PARTS})+",
            rf"{_PARTS}",
            r"[?!]+",
            r"\.{3}|-{5,}|-{1,4}|\*+|_+|#+|<<|>>",
            r"''|``|\n|\S",
        )
    ),
    re.IGNORECASE,
)


def ptb_tokenize(texts: Sequence[str]) -> list[str]:
    """The kept tokens of each text, joined by spaces.

    All texts are read as the lines of one document, in this order, because two decisions look
    ahead: a text that ends in "no." or in an initial depends on how the next one begins. Line
    breaks inside a text count as spaces (in Java some of them shift all later texts by one).
    """
    lines = [_CLEAN.sub(lambda found: _CLEANED.get(found[0].lower(), ""), text) for text in texts]
    tokenized: list[list[str]] = [[]]
    for found in _TOKEN.findall("\n".join(lines)):
        token = found.lower()
        if token == "\n":
            tokenized.append([])
        elif token not in DROPPED:
            tokenized[-1] += _SPLIT_WORDS.get(token) or (_written(token),)
    return [" ".join(tokens) for tokens in tokenized][: len(texts)]


def ptb_references(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """The kept tokens of each reference of each item, all read as one document."""
    words = iter(ptb_tokenize([text for texts in groups for text in texts]))
    return [[next(words) for _ in texts] for texts in groups]


def _written(token: str) -> str:
    """A mixed number like "1 1/2" is one token, its space a no-break space."""
    return _REPLACED.get(token) or token.replace(" ", "\u00a0")
