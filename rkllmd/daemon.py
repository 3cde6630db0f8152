"""The daemon: one trio run that puts the parts together, obeys signals, and ends in order."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import structlog
import trio

from rkllmd import __version__, open_files
from rkllmd.calls import registry, timeouts
from rkllmd.calls.detached.call import DetachedCall
from rkllmd.config import sources
from rkllmd.config.settings import Config
from rkllmd.config.values import ConfigError
from rkllmd.errors import RpcError, ShuttingDown
from rkllmd.keeper.ties import ENDS_WITH, HANGUP, HURRY, READ, REPLACE_ME, SETTLED, STOP
from rkllmd.language.caching import kept_conversations
from rkllmd.language.models.bringing_back import Returning
from rkllmd.language.models.idle import unload_idle_models
from rkllmd.language.models.loading import unload
from rkllmd.log import configuration
from rkllmd.machine import lifetime, runtime_output
from rkllmd.machine.crash_journal import CrashJournal
from rkllmd.machine.keeper_link import KeeperLink
from rkllmd.machine.notify import Notifier
from rkllmd.net.clients import Clients
from rkllmd.net.listening import listener
from rkllmd.net.receiver import Receiver
from rkllmd.npu.outage import Outage
from rkllmd.npu.queue import Queue
from rkllmd.rhythm import next_second
from rkllmd.service import aftermath, assembly, startup
from rkllmd.service.parts import Service
from rkllmd.vision.release import release_all

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language

logger = structlog.get_logger()

# With Python's default of 5 ms a callback waits that long if the event loop is busy: measured 5.6 ms against 0.6 ms.
_SWITCH_INTERVAL: Final = 0.0005
# After SIGTERM everything in flight is answered and the process ends within 10 s. First an RKNN run may end by itself,
# then a run has most of the time to notice its abort; freeing the models may take what is left.
_ABORT_SECONDS: Final = 6.0
_RUN_SECONDS: Final = 3.0
_FLUSH_SECONDS: Final = 2.0
_ALL_SECONDS: Final = 9.5
# For what is still to be written to the disk: two synchronisations and a few pages, which a slow SD card needs.
_CLOSE_SECONDS: Final = 2.0
_LEAST_SECONDS: Final = 0.4


class Daemon:
    """The running daemon."""

    def __init__(self, settings: Config, reload: Callable[[], Config], keeper: KeeperLink | None = None) -> None:
        """Prepare the daemon; ``reload`` reads the configuration again, for SIGHUP."""
        self._settings = settings
        self._reload = reload
        # Where the terminal's lines go; where faulthandler writes.
        self._stdout, self._stacks = 1, 2
        self._ends_with = lifetime.NOTHING
        self._keeper = keeper
        self._journal = CrashJournal(-1 if keeper is None else keeper.ties.journal)
        self._notifier = Notifier(os.environ, keeper)
        self._stopping = trio.Event()
        # Why this process is to be replaced: its NPU is stuck.
        self._given_up: Outage | None = None

    async def run(self) -> int:
        """Serve until a signal ends it; return the exit status. Raises ListenError."""
        sys.setswitchinterval(_SWITCH_INTERVAL)
        open_files.raise_limit()
        listening = listener.open_listener(self._settings.socket, os.environ, self._keeper)
        try:
            self._ends_with = lifetime.decide(self._settings.ends_with)
            ties = None if self._keeper is None else self._keeper.ties
            reader, self._stdout, stderr = runtime_output.capture(None if ties is None else (ties.reader, ties.writer))
            configuration.configure(self._settings.log_level, stderr)
            # If a runtime kills us (SIGSEGV, SIGILL …), the last lines are the signal and the call that it came in; a
            # keeper logs them after the process has ended.
            self._stacks = stderr if ties is None else ties.stacks
            faulthandler.enable(self._stacks)
            self._tell_keeper(ENDS_WITH, self._ends_with)
            try:
                return await self._serve(listening, reader)
            finally:  # nobody reads the captured output any more, and what is printed now may say why we die
                configuration.flush()
                os.dup2(self._stdout, 1)
                os.dup2(stderr, 2)
        finally:
            listening.close()

    async def _serve(self, listening: listener.Listener, printed: int) -> int:
        queue = Queue(assembly.queue_limits(self._settings))
        # A thread that works for the NPU needs Python's lock now and then, which busy polling would withhold from it.
        receiver = Receiver(lambda: queue.running is None)
        service = assembly.assemble(
            self._settings,
            queue,
            printed=printed,
            when_handled=receiver.when_handled,
            on_outage=self._tell_outage,
            on_given_up=self._give_up,
            pid=os.getpid() if self._keeper is None else self._keeper.pid,
            journal=self._journal,
        )
        if self._keeper is not None:
            aftermath.take_over(service, self._keeper.reports)
            self._tell_keeper(READ)
        kept_conversations.take_over(service.language)
        clients = Clients(service, receiver)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat)
            nursery.start_soon(service.language.runtime.output.watch)
            nursery.start_soon(service.npu.supervisor.watch)
            nursery.start_soon(service.npu.beside.watch)
            nursery.start_soon(service.detached_calls.run)
            nursery.start_soon(service.events.run)
            await nursery.start(self._obey_signals, service, listening)  # before anybody is told that we are ready
            if self._keeper is not None:
                nursery.start_soon(self._obey_keeper, self._keeper, service, listening)
            returning, begun = startup.take_over(service)
            nursery.start_soon(clients.run, listening)
            self._tell_ready(service, listening)
            nursery.start_soon(self._load_models, service, returning, begun)
            nursery.start_soon(unload_idle_models, service.language)
            await self._stopping.wait()
            clients.accept_no_more()
            if self._given_up is not None:
                await clients.answer_all(self._given_up.error(), _FLUSH_SECONDS)
                service.store.close(_CLOSE_SECONDS)
                _exit(REPLACE_ME, listening)
            await self._shut_down(service, clients)
            nursery.cancel_scope.cancel()
        if not service.npu.stop():
            # The worker is inside a C call and may stay there: exit handlers of C++ libraries must not run beside it.
            _exit(0, listening)
        return 0

    async def _load_models(self, service: Service, returning: list[Returning], begun: dict[str, DetachedCall]) -> None:
        await startup.load_what_was_loaded(service, returning)
        await startup.load_models_at_start(service, self._announce, self._notifier.extend_timeout, begun)
        self._tell_keeper(SETTLED)

    async def _beat(self) -> None:
        """Show that the event loop turns, for as long as it does (rkllmd/keeper/course.py)."""
        while True:
            self._journal.beat()
            self._notifier.feed(time.monotonic())
            await next_second()

    def _tell_keeper(self, name: str, value: str = "1") -> None:
        if self._keeper is not None:
            self._keeper.tell(name, value)

    def _tell_outage(self, outage: Outage | None) -> None:
        self._notifier.send(STATUS="serving" if outage is None else f"the NPU is stuck: {outage.reason}")

    def _give_up(self, outage: Outage) -> None:
        """Leave, so that the keeper, or whoever has started this process, starts another one: that frees the NPU."""
        if not self._stopping.is_set():
            self._given_up = outage
            faulthandler.dump_traceback(self._stacks)  # where it is stuck, as after any other crash
            logger.error("device_given_up", exit_status=REPLACE_ME, **outage.describe(time.monotonic()))
            self._notifier.send(STATUS=f"the NPU is stuck, a new daemon is started: {outage.reason}")
            self._stopping.set()

    def _announce(self, line: str) -> None:
        """Print a line for the person at the terminal, if there is one."""
        with contextlib.suppress(OSError):
            os.write(self._stdout, f"{line}\n".encode(errors="surrogateescape"))  # a file name may not be UTF-8

    def _tell_ready(self, service: Service, listening: listener.Listener) -> None:
        registry.warm_up(service.methods)
        # What exists now stays: a full collection would look at all of it each time, and stop the loop for 20 ms.
        gc.freeze()
        gc.enable()
        runtime = service.language.runtime.describe()
        self._notifier.send(READY=1, STATUS=f"serving {listening.path} with the {runtime['name']} runtime")
        logger.info(
            "ready",
            version=__version__,
            socket=listening.path,
            pid=service.pid,
            daemon_pid=os.getpid(),
            runtime=runtime,
            rknn_runtime=service.vision.runtime.describe(),
            soc=service.language.board.describe(),
        )
        serves = f"rkllmd {__version__} serves {listening.path} with the {runtime['name']} runtime"
        error, rknn = service.language.runtime.error, service.vision.runtime
        if error is None:
            versions = [f"RKLLM {runtime['version']}"]
            if rknn.error is None and rknn.name == service.language.runtime.name:
                versions.append(f"RKNN {rknn.library.version}")
            self._announce(f"{serves} ({', '.join(versions)}): {runtime['reason']}.")
        else:
            self._announce(f"{serves}, which can't be used: {error.sentence}")
        if rknn.error is not None:
            self._announce(f"RKNN is not served: {rknn.error.sentence}")
        elif rknn.name != service.language.runtime.name or error is not None:
            self._announce(f"RKNN {rknn.library.version} is served with the {rknn.name} runtime: {rknn.reason}.")

    # -- signals and shutdown ----------------------------------------------------------------------------------------

    async def _obey_signals(
        self,
        service: Service,
        listening: listener.Listener,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            if self._ends_with == lifetime.PARENT and self._keeper is None:  # which sees to that itself
                lifetime.end_with_parent()
            task_status.started()
            async for number in signals:
                name = signal.Signals(number).name
                if number == signal.SIGHUP:
                    self._hang_up(service)
                elif self._stopping.is_set() and self._keeper is None:
                    logger.warning("second_signal", signal=name)
                    _exit(1, listening)
                else:
                    self._stop(name)

    async def _obey_keeper(self, keeper: KeeperLink, service: Service, listening: listener.Listener) -> None:
        """Do what the keeper says, which gets the signals; one that reaches this process as well counts once."""
        async for word in keeper.words():
            if word == HANGUP:
                self._hang_up(service)
            elif word == STOP:
                self._stop("SIGTERM")
            elif word == HURRY:
                logger.warning("second_signal")
                _exit(1, listening)

    def _hang_up(self, service: Service) -> None:
        if self._ends_with == lifetime.NOTHING:
            self._reload_config(service)
        else:
            self._stop("SIGHUP")

    def _stop(self, name: str) -> None:
        if not self._stopping.is_set():
            logger.info("stopping", signal=name)
            self._stopping.set()

    def _reload_config(self, service: Service) -> None:
        self._notifier.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        try:
            fresh = self._reload()
            settings = service.config.reloaded(fresh)
            timeouts.check(settings, service.methods)
            service.current.config = settings
        except ConfigError as error:
            logger.error("reload_failed", reason=str(error))
        else:
            configuration.set_level(service.config.log_level)
            assembly.apply(service)
            logger.info("reloaded")
            changed = [item.name for item in fields(fresh) if getattr(settings, item.name) != getattr(fresh, item.name)]
            if changed:
                logger.warning("settings_need_a_restart", settings=changed)
        self._notifier.send(READY=1)

    async def _shut_down(self, service: Service, clients: Clients) -> None:
        """Answer everything in flight, send the answers, free the models; within ten seconds, whatever happens."""
        self._notifier.send(STOPPING=1, STATUS="shutting down")
        service.detached_calls.leave()
        service.language.remembered.is_leaving = True
        service.npu.close()
        latest = trio.current_time() + _ALL_SECONDS
        with trio.move_on_after(_ABORT_SECONDS) as patience:
            with trio.move_on_after(_RUN_SECONDS) as run_patience:
                await service.npu.idle.wait()
            if run_patience.cancelled_caught:
                service.npu.stop_running()
                await service.npu.idle.wait()
        service.detached_calls.close()
        not_ended = ShuttingDown("The daemon is shutting down; the call had not ended.")
        await clients.answer_all(not_ended, _FLUSH_SECONDS)
        if patience.cancelled_caught:
            # The worker is inside a C call that does not return, so nothing can be freed.
            logger.error(
                "npu_call_does_not_return", method=service.npu.queue.running and service.npu.queue.running.method
            )
        else:
            with trio.move_on_at(latest):
                await _free_models(service)
        service.npu.durations.save()
        service.store.close(min(_CLOSE_SECONDS, max(0.0, latest - trio.current_time()) + _LEAST_SECONDS))
        logger.info("stopped")


async def _free_models(service: Service) -> None:
    await service.npu.run("rknn.destroy", partial(release_all, service.vision))
    for model in service.language.models:
        try:
            await service.npu.run("rkllm.destroy", partial(_free_model, service.language, model))
        except RpcError as error:  # the others are still to be unloaded; the process ends it anyway
            logger.error("model_not_unloaded", model_path=model.path, error=error.to_json())


def _free_model(language: Language, model: Model) -> None:
    kept_conversations.keep_over_unload(language, model, is_leaving=True)
    unload(language, model)


def _exit(status: int, listening: listener.Listener) -> NoReturn:
    """End the process at once, without answering anybody; only the socket is removed."""
    listening.close()
    configuration.flush()
    os._exit(status)


def serve(settings: Config, flags: Mapping[str, object], file: Path | None, keeper: KeeperLink | None = None) -> int:
    """Run the daemon until it is told to stop; return the exit status. Raises ListenError."""
    reload = partial(sources.load, dict(os.environ), flags, file)
    return trio.run(Daemon(settings, reload, keeper).run)
