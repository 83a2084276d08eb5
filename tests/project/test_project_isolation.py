"""The tests' own guard holds: nothing foreign is reached, no key is seen, no home is touched."""

import asyncio
import os
import socket
from pathlib import Path

import pytest
from conftest import SECRETS_AND_ADDRESSES, NetworkUsedError

ABROAD = "192.0.2.1"  # a documentation address (RFC 5737): nobody is there


def test_a_foreign_address_is_refused_before_anything_is_sent(refused_hosts):
    with socket.socket() as plain, pytest.raises(NetworkUsedError, match=ABROAD):
        plain.connect((ABROAD, 80))
    assert refused_hosts == [ABROAD]
    refused_hosts.clear()


def test_a_foreign_name_is_not_looked_up(refused_hosts):
    with pytest.raises(NetworkUsedError):
        socket.getaddrinfo("example.com", 443)
    assert refused_hosts == ["example.com"]
    refused_hosts.clear()


def test_asyncio_is_guarded_too(refused_hosts):
    with pytest.raises(NetworkUsedError):
        asyncio.run(asyncio.open_connection(ABROAD, 80))
    assert refused_hosts == [ABROAD]
    refused_hosts.clear()


def test_a_name_that_cannot_exist_fails_as_dns_does():
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("nowhere.invalid", 443)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_reached(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection((host, server.getsockname()[1]), timeout=5).close()


def test_home_and_working_folder_are_the_tests_own(tmp_path):
    assert Path.cwd() == tmp_path
    assert tmp_path.parent in Path.home().parents


def test_no_key_and_no_address_is_in_the_environment():
    assert set(filter(SECRETS_AND_ADDRESSES.fullmatch, os.environ)) == {"HF_HOME"}
