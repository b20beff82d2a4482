"""The settings of a client. The tests use plain values and pass the environment as an argument."""

from __future__ import annotations

import copy
import json
import math
import pickle
import time
import traceback
from urllib.parse import quote

import httpx
import pytest

from fetch_hive_sdk import ConfigurationError
from fetch_hive_sdk._config import DEFAULT_BASE_URL, read_config, read_timeout
from fetch_hive_sdk._secret import Secret

KEY = "fh_live_0123456789"


def config(**settings):
    return read_config(**{"api_key": KEY, "environ": {}, **settings})


# --- The key ---------------------------------------------------------------------------------------------------------


def test_key_is_required():
    """The message names the argument and the environment variable."""
    with pytest.raises(ConfigurationError, match=r"api_key=\.\.\. or set FETCH_HIVE_API_KEY"):
        read_config(environ={})


@pytest.mark.parametrize("blank", ["", "  ", "\n"])
def test_blank_key_counts_as_missing(blank):
    """A blank environment variable counts as not set."""
    with pytest.raises(ConfigurationError, match="api_key is required"):
        read_config(environ={"FETCH_HIVE_API_KEY": blank})


def test_key_is_read_from_the_environment():
    """`FETCH_HIVE_API_KEY` is used if there is no argument."""
    found = read_config(environ={"FETCH_HIVE_API_KEY": KEY})

    assert found.api_key.reveal() == KEY


def test_arguments_take_precedence_over_the_environment():
    """Arguments of the key and the base URL override their environment variables."""
    found = config(
        environ={"FETCH_HIVE_API_KEY": "other", "FETCH_HIVE_BASE_URL": "https://other.test"}, base_url="https://a.test"
    )

    assert found.api_key.reveal() == KEY
    assert found.base_url == "https://a.test"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FETCH_HIVE_API_KEY", "Bearer fhk_0123456789"),
        ("FETCH_HIVE_API_KEY", "fhk_0123456789 x"),
        ("FETCH_HIVE_BASE_URL", "a.test/v1"),
        ("FETCH_HIVE_BASE_URL", "http://a.test/v1"),
        ("FETCH_HIVE_WORKSPACE_ID", ".."),
    ],
)
def test_error_names_the_environment_variable(variable, value):
    """Unless the setting is an argument. The program that fails may not be the one that set the variable."""
    setting = variable[len("FETCH_HIVE_") :].lower()
    environ = {"FETCH_HIVE_API_KEY": KEY, variable: value}

    with pytest.raises(ConfigurationError, match=f"^{setting} .* from the environment variable {variable}") as caught:
        read_config(environ=environ)
    assert "0123456789" not in str(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        read_config(**{"environ": environ, setting: value})
    assert "environment" not in str(caught.value)


def test_whitespace_around_a_key_is_stripped():
    """A key that was read from a file often ends with a line break."""
    found = config(api_key=f" \t{KEY}\r\n")

    assert found.api_key.reveal() == KEY


@pytest.mark.parametrize(
    "bad", ["fh secret", "fh\nsecret", "fh\tsecret", "fh\x00secret", "fh\x7fsecret", "fhé-secret", "fh\u2028secret"]
)
def test_key_that_is_invalid_in_a_header_is_rejected(bad):
    """Neither the message nor the traceback contains the key."""
    with pytest.raises(ConfigurationError, match="copy the key again") as caught:
        config(api_key=bad)

    assert "secret" not in "".join(traceback.format_exception_only(type(caught.value), caught.value))
    assert caught.value.__cause__ is None


def test_config_does_not_show_the_key():
    """Neither its repr nor a pickle contains the key."""
    found = config()

    assert KEY not in repr(found)
    assert KEY not in repr(vars(found))
    with pytest.raises(TypeError, match="a Secret cannot be pickled"):
        pickle.dumps(found)


def test_config_is_immutable():
    """Many threads can share a client."""
    found = config()

    with pytest.raises(AttributeError):
        found.timeout = 1.0


# --- Secrets ---------------------------------------------------------------------------------------------------------


def test_secret_is_hidden_in_strings():
    """Only `reveal` returns it."""
    secret = Secret(KEY)

    assert secret.reveal() == KEY
    assert KEY not in f"{secret} {secret!r} {[secret]}"


@pytest.mark.parametrize("look", [vars, pickle.dumps, copy.copy, copy.deepcopy])
def test_secret_cannot_be_copied_or_pickled(look):
    """A secret supports neither `vars`, `pickle` nor `copy`."""
    with pytest.raises(TypeError):
        look(Secret(KEY))


def test_secrets_are_compared_by_value():
    """So are the settings that contain them."""
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        (f"Bearer {KEY}!", "Bearer ***!"),
        (f"Bearer {KEY}!".encode(), b"Bearer ***!"),
        ({KEY: KEY, "a": [1, {"b": KEY}]}, {"***": "***", "a": [1, {"b": "***"}]}),
        (7, 7),
        (None, None),
    ],
)
def test_secret_is_masked_in_values(value, masked):
    """In strings, bytes, and JSON values of any depth, including keys."""
    assert Secret(KEY).hide_in_value(value) == masked


