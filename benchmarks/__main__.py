"""Run benchmarks: ``python -m benchmarks fanout latency --quick``.

Prints each result as it comes, and writes tables (Markdown) and figures (PNG) into a folder.
With ``--document`` the tables and figures of the documentation are those that were measured.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import machine, report
from benchmarks.awaits import awaits
from benchmarks.fanout import long_calls, short_calls
from benchmarks.first_result import first_result
from benchmarks.footprint import footprint
from benchmarks.growth import growth
from benchmarks.latency import latency
from benchmarks.parallel import parallel
from benchmarks.setting import Setting
from benchmarks.simulation import simulation
from benchmarks.table import Result
from benchmarks.transfer import transfer

BENCHMARKS: dict[str, Callable[[Setting], Result]] = {
    "simulation": simulation,
    "start": first_result,
    "footprint": footprint,
    "fanout": long_calls,
    "short": short_calls,
    "latency": latency,
    "joblib": parallel,
    "awaits": awaits,
    "transfer": transfer,
    "growth": growth,
}


def main() -> None:
    """Measure and print."""
    listed = "; ".join(
        f"{name}: {(measure.__doc__ or '').splitlines()[0]}" for name, measure in BENCHMARKS.items()
    )
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__, epilog=listed)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument(
        "--quick", action="store_true", help="small numbers and few rivals: about two minutes"
    )
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"), help="where results go")
    parser.add_argument(
        "--environments",
        type=Path,
        default=Path(tempfile.gettempdir(), "smexec-benchmarks"),
        help="where the other libraries are installed, each in an environment of its own",
    )
    parser.add_argument("--document", action="store_true", help="put the results into docs/benchmarks.md")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    setting = Setting(quick=arguments.quick, environments=arguments.environments.absolute())
    print(machine.description(), flush=True)
    for name in arguments.names or BENCHMARKS:
        load = machine.load()
        result = BENCHMARKS[name](setting)
        measured = report.Measured(name, machine.description(), load, result)
        print(f"\n{report.markdown(measured)}", flush=True)
        report.write(measured, arguments.output)
        if arguments.document:
            report.document(measured)


if __name__ == "__main__":
    main()
