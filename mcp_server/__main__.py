"""`python -m mcp_server`, and the command `mcp-server`."""

import signal


def run() -> None:
    """Run the command; Ctrl-C while it is being loaded, a second or two, ends it without a traceback of imports."""
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # it may be ignored, and is left so then
    if raises:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mcp_server.cli import main  # noqa: PLC0415 - what takes the time

    if raises:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main(prog_name="mcp-server")


if __name__ == "__main__":
    run()
