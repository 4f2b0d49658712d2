"""Plain words: lower-case, without punctuation, numbers spelled out. What is compared, and what is aligned.

``Mr. Smith owes $1,250.50, i.e. 12 %.`` → ``mr smith owes one thousand two hundred fifty dollars fifty cents i e twelve
percent``. Reference and hypothesis both go through it, so a choice between two right spellings decides nothing.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import inflect

_number = inflect.engine()

_UNITS = {"$": ("dollar", "cent"), "£": ("pound", "pence"), "€": ("euro", "cent")}
_SIGNS = {"%": " percent ", "&": " and ", "+": " plus ", "=": " equals ", "@": " at ", "°": " degrees "}
_FRACTIONS = {
    "½": "a half",
    "⅓": "a third",
    "⅔": "two thirds",
    "¼": "a quarter",
    "¾": "three quarters",
    "⅛": "an eighth",
    "⅜": "three eighths",
    "⅝": "five eighths",
    "⅞": "seven eighths",
}
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'"})

_FRACTION = re.compile(rf"(\d\s?)?([{''.join(_FRACTIONS)}])")
_MONEY = re.compile(r"([$£€])\s?(\d[\d,]*)(?:\.(\d+))?(?:\s(thousand|million|billion|trillion)\b)?")
_TIME = re.compile(r"\b(\d{1,2}):(\d\d)\b")
_ORDINAL = re.compile(r"\b(\d[\d,]*)(?:st|nd|rd|th)\b")
_DECADE = re.compile(r"\b(\d{2,4})'?s\b")
_DECIMAL = re.compile(r"(?<![\d.])(\d[\d,]*)?\.(\d+)(?![\d.])")
_LONG = re.compile(r"(?<![\d,.])(?:0\d+|\d{7,})(?!\d|,\d)")
_YEAR = re.compile(r"\b(1[1-9]\d\d|20[1-9]\d)\b")
_WHOLE = re.compile(r"\d{1,3}(?:,\d{3})+|\d+")
_NOT_PLAIN = re.compile(r"[^a-z' ]+")
_LOOSE_APOSTROPHE = re.compile(r"(?<![a-z])'+|'+(?![a-z])")


def plain_words(text: str) -> list[str]:
    """The words of a text.

    Args:
        text: cased or not, with or without punctuation and digits.

    Returns:
        words of ``a``-``z`` and inner apostrophes.
    """
    return plain_text(text).split()


def plain_text(text: str) -> str:
    """The same, joined by single spaces; spells what :func:`plain_words` gives exactly as it stands."""
    text = _FRACTION.sub(_fraction, text)  # before NFKD makes "31⁄2" of "3½"
    text = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES)).lower()
    text = "".join(character for character in text if not unicodedata.combining(character))
    if any(character.isdigit() for character in text):
        text = _spell_numbers(text)
    for sign, word in _SIGNS.items():
        text = text.replace(sign, word)
    text = _NOT_PLAIN.sub(" ", text)
    return " ".join(_LOOSE_APOSTROPHE.sub(" ", text).split())


def _spell_numbers(text: str) -> str:
    text = _MONEY.sub(_money, text)
    text = _TIME.sub(lambda at: f" {_cardinal(at[1])} {_minutes(at[2])} ", text)
    text = _ORDINAL.sub(lambda at: f" {_spell(_digits(at[1]), ordinal=True)} ", text)
    text = _DECADE.sub(lambda at: f" {_plural(_year(at[1]))} ", text)
    text = _DECIMAL.sub(lambda at: f" {_cardinal(at[1]) if at[1] else ''} point {_one_by_one(at[2])} ", text)
    text = _LONG.sub(lambda at: f" {_one_by_one(at[0])} ", text)
    text = _YEAR.sub(lambda at: f" {_year(at[0])} ", text)
    return _WHOLE.sub(lambda at: f" {_cardinal(at[0])} ", text)


def _fraction(found: re.Match[str]) -> str:
    whole = f"{found[1]} and" if found[1] else ""
    return f"{whole} {_FRACTIONS[found[2]]} "


def _money(found: re.Match[str]) -> str:
    whole, part = _UNITS[found[1]]
    amount = _cardinal(found[2])
    if found[4] or (found[3] and len(found[3]) != 2):  # a fraction, and no cents
        fraction = f" point {_one_by_one(found[3])}" if found[3] else ""
        return f" {amount}{fraction} {found[4] or ''} {whole}s "
    said = f" {amount} {whole}{'' if _digits(found[2]) == '1' else 's'} "
    if found[3] and found[3] != "00":
        said += f"{_cardinal(found[3])} {part}{'' if part == 'pence' or found[3] == '01' else 's'} "
    return said


def _minutes(digits: str) -> str:
    if digits == "00":
        return ""
    return f"oh {_cardinal(digits)}" if digits.startswith("0") else _cardinal(digits)


def _year(digits: str) -> str:
    """1984 as it is said, nineteen eighty four; 1900 nineteen hundred."""
    if len(digits) < 4 or digits[1:3] == "00":
        return _cardinal(digits)
    head, tail = digits[:2], digits[2:]
    if tail == "00":
        return f"{_cardinal(head)} hundred"
    return f"{_cardinal(head)} {'oh ' if tail.startswith('0') else ''}{_cardinal(tail)}"


def _plural(words: str) -> str:
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


def _one_by_one(digits: str) -> str:
    return " ".join(_cardinal(digit) for digit in digits)


def _cardinal(digits: str) -> str:
    return _spell(_digits(digits))


def _digits(number: str) -> str:
    return number.replace(",", "").lstrip("0") or "0"


@lru_cache(maxsize=4096)
def _spell(digits: str, ordinal: bool = False) -> str:
    if len(digits) > 36:  # beyond what has a name
        return " ".join(_spell(digit) for digit in digits)
    words = str(_number.number_to_words(_number.ordinal(digits) if ordinal else digits, andword=""))
    return words.replace(",", "").replace("-", " ")
