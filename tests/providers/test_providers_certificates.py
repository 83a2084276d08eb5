"""A certificate that is not trusted is told by its cause; a machine without authorities is no provider's fault."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from test_providers_transport import ask

from llm_executor_nb.core import advice
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import FaultKind
from llm_executor_nb.providers import network
from llm_executor_nb.providers.transport import Transport

CERTIFICATES = Path(__file__).parents[1] / "support" / "certificates"
"""Made once for these tests: they open nothing. All but the authority have the same key."""


@pytest.fixture(autouse=True)
def _no_bundles(monkeypatch):
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)


def found_behind(certificate):
    async def story():
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
        transport = Transport()
        try:
            return await ask(transport, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", timeout_s=0.3)
        finally:
            await transport.close()
            server.close()

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("certificate", "told", "step"),
    [
        ("expired", "its certificate has expired", "clock"),
        ("early", "its certificate is not valid yet", "clock"),
        ("other", "its certificate is for another host", "host name"),
    ],
)
def test_the_cause_and_the_next_step_are_told(certificate, told, step, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATES / "authority.pem"))
    fault = found_behind(certificate)
    assert fault.kind is FaultKind.TLS
    assert fault.detail.startswith(told)
    assert "127.0.0.1" in fault.detail
    for own in ({}, {"mine": "https://127.0.0.1/v1"}):
        assert step in advice._step(Outcome.CONNECTION, "mine", own, "m", has_key=True, message=fault.detail)


def test_an_unknown_authority_is_told_with_what_makes_it_known():
    fault = found_behind("good")
    assert fault.detail.startswith("its certificate is from an authority that is unknown here")
    assert "REQUESTS_CA_BUNDLE" in advice._step(Outcome.CONNECTION, "x", {}, "m", has_key=True, message=fault.detail)


def test_a_certificate_of_a_known_authority_is_accepted(monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATES / "authority.pem"))
    assert found_behind("good").kind is FaultKind.TIMEOUT  # the server says nothing behind its certificate


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_a_bundle_that_is_missing_is_this_machines_fault(variable, monkeypatch, tmp_path):
    monkeypatch.setenv(variable, str(tmp_path / "missing.pem"))
    with pytest.raises(ConfigError, match=rf"{variable} names missing\.pem"):
        found_behind("good")


def test_a_bundle_that_is_no_bundle_is_this_machines_fault(monkeypatch, tmp_path):
    (tmp_path / "bundle.pem").write_text("certificates were here")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bundle.pem"))
    with pytest.raises(ConfigError, match=r"SSL_CERT_FILE names bundle\.pem"):
        found_behind("good")


def test_a_machine_without_authorities_says_so(monkeypatch):
    monkeypatch.setattr(network, "_has_system_store", lambda _: False)
    monkeypatch.setattr("certifi.where", lambda: "/nowhere/cacert.pem")
    with pytest.raises(ConfigError, match="no certificate authorities"):
        found_behind("good")
