"""The command `etrade-session`.

Exit codes: 0 active, 1 failed, 2 usage, 4 sign-in required.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter, validators

from etrade_flows.cli.doctor import doctor
from etrade_flows.cli.login import login, logout
from etrade_flows.cli.operate import alerts, serve
from etrade_flows.cli.output import ExitCode, plain_console, report_error, show_any_text, tell, tell_next
from etrade_flows.cli.renew import renew, run_with_session, with_name_as_option
from etrade_flows.cli.status import status
from etrade_flows.runs.server import spare_this_machine_the_proxy
from etrade_session import DEFAULTS
from etrade_tasks.errors import ETradeError

SIMULATOR_PORT = 8765
"""The simulator's default port."""

Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))]

app = App(
    name="etrade-session",
    help="Keep an E*TRADE access token alive until midnight US Eastern, when every token expires.",
    version=lambda: version("prefect-etrade"),
    help_epilogue="Exit codes: 0 active, 1 failed, 2 usage, 4 sign-in required.",
)
for each in (renew, login, logout, status, doctor, serve, alerts):
    app.command(each)
app.command(run_with_session, name="exec")
app.register_install_completion_command(help="Install completion of commands and options in this shell.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code."""
    show_any_text()
    spare_this_machine_the_proxy()
    try:
        given = with_name_as_option(sys.argv[1:] if arguments is None else arguments)
        code = app(given, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        code = ExitCode.USAGE
    except ETradeError as error:
        code = report_error(error)
    except KeyboardInterrupt:
        code = 130  # what a shell reports for a command that Ctrl+C ended
    sys.exit(code or 0)


@app.command
def demo() -> int:
    """Show a token's whole day against the built-in simulator, in under half a minute.

    It needs no account, no Prefect server and no network, and leaves nothing behind.
    """
    if not _simulator_is_installed():
        return ExitCode.FAILED
    with tempfile.TemporaryDirectory(prefix="etrade-demo-", ignore_cleanup_errors=True) as home:
        # A separate process: Prefect reads its home when it is imported, and the user's home stays untouched.
        return _run([sys.executable, "-m", "etrade_flows.cli.demo"], _isolated_environment(home))


@app.command
def simulator(*, port: Port = SIMULATOR_PORT, control: bool = False) -> int:
    """Serve E*TRADE's OAuth calls and some of its data calls on this machine, until Ctrl+C.

    Parameters
    ----------
    port
        The port on 127.0.0.1; 0 takes a free one.
    control
        Also serve the control interface, which moves the clock and plants faults.
    """
    if not _simulator_is_installed():
        return ExitCode.FAILED
    from etrade_simulator import command  # noqa: PLC0415  # an extra

    try:
        command.serve(port, control, lambda running: print(command.describe(running), flush=True))
    except OSError as error:
        tell(f"Port {port} cannot be used: {error.strerror}.")
        tell_next("choose another with --port.")
        return ExitCode.FAILED
    return ExitCode.ACTIVE


def _simulator_is_installed() -> bool:
    try:
        import etrade_simulator.server  # noqa: F401, PLC0415  # an extra
    except ModuleNotFoundError as error:
        tell(f"The simulator needs the package {error.name!r}.")
        tell_next("pip install 'prefect-etrade[simulator]'")
        return False
    return True


def _run(command: list[str], environment: dict[str, str]) -> int:
    """The command's exit code. If Ctrl+C ends this process, the command ends too."""
    # In its own session, Ctrl+C does not reach it: else each of its processes would print a traceback.
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:  # noqa: S603
        try:
            return process.wait()
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGKILL)
            console = plain_console()
            if console.is_terminal:
                console.show_cursor()  # a spinner hides it
                console.line()
            raise


def _isolated_environment(home: str) -> dict[str, str]:
    """This process's environment without Prefect or E*TRADE settings, and with its own Prefect home.

    Proxies are left out: all calls stay on this machine, which a proxy could not reach.
    """
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "ETRADE_")) and not name.lower().endswith("_proxy")
    }
    isolated = {
        "PREFECT_HOME": home,
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
    }
    return own | DEFAULTS | isolated


if __name__ == "__main__":
    main()
