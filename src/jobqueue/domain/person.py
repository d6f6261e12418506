"""What a person signs in with: how an email address is written, and which passwords will do.

Rules for passwords as NIST SP 800-63B has them: a shortest length, no rules on which characters, none that everybody tries first, and none
that says the account's own name.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

EMAIL_CHARACTERS_MAX: Final = 254
LOCAL_CHARACTERS_MAX: Final = 64
LOCAL_PART: Final = re.compile(r"[^\s\x00-\x1f\x7f@\"(),:;<>\[\]\\.]+(\.[^\s\x00-\x1f\x7f@\"(),:;<>\[\]\\.]+)*")
DOMAIN: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+")

PASSWORD_CHARACTERS_MIN: Final = 8
PASSWORD_CHARACTERS_MAX: Final = 256
"""Long enough for any passphrase; what is hashed before anybody is known has a bound."""
PASSWORD_DISTINCT_MIN: Final = 4
TRIED_FIRST: Final = frozenset(
    (
        *("password", "password1", "password12", "password123", "passw0rd", "p@ssw0rd", "12345678", "123456789", "1234567890", "87654321"),
        *(
            "qwertyui",
            "qwertyuiop",
            "qwerty123",
            "qwerty12345",
            "1q2w3e4r",
            "1q2w3e4r5t",
            "1qaz2wsx",
            "asdfghjkl",
            "zxcvbnm123",
            "abcd1234",
        ),
        *("abc12345", "iloveyou", "sunshine", "princess", "football", "baseball", "superman", "trustno1", "welcome1", "letmein1"),
        *("admin123", "administrator", "changeme", "changeme1", "starwars", "whatever", "computer", "internet", "jobqueue"),
    )
)
"""The passwords guessers begin with, of those that are long enough; in lower case."""


def normalise_email(text: str) -> str | None:
    """Write an address the one way that stands for all its spellings; None: it is none.

    Lower case throughout (no provider of note tells letters of the local part apart), and a domain of other letters in its ASCII form.
    """
    local, at, domain = unicodedata.normalize("NFKC", text.strip()).rpartition("@")
    try:
        domain = domain.rstrip(".").lower().encode("idna").decode("ascii")
        local.encode()  # half of a surrogate pair is no character
    except UnicodeError:
        return None
    local = local.lower()
    if not at or len(local) > LOCAL_CHARACTERS_MAX or LOCAL_PART.fullmatch(local) is None or DOMAIN.fullmatch(domain) is None:
        return None
    email = f"{local}@{domain}"
    return email if len(email) <= EMAIL_CHARACTERS_MAX else None


def normalise_password(text: str) -> str:
    """Write a password as it is hashed, so that two keyboards' ways of typing one letter are the same."""
    return unicodedata.normalize("NFKC", text)


def password_fault(password: str, *, email: str, tenant: str) -> str | None:
    """Say what to change about a new password; None: it will do."""
    if len(password) < PASSWORD_CHARACTERS_MIN:
        return f"a password has at least {PASSWORD_CHARACTERS_MIN} characters"
    if len(password) > PASSWORD_CHARACTERS_MAX:
        return f"a password has at most {PASSWORD_CHARACTERS_MAX} characters"
    folded = password.lower()
    if folded in TRIED_FIRST or len(set(folded)) < PASSWORD_DISTINCT_MIN:
        return "this password is among the first that are guessed"
    if folded in (email, email.partition("@")[0], tenant):
        return "the password must not be the email address or the tenant's name"
    return None
