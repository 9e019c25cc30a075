"""What old clients are forgiven by the running server, and what its log says of it."""

from collections.abc import Callable

from tests.support.server import LOGIN, Server, wait_until


def test_what_a_client_was_forgiven_is_logged_with_its_login(
    make_server: Callable[..., Server],
) -> None:
    """A listener for printers takes paths without brackets; the session's line names it."""
    server = make_server()
    file = server.site / "submitd.toml"
    option = '\nmissing_angle_brackets = true\ntls = "implicit"'
    file.write_text(file.read_text().replace('\ntls = "implicit"', option))
    with server.running():
        with server.smtp() as smtp:
            assert smtp.docmd("MAIL", f"FROM: {LOGIN}")[0] == 250
            assert smtp.docmd("RCPT", "TO:bob@example.net")[0] == 250
        with server.smtp("starttls") as smtp:
            assert smtp.docmd("MAIL", f"FROM:{LOGIN}")[0] == 501

        def told() -> list[object]:
            lines = server.log_lines("session")
            return [line["leniencies"] for line in lines if line["login"] == LOGIN]

        wait_until("both sessions are logged", lambda: len(told()) == 2)
        forgiven, other = told()
        assert "space-after-colon" in str(forgiven)
        assert "missing-brackets" in str(forgiven)
        assert not other
