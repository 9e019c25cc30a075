"""Coverage-guided fuzzing with atheris: `python -m tests.fuzz.run --seconds 60 [TARGET ...]`.

Each target gets its share of the time in a process of its own.  Inputs that cover new
code go to `.fuzz/TARGET/`, from which the next run starts; one that fails goes to
`.fuzz/TARGET-crash-*`, its traceback is printed, and the exit status is 1.
"""

import argparse
import subprocess
import sys
from pathlib import Path

MOST_OCTETS = {"session": 1500, "header": 1000, "client": 1000}
USUAL_OCTETS = 400
GRACE_S = 120


def main() -> int:
    """Fuzz the targets that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--work", type=Path, default=Path(".fuzz"), help="where findings go")
    parser.add_argument("--here", action="store_true", help="one target, in this process")
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    arguments = parser.parse_args()
    if arguments.here:
        _fuzz(arguments.targets[0], arguments.seconds, arguments.work)
        return 0
    from tests.fuzz.targets import TARGETS

    names = arguments.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    share = max(1, arguments.seconds // len(names))
    results = [_in_a_process(name, share, arguments.work) for name in names]
    return 0 if all(results) else 1


def _in_a_process(name: str, seconds: int, work: Path) -> bool:
    options = ["--here", f"--seconds={seconds}", f"--work={work}", name]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds + GRACE_S,
        check=False,
    )
    lines = done.stdout.decode(errors="replace").splitlines()
    progress = [line for line in lines if line.startswith("#") and "cov:" in line]
    result = "FAILED" if done.returncode else "ok"
    print(f"{name}: {result} {' '.join(progress[-1].split()) if progress else ''}", flush=True)
    if done.returncode:
        print("\n".join(lines[-40:]), flush=True)
    return not done.returncode


def _fuzz(name: str, seconds: int, work: Path) -> None:
    """Fuzz one target; atheris ends the process."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    with atheris.instrument_imports(include=["submitd"]):
        from tests.fuzz import targets

    found = work / name
    found.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MOST_OCTETS.get(name, USUAL_OCTETS)}",
        f"-dict={targets.DICTIONARY}",
        f"-artifact_prefix={work}/{name}-",
        "-timeout=10",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
        str(found),
        str(targets.CORPUS / name),
    ]
    atheris.Setup([sys.argv[0], *options], targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
