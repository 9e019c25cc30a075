"""Asking the operator for a password."""

import getpass
import warnings

import click


def ask_password(text: str, otherwise: str, *, twice: bool = False) -> str:
    """Ask at the terminal, without showing what is typed.

    :param text: the prompt; it goes to standard error.
    :param otherwise: what to do where there is no terminal, for the operator.
    :param twice: ask until the same was typed twice.
    :raises click.ClickException: where there is no terminal.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            password: str = click.prompt(text, hide_input=True, confirmation_prompt=twice, err=True)
        except getpass.GetPassWarning:
            raise click.ClickException(
                f"no terminal to ask for the password at; {otherwise}"
            ) from None
    return password
