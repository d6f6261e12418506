import pytest

from jobqueue.domain.person import normalise_email, password_fault


@pytest.mark.parametrize(
    ("text", "email"),
    [
        ("ann@example.com", "ann@example.com"),
        ("  Ann.Bee+work@EXAMPLE.com ", "ann.bee+work@example.com"),
        ("ann@example.com.", "ann@example.com"),
        ("ann@b\u00fccher.example", "ann@xn--bcher-kva.example"),
        ("ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ("\uff41nn@example.com", "ann@example.com"),
        ("o'brien@mail.example.co.uk", "o'brien@mail.example.co.uk"),
    ],
)
def test_every_spelling_of_an_address_is_written_one_way(text: str, email: str) -> None:
    assert normalise_email(text) == email
    assert normalise_email(email) == email


@pytest.mark.parametrize(
    "text",
    [
        *("", "@", "ann", "ann@", "@example.com", "ann@localhost", "ann@example..com", "ann@-example.com", "ann@exa_mple.com"),
        *("an n@example.com", "ann@exam ple.com", "a@b@example.com", ".ann@example.com", "ann.@example.com", "a..b@example.com"),
        *('"ann"@example.com', "ann@[127.0.0.1]", "ann@example.com\0", "ann\n@example.com", "ann@example.com\r\nBcc: x@example.com"),
        *("a" * 65 + "@example.com", "ann@" + "a" * 64 + ".com", "ann@" + "a." * 130 + "com", "\ud800@example.com", "ann@\ud800.com"),
    ],
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert normalise_email(text) is None


@pytest.mark.parametrize(
    "password",
    ["correct horse battery staple", "x7-Tq!9w", "\u00e4\u00f6\u00fc\u00df\u00e9\u00e8\u00ea\u00eb", "z" * 250 + "abcdef"],
)
def test_a_password_of_any_characters_will_do(password: str) -> None:
    assert password_fault(password, email="ann@example.com", tenant="acme") is None


@pytest.mark.parametrize(
    "password",
    [
        "",
        "short",
        "1234567",
        "password",
        "PassWord1",
        "aaaaaaaaaa",
        "abababababab",
        "ann@example.com",
        "Ann@Example.com",
        "acme-industries",
    ],
)
def test_a_password_that_is_guessed_first_will_not_do(password: str) -> None:
    assert password_fault(password, email="ann@example.com", tenant="acme-industries") is not None


def test_a_password_has_a_longest_length() -> None:
    assert password_fault("abcd" * 64, email="", tenant="") is None
    assert password_fault("abcd" * 64 + "e", email="", tenant="") is not None