@pytest.mark.parametrize("secret", ["fhk_0123456789", 'fhk_0/1+"2\\3'])
@pytest.mark.parametrize(
    "escape",
    [
        lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
        lambda text: "".join(f"\\u{ord(char):04X}" for char in text),
        lambda text: json.dumps(text)[1:-1],
        lambda text: json.dumps(json.dumps(text))[3:-3],
        lambda text: json.dumps("".join(f"\\u{ord(char):04x}" for char in text))[1:-1],
        lambda text: text.replace("/", "\\/"),
        lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
        quote,
    ],
)
def test_escaped_secret_is_masked(secret, escape):
    """JSON, JSON inside of JSON and URLs may escape its characters."""
    text = f'{{"a": "{escape(secret)}"}}'

    assert Secret(secret).hide_in(text) == '{"a": "***"}'
    assert Secret(secret).hide_in_bytes(text.encode()) == b'{"a": "***"}'


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"webhook_secret": "whsec_/+1=", "a": 1}', '{"webhook_secret": "***", "a": 1}'),
        (r'{"webhook_secret":"whsec_\/1"}', '{"webhook_secret":"***"}'),
        (r'{"a": "{\"webhook_secret\": \"whsec_1\"}"}', r'{"a": "{\"webhook_secret\": \"***\"}"}'),
        ('{"run_id": "r", "webhook_secret": "whsec_', '{"run_id": "r", "webhook_secret": "***'),
        ('{"webhook_secret": null}', '{"webhook_secret": null}'),
    ],
)
def test_webhook_secret_is_masked_by_its_field_name(text, masked):
    """The client does not know its value before the answer, which may be invalid."""
    secret = Secret(KEY)

    assert secret.hide_in(text) == masked
    assert secret.hide_in_bytes(text.encode()) == masked.encode()
    assert secret.hide_in_value({"a": [{"webhook_secret": "whsec_1"}]}) == {"a": [{"webhook_secret": "***"}]}


def test_combined_secret_masks_both():
    """The secret of a trigger is masked together with the key."""
    both = Secret(KEY).combined_with(Secret("whsec_123456"))

    assert both.hide_in(f"{KEY} whsec_123456") == "*** ***"
    assert both.reveal() == KEY
    assert Secret(KEY).combined_with(None) == Secret(KEY)


def test_mask_leaves_other_escapes_unchanged():
    """Strings that look like escapes of the secret stay unchanged."""
    text = 'C:\\fhk_ \\u0066\\u0067 %66%67 100% "\\\\"'

    assert Secret(KEY).hide_in(text) == text


