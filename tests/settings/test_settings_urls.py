"""Keys and texts are not sent unencrypted over the internet, unless the user says so."""

from __future__ import annotations

import pytest
from rehearsing import fresh

import llm_executor_nb as llm

FAR = [
    "http://example.com/v1",
    "http://EXAMPLE.com",
    "http://8.8.8.8/v1",
    "http://134744072/v1",
    "http://0x08080808",
    "http://[2001:4860:4860::8888]/v1",
    "http://[::ffff:8.8.8.8]/v1",
    "http://100.64.0.1",
    "http://localhost.example.com",
    "http://local.internal.example",
    "http://10.0.0.1.example.com",
]
NEAR = [
    "http://localhost:11434/v1",
    "http://LOCALHOST.",
    "http://127.8.8.8",
    "http://[::1]:1/v1",
    "http://[::ffff:127.0.0.1]",
    "http://10.1.2.3",
    "http://172.16.0.9",
    "http://192.168.1.2:8000",
    "http://169.254.1.1",
    "http://[fd00::1]",
    "http://ollama:11434/v1",
    "http://gpu-1.local",
    "http://host.docker.internal:1234/v1",
    "https://example.com/v1",
    "https://8.8.8.8",
]


@pytest.fixture(autouse=True)
def _fresh():
    with fresh():
        yield


WAYS = {
    "add_backend": lambda url, **more: llm.add_backend("mine", base_url=url, **more),
    "openrouter": lambda url, **more: llm.configure(openrouter_base_url=url, **more),
    "huggingface": lambda url, **more: llm.configure(huggingface_base_url=url, **more),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@ways
@pytest.mark.parametrize("url", FAR)
def test_plain_http_over_the_internet_is_refused(way, url):
    with pytest.raises(llm.ConfigError, match=r"unencrypted over the internet.*https://.*allow_http=True"):
        way(url)


@ways
@pytest.mark.parametrize("url", FAR[:3])
def test_plain_http_over_the_internet_can_be_allowed(way, url):
    way(url, allow_http=True)


@ways
@pytest.mark.parametrize("url", NEAR)
def test_this_machine_private_networks_and_https_need_no_leave(way, url):
    way(url)


@pytest.mark.parametrize("variable", ["OPENROUTER_BASE_URL", "HF_ROUTER_URL"])
def test_an_environment_that_names_plain_http_is_refused_before_anything_is_sent(variable, monkeypatch):
    monkeypatch.setenv(variable, "http://example.com/v1")
    llm.configure(openrouter_keys=["sk-or-v1-environment-0001"])
    with pytest.raises(llm.ConfigError, match=rf"^{variable}: .*allow_http=True"):
        llm.run_llm("gemma", "x")
    assert llm.attempts().empty
