"""Where a value comes from, which one wins, and what is said about those that do not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from cachemgr.configuration.sections import S3Settings, StoreSettings
from cachemgr.domain.errors import Usage
from cachemgr.domain.quantity import Amount
from cachemgr.settings import Settings
from tests.settings.loading import load


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    toml = '[disk]\nlow = "10%"\nhigh = "20%"\nhard = "30%"\n'
    environ = {"CACHEMGR_DISK__HIGH": "21%", "CACHEMGR_DISK__HARD": "31%"}
    settings = load(toml, environ, {"disk.hard": "32%", "disk.min_free": None}, tmp_path=tmp_path)
    disk = settings.disk
    assert [str(mark) for mark in (disk.low, disk.high, disk.hard, disk.min_free)] == ["10%", "21%", "32%", "15%"]
    sources = [settings.source(("disk", key)) for key in ("low", "high", "hard", "min_free")]
    file = str(tmp_path / "cachemgr.toml")
    assert sources == [("file", file), ("env", "CACHEMGR_DISK__HIGH"), ("flag", "command line"), ("default", "")]


def test_the_named_file_comes_before_the_variable_before_the_system_file(tmp_path: Path) -> None:
    files = {}
    for name in ("flag", "variable", "system"):
        files[name] = tmp_path / f"{name}.toml"
        files[name].write_text(f'models = ["hf://a/{name}"]')
    environ = {"CACHEMGR_CONFIG": str(files["variable"])}
    system = files["system"]
    assert Settings.load(files["flag"], environ, {}, system_file=system).models == ("hf://a/flag",)
    assert Settings.load(None, environ, {}, system_file=system).models == ("hf://a/variable",)
    assert Settings.load(None, {}, {}, system_file=system).models == ("hf://a/system",)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="does not exist"):
        Settings.load(tmp_path / "missing.toml", {}, {})
    with pytest.raises(Usage, match="does not exist"):
        Settings.load(None, {"CACHEMGR_CONFIG": str(tmp_path / "missing.toml")}, {})


def test_settings_are_frozen() -> None:
    settings = load()
    with pytest.raises(ValidationError):
        settings.disk.path = Path("/elsewhere")


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[dsk]\nlow = "1%"', "'dsk', did you mean disk?"),
        ('[disk]\nhihg = "1%"', "'disk.hihg', did you mean disk.high?"),
        ('[api]\nwait_timeout = "1s"', "'api.wait_timeout', did you mean run.wait_timeout?"),
        ('[s3.stores.b]\nregin = "x"', "'s3.stores.b.regin', did you mean s3.stores.b.region?"),
        ('modles = ["hf://a/b"]', "'modles', did you mean models?"),
        ("[disk.low]\na = 1", "unknown key 'disk.low.a'"),
        ("[xyzzy]", "unknown key 'xyzzy'"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(Usage) as caught:
        load(toml, tmp_path=tmp_path)
    assert said in caught.value.detail
    assert caught.value.fields["file"] == str(tmp_path / "cachemgr.toml")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("CACHEMGR_DISK_LOW", "did you mean CACHEMGR_DISK__LOW?"),
        ("CACHEMGR_DISK__HIHG", "did you mean CACHEMGR_DISK__HIGH?"),
        ("CACHEMGR_MODEL", "did you mean CACHEMGR_MODELS?"),
        ("CACHEMGR_SOKET", "did you mean CACHEMGR_SOCKET?"),
        ("CACHEMGR_", "unknown variable"),
        ("CACHEMGR_DISK", "unknown variable"),
        ("CACHEMGR_DISK__LOW__LOWER", "unknown variable"),
    ],
)
def test_an_unknown_variable_of_ours_is_refused_with_the_nearest_known_one(name: str, said: str) -> None:
    with pytest.raises(Usage) as caught:
        load(environ={name: "1"})
    assert said in caught.value.detail
    assert caught.value.fields["key"] == name


def test_what_kubernetes_adds_for_a_service_of_our_name_is_no_configuration() -> None:
    load(
        environ={
            "CACHEMGR_SERVICE_HOST": "10.0.0.1",
            "CACHEMGR_SERVICE_PORT": "9469",
            "CACHEMGR_SERVICE_PORT_METRICS": "9469",
            "CACHEMGR_PORT": "tcp://10.0.0.1:9469",
            "CACHEMGR_PORT_9469_TCP": "tcp://10.0.0.1:9469",
            "CACHEMGR_PORT_9469_TCP_PROTO": "tcp",
        }
    )


@pytest.mark.parametrize(
    ("toml", "key", "said"),
    [
        ('[disk]\nlow = "80G"', "disk.low", "'80G' is not a size"),
        ("[disk]\nlow = 80", "disk.low", "neither % nor a unit"),
        ("[disk]\nlow = true", "disk.low", "is bool, not text"),
        ("[disk]\nlow = 7.5", "disk.low", "is float, not text"),
        ('[disk]\nlow = "90%"', "disk.low", "is 90%, above high = 80%"),
        ('[disk]\nlow = "9GB"\nhigh = "8GB"\nhard = "95%"', "disk.low", "is 9GB, above high = 8GB"),
        ('[disk]\npath = "relative/dir"', "disk.path", "not an absolute path"),
        ('[disk]\npath = ""', "disk.path", "not an absolute path"),
        ('[disk]\npath = "/runpod-volume/"', "disk.path", "is the volume's path, too"),
        ("disk = 3", "disk", "is a section of keys, not a value"),
        ('[volume]\nhigh = "80%"', "volume.high", "is a percentage, but volume.quota is not set"),
        (f'[api]\nsocket = "/{"x" * 120}"', "api.socket", "longer than 107 bytes"),
        ('[api]\nlisten = "127.0.0.1:80"', "api.token", "is not set, but api.listen is"),
        ('[admin]\nlisten = "9469"', "admin.listen", "is not an address"),
        ('[admin]\nlisten = "[::g]:9469"', "admin.listen", "is not an address"),
        ('[admin]\nlisten = "h:99999"', "admin.listen", "is not an address"),
        ('[run]\nwait_timeout = "300"', "run.wait_timeout", "'300' is not a time"),
        ("[run]\nwait_timeout = 300.0", "run.wait_timeout", "is float, not text"),
        ("[transfers]\nfiles = 0", "transfers.files", "greater than or equal to 1"),
        ('[log]\nlevel = "loud"', "log.level", "'debug', 'info', 'warning' or 'error'"),
        ('[hub]\nendpoint = "ftp://host"', "hub.endpoint", "is not a http or https URL"),
        ('[hub]\nendpoint = "https://u:geheim@host"', "hub.endpoint", "has a user, a password"),
        ('[s3]\naccess_key_id = "id"', "s3.secret_access_key", "its other half is"),
        ('[s3]\npath_style = "maybe"', "s3.path_style", "neither true nor false"),
        ('models = ["hf:/a"]', "models", "'hf:/a' is not a ref"),
        ("models = [1]", "models", "is not a list of refs"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_file_and_key(
    tmp_path: Path, toml: str, key: str, said: str
) -> None:
    with pytest.raises(Usage) as caught:
        load(toml, tmp_path=tmp_path)
    assert caught.value.fields["key"] == key
    assert said in caught.value.detail
    assert f"{key}: " in caught.value.detail
    assert caught.value.hint


def test_a_variable_that_does_not_fit_is_named() -> None:
    with pytest.raises(Usage, match=r"^CACHEMGR_DAEMON__GRACE: daemon.grace: '5' is not a time"):
        load(environ={"CACHEMGR_DAEMON__GRACE": "5"})


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(Usage, match=r"disk\.low: .*; .*run\.wait_timeout: "):
        load('[disk]\nlow = "x"\n[run]\nwait_timeout = "y"', tmp_path=tmp_path)


def test_broken_toml_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(Usage, match=r"is not TOML: .*line 2"):
        load("[disk]\nlow = \n", tmp_path=tmp_path)
    (tmp_path / "cachemgr.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Usage, match="is not TOML"):
        Settings.load(tmp_path / "cachemgr.toml", {}, {})


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(Usage, match=r"did you mean disk\.path\?"):
        load(flags={"disk.pth": "/x"})


@pytest.mark.parametrize("text", ["hf://a/b hf://c/d@v1", "  hf://a/b \n hf://c/d@v1 hf://a/b "])
def test_models_from_the_environment_stand_between_blanks(text: str) -> None:
    assert load(environ={"CACHEMGR_MODELS": text}).models == ("hf://a/b", "hf://c/d@v1")


# --- sections


def test_one_environment_has_one_socket() -> None:
    assert load(environ={"CACHEMGR_SOCKET": "/s/a"}).api.socket == Path("/s/a")
    assert load(environ={"CACHEMGR_SOCKET": "/s/a", "CACHEMGR_API__SOCKET": "/s/a"}).api.socket == Path("/s/a")
    with pytest.raises(Usage, match="name different sockets"):
        load(environ={"CACHEMGR_SOCKET": "/s/a", "CACHEMGR_API__SOCKET": "/s/b"})


def test_who_is_not_root_gets_directories_of_their_own() -> None:
    settings = load(environ={"XDG_CACHE_HOME": "/h/c", "XDG_RUNTIME_DIR": "/run/user/7"}, root=False)
    assert settings.disk.path == Path("/h/c/cachemgr")
    assert settings.api.socket == Path("/run/user/7/cachemgr/cachemgr.sock")
    bare = load(root=False)
    assert bare.disk.path == Path("/nonexistent/.cache/cachemgr")
    assert bare.api.socket == Path("/nonexistent/.cache/cachemgr/run/cachemgr.sock")
    assert bare.source(("disk", "path")) == ("default", "")


def test_a_volume_that_somebody_named_is_explicit(tmp_path: Path) -> None:
    assert not load().volume.explicit
    assert load(environ={"CACHEMGR_VOLUME__PATH": "/runpod-volume"}).volume.explicit
    assert load('[volume]\npath = "/v"', tmp_path=tmp_path).volume.explicit
    assert not load().volume.explicit, "one configuration must not leave its mark on the next"


def test_an_empty_volume_path_means_that_there_is_none(tmp_path: Path) -> None:
    assert load('[volume]\npath = ""', tmp_path=tmp_path).volume.path is None


@pytest.mark.parametrize(
    ("toml", "marks"),
    [
        ("", None),
        ('quota = "100GB"', (80, 90, 95)),
        ('quota = "100GB"\nhard = "50%"', (50, 50, 50)),
        ('quota = "100GB"\nlow = "10%"\nhigh = "20GB"', (10, 20, 95)),
    ],
)
def test_marks_of_the_volume_are_of_its_quota(tmp_path: Path, toml: str, marks: tuple[int, ...] | None) -> None:
    expected = tuple(mark * 10**9 for mark in marks) if marks else None
    assert load(f"[volume]\n{toml}", tmp_path=tmp_path).volume.marks() == expected


def test_a_volume_with_sizes_alone_has_those_limits(tmp_path: Path) -> None:
    marks = load('[volume]\nhard = "9GB"', tmp_path=tmp_path).volume.marks()
    assert marks == (9 * 10**9, 9 * 10**9, 9 * 10**9)


def test_a_bucket_of_its_own_takes_the_rest_from_s3(tmp_path: Path) -> None:
    toml = """
        [s3]
        region = "eu"
        access_key_id = "a"
        secret_access_key = "b"
        session_token = "c"
        [s3.stores."my.bucket"]
        endpoint_url = "https://own"
        access_key_id = "d"
        secret_access_key = "e"
        [s3.stores.other]
        path_style = true
    """
    s3 = load(toml, tmp_path=tmp_path).s3
    own, other = s3.store("my.bucket"), s3.store("other")
    assert (own.endpoint_url, own.region, own.access_key_id, own.session_token) == ("https://own", "eu", "d", None)
    assert (other.path_style, other.access_key_id, other.region) == (True, "a", "eu")
    assert other.session_token is not None
    assert s3.store("any") == StoreSettings(**{name: getattr(s3, name) for name in StoreSettings.model_fields})
    assert S3Settings().store("any") == StoreSettings()


def test_a_store_can_be_set_by_the_environment() -> None:
    settings = load(environ={"CACHEMGR_S3__STORES__my-bucket__REGION": "eu", "CACHEMGR_S3__PATH_STYLE": "false"})
    assert settings.s3.store("my-bucket").region == "eu"
    assert settings.s3.store("my-bucket").path_style is False


# --- what is shown


SECRETS = {
    "CACHEMGR_API__TOKEN": "geheim-1",
    "HF_TOKEN": "geheim-2",
    "AWS_ACCESS_KEY_ID": "key-id",
    "AWS_SECRET_ACCESS_KEY": "geheim-3",
    "AWS_SESSION_TOKEN": "geheim-4",
    "CACHEMGR_S3__STORES__b__ACCESS_KEY_ID": "key-id",
    "CACHEMGR_S3__STORES__b__SECRET_ACCESS_KEY": "geheim-5",
}


def test_no_secret_is_ever_shown() -> None:
    settings = load(environ=SECRETS)
    shown = json.dumps(settings.show())
    for text in (shown, repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "geheim" not in text
    assert shown.count("***") == 5
    assert sorted(settings.secrets()) == [f"geheim-{n}" for n in range(1, 6)]


def test_no_secret_is_repeated_in_an_error() -> None:
    for name in SECRETS:
        with pytest.raises(Usage) as caught:
            load(environ=SECRETS | {name: "gehe\nim-x", "CACHEMGR_API__LISTEN": "geheim"})
        assert "im-x" not in f"{caught.value.detail}{caught.value.hint}{caught.value.fields}"
        assert caught.value.__cause__ is None


def test_every_value_is_shown_with_its_source(tmp_path: Path) -> None:
    shown = load('[disk]\nlow = "5GiB"', {"CACHEMGR_RUN__WAIT_TIMEOUT": "90s"}, tmp_path=tmp_path).show()
    assert isinstance(shown["disk"], dict)
    assert isinstance(shown["run"], dict)
    assert shown["disk"]["low"] == {"value": "5GiB", "source": "file", "from": str(tmp_path / "cachemgr.toml")}
    assert shown["disk"]["hard"] == {"value": "90%", "source": "default", "from": ""}
    assert shown["run"]["wait_timeout"]["value"] == "1m30s"
    assert shown["run"]["wait_timeout"]["from"] == "CACHEMGR_RUN__WAIT_TIMEOUT"


def test_what_is_shown_can_be_configured_again(tmp_path: Path) -> None:
    settings = load('[disk]\nlow = "5GiB"\n[volume]\nquota = "500GB"\nhard = "97.5%"', tmp_path=tmp_path)
    flags = {f"{name}.{key}": entry["value"] for name, key, entry in _entries(settings.show())}
    assert load(flags=flags).model_dump() == settings.model_dump()


def _entries(shown: Mapping[str, object]) -> list[tuple[str, str, Mapping[str, object]]]:
    sections = {
        name: section for name, section in shown.items() if isinstance(section, dict) and "value" not in section
    }
    return [(name, key, entry) for name, section in sections.items() for key, entry in section.items()]


def test_defaults_are_typed() -> None:
    settings = load()
    assert settings.disk.min_free == Amount.parse("15%")
    assert settings.admin.listen is not None
    assert (settings.admin.listen.host, settings.admin.listen.port) == ("127.0.0.1", 9469)
    assert (settings.run.wait_timeout, settings.daemon.grace) == (300.0, 5.0)