def test_mask_takes_linear_time():
    """Many backslashes do not slow it down."""
    begun = time.monotonic()

    Secret(KEY).hide_in("\\" * 1_000_000)
    Secret(KEY).hide_in('"webhook_secret": "' + "\\" * 1_000_000)
    Secret('"' * 20).hide_in('\\"' * 19 + "\\" * 1_000_000)

    assert time.monotonic() - begun < 10


# --- The base URL ----------------------------------------------------------------------------------------------------


def test_base_url_has_a_default():
    """The default is the URL of the service."""
    assert config().base_url == DEFAULT_BASE_URL


def test_base_url_is_read_from_the_environment():
    """`FETCH_HIVE_BASE_URL` is used if there is no argument; if it is empty, it counts as not set."""
    assert config(environ={"FETCH_HIVE_BASE_URL": "https://a.test/v2"}).base_url == "https://a.test/v2"
    assert config(environ={"FETCH_HIVE_BASE_URL": ""}).base_url == DEFAULT_BASE_URL


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("https://a.test", "https://a.test"),
        ("https://a.test/", "https://a.test"),
        ("https://a.test/v1//", "https://a.test/v1"),
        (" https://a.test/v1\n", "https://a.test/v1"),
        ("https://a.test:8443/v1", "https://a.test:8443/v1"),
        ("https://[2001:db8::1]/v1", "https://[2001:db8::1]/v1"),
        ("HTTPS://A.test/v1", "https://a.test/v1"),
    ],
)
def test_base_url_is_normalized(given, read):
    """Trailing slashes and surrounding whitespace are removed."""
    assert config(base_url=given).base_url == read


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.test",
        "a.test/v1",
        "/v1",
        "https://",
        "https:///v1",
        "https://[::1",
        "https://a\nb.test",
        "https://a.test:port",
    ],
)
def test_invalid_base_url_is_rejected(url):
    """Another scheme, a missing host, or an invalid URL."""
    with pytest.raises(ConfigurationError, match="base_url"):
        config(base_url=url)


@pytest.mark.parametrize("not_a_string", [7, b"https://a.test", httpx.URL("https://a.test")])
def test_base_url_must_be_a_string(not_a_string):
    """The message names the setting."""
    with pytest.raises(ConfigurationError, match="base_url is not a valid URL"):
        config(base_url=not_a_string)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@a.test/v1",
        "https://user:hunter2@a.test:port/",
        "https://a.test/v1?token=hunter2",
        "https://a.test/v1#hunter2",
        "http://user:hunter2@localhost",
    ],
)
def test_base_url_with_a_password_is_rejected(url):
    """Neither the message nor the cause quotes the URL."""
    with pytest.raises(ConfigurationError) as caught:
        config(base_url=url)

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["https://a.test/v1?", "https://a.test/v1#", "https://a.test/?#"])
def test_base_url_with_an_empty_query_is_rejected(url):
    """The path of the endpoint would become part of the query."""
    with pytest.raises(ConfigurationError, match="query or fragment"):
        config(base_url=url)


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_base_url_with_an_invalid_port_is_rejected(port):
    """A socket would raise an OverflowError."""
    with pytest.raises(ConfigurationError, match="port"):
        config(base_url=f"https://a.test:{port}")


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "api.localhost", "127.0.0.1", "127.8.9.10", "[::1]", "localhost:8000", "[::1]:8000"],
)
def test_http_is_accepted_for_this_machine(host):
    """The key does not leave the machine."""
    assert config(base_url=f"http://{host}").base_url == f"http://{host.lower()}"


@pytest.mark.parametrize(
    "host", ["a.test", "10.0.0.1", "localhost.a.test", "127.0.0.1.a.test", "[2001:db8::1]", "notlocalhost", "0.0.0.0"]
)
def test_http_to_other_machines_requires_allow_http(host):
    """The key would be sent unencrypted."""
    with pytest.raises(ConfigurationError, match="allow_http=True"):
        config(base_url=f"http://{host}")

    assert config(base_url=f"http://{host}", allow_http=True).base_url == f"http://{host}"


