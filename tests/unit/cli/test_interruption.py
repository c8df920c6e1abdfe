"""Ctrl-C ends the tool at any moment. Each case is a process of its own."""

import signal
import subprocess
import sys
import textwrap

from tidewind.cli.interruption import ENDING_S

SECONDS = 60
WORKING = """
    import asyncio, time
    from types import SimpleNamespace
    from tidewind.cli.bootstrap import SystemTools
    from tidewind.cli.interruption import end_at_once
    from tidewind.cli.screen import Output
    from tidewind.cli.session import run
    import typer
    def work_with(work):
        end_at_once()
        try:
            run(SimpleNamespace(obj=SystemTools), Output.table, work)
        except typer.Exit as end:
            raise SystemExit(end.exit_code)
"""


def begin(script: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=0,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


def interrupted(script: str, *, answer: str = "") -> tuple[int, str]:
    """The exit code of a script that is interrupted when it has said that it is ready; and what it said then."""
    process = begin(script)
    try:
        process.send_signal(signal.SIGINT)
        said = "".join(process.communicate(answer, timeout=SECONDS))
    finally:
        process.kill()
    return process.returncode, said


def test_before_anything_is_loaded(interruptible):
    code, said = interrupted(
        """
        import sys, time, types
        from tidewind.cli.main import main
        class Slow:
            def find_spec(self, name, path, target=None):
                if name == "tidewind.cli.application":
                    print("ready", flush=True)
                    time.sleep(3600)
        sys.meta_path.insert(0, Slow())
        main()
        """
    )
    assert (code, said) == (130, "")


def test_work_is_cancelled_and_ends_in_its_own_way(interruptible):
    code, said = interrupted(
        WORKING
        + """
    async def work(session):
        try:
            print("ready", flush=True)
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            print("closed", flush=True)
    work_with(work)
    """
    )
    assert (code, said) == (130, "closed\n")


STUCK = (
    "await asyncio.gather(asyncio.sleep(3600), return_exceptions=True)",  # swallows its cancellation, and goes on
    "time.sleep(3600)",  # the loop does not run
    "print('x' * 10_000_000)",  # nobody reads
    "await asyncio.to_thread(time.sleep, 3600)",  # the end waits for a thread
)


def test_work_that_cannot_be_cancelled_ends_all_the_same(interruptible):
    """All at once, as each has its `ENDING_S` to end in."""
    processes = {}
    try:
        for stuck in STUCK:
            processes[stuck] = begin(
                WORKING
                + f"""
    async def work(session):
        print("ready", flush=True)
        while True:
            {stuck}
    work_with(work)
    """
            )
        for process in processes.values():
            process.send_signal(signal.SIGINT)
        ended = {stuck: process.wait(timeout=SECONDS + ENDING_S) for stuck, process in processes.items()}
        assert ended == dict.fromkeys(STUCK, 130)
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


def test_a_question_is_no_obstacle(interruptible):
    process = begin(
        WORKING
        + """
    async def work(session):
        session.tools.ask("ready\\n")
    work_with(work)
    """
    )
    try:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=SECONDS) == 130
        assert process.communicate()[1] == ""
    finally:
        process.kill()


def test_where_it_is_ignored_it_is_ignored(interruptible):
    code, said = interrupted(
        WORKING
        + """
    import signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    async def work(session):
        print("ready", flush=True)
        input()
        return 3
    work_with(work)
    """,
        answer="\n",
    )
    assert code == 3, said
