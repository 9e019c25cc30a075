"""Listeners in memory."""

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from submitd.ctl.certificates import Authority
from submitd.smtp.settings import Settings
from submitd.transport.options import LimitsOptions, TlsOptions
from submitd.transport.tls import ServerTls
from tests.support.server import HOSTNAME
from tests.support.stage import SETTINGS, Listener, ScriptedSubmissions, Stage, logged


@pytest.fixture(scope="session")
def server_tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    """TLS with a P-256 certificate."""
    site: Path = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)
    credentials = Authority.make("test authority", now).issue([HOSTNAME], now)
    (site / "certificate.pem").write_bytes(credentials.certificate)
    (site / "key.pem").write_bytes(credentials.key)
    return ServerTls(TlsOptions(certificate=site / "certificate.pem", key=site / "key.pem"))


@pytest.fixture
def make_stage(server_tls: ServerTls) -> Iterator[Callable[..., Stage]]:
    """Makes a stage; at the end no exception may have been logged that nobody asked for."""
    stages = []
    with logged() as events:

        def make(tls: str = "implicit", settings: Settings = SETTINGS, **limits: Any) -> Stage:
            submissions = ScriptedSubmissions()
            options = LimitsOptions(**limits)
            listener = Listener(
                server_tls,
                submissions,
                implicit=tls == "implicit",
                limits=options,
                settings=settings,
            )
            stages.append(Stage(listener, submissions, events))
            return stages[-1]

        yield make
        assert [event["log_failure"] for event in events if event.get("log_failure")] == []
    for stage in stages:
        assert all(made.names().count("closed") <= 1 for made in stage.submissions.made)


@pytest.fixture
def implicit(make_stage: Callable[..., Stage]) -> Stage:
    """A listener with implicit TLS."""
    return make_stage("implicit")


@pytest.fixture
def starttls(make_stage: Callable[..., Stage]) -> Stage:
    """A listener with STARTTLS."""
    return make_stage("starttls")
