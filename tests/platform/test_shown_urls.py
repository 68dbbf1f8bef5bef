import pytest

from threedrs_platform.shown_urls import without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:hunter2@mlflow:5000", "http://me:***@mlflow:5000"),
        ("http://mlflow/?password=hunter2", "http://mlflow/?password=***"),
        ("https://h/a?token=hunter2#part", "https://h/a?token=***#part"),
        ("postgresql://me@h/db?password=hunter2&sslmode=require",
         "postgresql://me@h/db?password=***&sslmode=require"),
        ("failed: http://me:hun/ter2?@h:1/x, see log", "failed: http://me:***@h:1/x, see log"),
        ("with url: /api/2.0?token=hunter2 (Caused by", "with url: /api/2.0?token=*** (Caused by"),
        ("https://a-token-in-place-of-a-user@host/x", "https://***@host/x"),
    ],
)  # fmt: skip
def test_no_secret_of_a_url_is_shown(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    "text",
    ["s3://bucket/a@b", "sqlite:////home/me/a b/results.db", "https://docs.org/page", "what? a=b"],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text
