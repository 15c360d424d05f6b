"""Runs the application for an index on this machine."""

import asyncio
import contextlib
import ipaddress
import re
import socket
from collections.abc import Sequence
from functools import partial

import uvicorn
from fastapi import FastAPI

from jaxret.errors import ConfigError
from jaxret.index.index import Index
from jaxret.inference.model import Model
from jaxret.serving.app import LOOPBACK, create_app
from jaxret.serving.connections import BoundedConnection, within_descriptors
from jaxret.serving.limits import Limits
from jaxret.serving.searcher import Searcher

_ANSWER_SECONDS = 2.0


def serve(
    index: Index,
    model: Model,
    *,
    host: str = '127.0.0.1',
    port: int = 8000,
    names: Sequence[str] = (),
    read_only: bool = False,
    limits: Limits | None = None,
) -> None:
    """Serves the page and `POST /search` until it is interrupted.

    Args:
      index: what is searched.
      model: of the index's checkpoint.
      host: address to listen on. Any but a loopback address opens the index, and all its models, to the network.
      port: to listen on.
      names: under which a proxy calls the server, beside those of loopback.
      read_only: nothing can be taught.
      limits: what clients may ask for.

    Raises:
      ConfigError: the address is in use, or is none of this machine's; or a name is none.
    """
    limits = within_descriptors(limits or Limits())
    hosts = allowed_hosts(host, names)
    searcher = Searcher(index, model, limits=limits)
    searcher.warm_up()
    app = create_app(index, searcher, limits=limits, hosts=hosts, read_only=read_only)
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ':' in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise ConfigError(f'{host}:{port}: cannot be listened on ({error}); choose another --host or --port') from error
    address = f'[{host}]' if ':' in host else host
    print(f'{len(index.ids)} shapes at http://{address}:{listening.getsockname()[1]}/ (Ctrl-C ends it)', flush=True)
    if not is_loopback(host):
        taught = '' if read_only else ', and teach it (--read-only: not that)'
        print(f'Everyone who reaches this address can search the index and download its models{taught}.', flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        Server(settings(app, limits)).run(sockets=[listening])


class Server(uvicorn.Server):
    """uvicorn's, which lets requests that it cancels when it shuts down answer before it ends."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; called by it."""
        await super().shutdown(sockets)
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_ANSWER_SECONDS)


def settings(app: FastAPI, limits: Limits) -> uvicorn.Config:
    """How the application is run."""
    # Idle connections are kept for longer than clients keep them: a request on one that closes that moment is lost.
    return uvicorn.Config(
        app,
        http=partial(BoundedConnection, limits=limits),
        access_log=False,
        log_config=None,  # uvicorn's own would take the place of the program's
        log_level='error',  # a warning for every request that is no HTTP would fill the disk of a log
        server_header=False,
        ws='none',
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )


def allowed_hosts(host: str, names: Sequence[str]) -> tuple[str, ...]:
    """Names under which the server may be called.

    Args:
      host: address that it listens on.
      names: further ones; '*.example.org' for all below. Without any, an address that is not loopback has all names.

    Raises:
      ConfigError: not the name of a host.
    """
    for name in names:
        if not re.fullmatch(r'(\*\.)?[\w-]+(\.[\w-]+)*\.?|\[[0-9a-fA-F:.]+\]', name):
            raise ConfigError(f'--allow-host={name}: give the name of a host alone, such as cad.example.org')
    return (*LOOPBACK, host, *names) if names or is_loopback(host) else ('*',)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'