# --- Time limits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, -1, -0.5, math.nan, math.inf, -math.inf, True, False, "30", [30]])
def test_timeout_must_be_a_positive_number(bad):
    """The message states the accepted values."""
    with pytest.raises(ConfigurationError, match="or None for no limit"):
        config(timeout=bad)


@pytest.mark.parametrize("seconds", [30, 0.25, 1e6])
def test_timeout_in_seconds_is_a_float(seconds):
    """Integers are converted."""
    found = read_timeout(seconds)

    assert found == seconds
    assert type(found) is float


@pytest.mark.parametrize("timeout", [httpx.Timeout(5), httpx.Timeout(None)])
def test_httpx_timeout_is_kept(timeout):
    """An `httpx.Timeout` is used unchanged."""
    assert config(timeout=timeout).timeout is timeout


@pytest.mark.parametrize("unlimited", [None, math.inf])
def test_idle_timeout_may_be_none(unlimited):
    """None means that the time between two events is not limited."""
    assert config(idle_timeout=unlimited).idle_timeout is None


def test_idle_timeout_is_in_seconds():
    """Integers are converted."""
    assert config(idle_timeout=5).idle_timeout == 5.0


@pytest.mark.parametrize("bad", [0, -1, math.nan, -math.inf, True, "30"])
def test_idle_timeout_must_be_a_positive_number(bad):
    """The message names the setting."""
    with pytest.raises(ConfigurationError, match="idle_timeout"):
        config(idle_timeout=bad)


# --- Retries and the endpoint ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "read"), [(0, 0), (5, 5), (3.0, 3)])
def test_max_retries_accepts_whole_numbers(given, read):
    """0 disables retries."""
    found = config(max_retries=given).max_retries

    assert found == read
    assert type(found) is int


@pytest.mark.parametrize("bad", [-1, 1.5, math.nan, math.inf, -math.inf, True, None, "2"])
def test_max_retries_rejects_other_values(bad):
    """The message names the setting."""
    with pytest.raises(ConfigurationError, match="max_retries"):
        config(max_retries=bad)


@pytest.mark.parametrize("path", ["/invoke", "invoke", "invoke/", "//invoke//"])
def test_prompt_path_begins_with_one_slash(path):
    """Leading and trailing slashes are normalized."""
    assert config(prompt_path=path).prompt_path == "/invoke"


def test_configuration_error_is_a_value_error():
    """`maybe_processed` is False, because nothing was sent."""
    with pytest.raises(ValueError, match="timeout") as caught:
        config(timeout=0)

    assert caught.value.maybe_processed is False


@pytest.mark.parametrize("name", ["retry_unknown_outcome", "allow_http"])
@pytest.mark.parametrize("value", ["no", 0, None])
def test_switches_must_be_booleans(name, value):
    """Switches that cost money, or send the key unencrypted, are not enabled by the string "no"."""
    with pytest.raises(ConfigurationError, match=f"{name} must be True or False"):
        read_config(api_key="fhk_key", **{name: value})


@pytest.mark.parametrize("path", ["", "/", "/invoke?x=1", "/a b", "/../x", "/a//b", "#", None, 5])
def test_invalid_prompt_path_is_rejected(path):
    """The path has no query, no fragment, no spaces and no empty segments."""
    with pytest.raises(ConfigurationError, match="prompt_path"):
        read_config(api_key="fhk_key", prompt_path=path)


@pytest.mark.parametrize("key", [b"fhk_secret", 5])
def test_key_must_be_a_string(key):
    """The message does not contain the key."""
    with pytest.raises(ConfigurationError, match="api_key must be a string") as caught:
        read_config(api_key=key)

    assert "fhk_secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "message"),
    [('"fhk_0123456789"', "in quotes"), ("'fhk_0123456789", "in quotes"), ("Bearer fhk_0123456789", '"Bearer"')],
)
def test_key_with_quotes_or_bearer_is_rejected(key, message):
    """The message names the surplus, and does not contain the key."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_config(api_key=key, environ={})

    assert "0123456789" not in str(caught.value)
