"""HF_*, AWS_* and BUCKET_* are honoured unchanged, below our own configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from cachemgr.configuration.borrowed import hub_token
from cachemgr.domain.errors import Usage
from cachemgr.settings import Settings
from tests.settings.loading import load


def test_variables_of_other_tools_are_honoured_below_our_own(tmp_path: Path) -> None:
    environ = {"HF_ENDPOINT": "http://hub:1/", "HF_TOKEN": "hf_x", "AWS_REGION": "eu", "AWS_ENDPOINT_URL": "http://s3"}
    settings = load(environ=environ)
    assert settings.hub.endpoint == "http://hub:1"
    assert settings.hub.token is not None
    assert settings.hub.token.get_secret_value() == "hf_x"
    assert (settings.s3.region, settings.s3.endpoint_url) == ("eu", "http://s3")
    assert settings.source(("hub", "token")) == ("env", "HF_TOKEN")
    ours = load('[hub]\nendpoint = "http://mine"', environ, tmp_path=tmp_path)
    assert ours.hub.endpoint == "http://mine"


def test_empty_variables_of_other_tools_count_as_unset() -> None:
    settings = load(environ={"HF_ENDPOINT": "", "HF_TOKEN": " ", "AWS_REGION": "", "AWS_ACCESS_KEY_ID": ""})
    assert settings == load()


def test_bucket_variables_come_before_aws_ones_and_are_never_mixed_with_them() -> None:
    aws = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    bucket = {"BUCKET_ACCESS_KEY_ID": "d", "BUCKET_SECRET_ACCESS_KEY": "e", "BUCKET_ENDPOINT_URL": "https://x"}
    assert _credentials(load(environ=aws)) == ("a", "b", "c")
    assert _credentials(load(environ=aws | bucket)) == ("d", "e", None)


def test_our_own_credentials_are_never_completed_with_others(tmp_path: Path) -> None:
    aws = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    ours = '[s3]\naccess_key_id = "x"\nsecret_access_key = "y"'
    assert _credentials(load(ours, aws, tmp_path=tmp_path)) == ("x", "y", None)
    split = load('[s3]\naccess_key_id = "x"', aws | {"CACHEMGR_S3__SECRET_ACCESS_KEY": "z"}, tmp_path=tmp_path)
    assert _credentials(split) == ("x", "z", None)
    with pytest.raises(Usage, match=r"s3\.secret_access_key: is not set"):
        load('[s3]\naccess_key_id = "x"', aws, tmp_path=tmp_path)


def _credentials(settings: Settings) -> tuple[str | None, ...]:
    s3 = settings.s3
    secrets = (s3.secret_access_key, s3.session_token)
    return (s3.access_key_id, *(secret.get_secret_value() if secret else None for secret in secrets))


def test_the_token_of_a_login_is_found_where_the_hub_client_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_login\n")
    assert hub_token({"HF_HOME": str(tmp_path)}) == ("hf_login", str(tmp_path / "token"))
    assert hub_token({"HF_TOKEN_PATH": str(tmp_path / "token"), "HF_HOME": "/x"})[0] == "hf_login"
    (tmp_path / ".cache/huggingface").mkdir(parents=True)
    (tmp_path / ".cache/huggingface/token").write_text("hf_home")
    assert hub_token({"HOME": str(tmp_path)})[0] == "hf_home"
    assert hub_token({"HOME": "/nonexistent"})[0] is None
    assert hub_token({"HF_HOME": str(tmp_path), "HF_TOKEN": "hf_env"})[0] == "hf_env"


def test_no_token_is_taken_unasked_where_that_is_switched_off(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_login")
    environ = {"HF_HOME": str(tmp_path), "HF_TOKEN": "hf_env", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    assert hub_token(environ)[0] is None


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"HF_HOME": "/v/hf"}, "/v/hf/hub"),
        ({"HF_HOME": "/v/hf", "HUGGINGFACE_HUB_CACHE": "/v/old"}, "/v/old"),
        ({"HF_HOME": "/v/hf", "HUGGINGFACE_HUB_CACHE": "/v/old", "HF_HUB_CACHE": "~/new"}, "/nonexistent/new"),
    ],
)
def test_the_hub_cache_is_found_in_the_clients_own_order(environ: dict[str, str], expected: str | None) -> None:
    assert load(environ=environ).hub_cache == (Path(expected) if expected else None)
