"""Runs the application for an index on this machine."""

import contextlib
import ipaddress
import socket

import uvicorn
from fastapi import FastAPI

from jaxret.errors import ConfigError
from jaxret.index.index import Index
from jaxret.inference.model import Model
from jaxret.serving.app import LOOPBACK, create_app
from jaxret.serving.limits import Limits
from jaxret.serving.searcher import Searcher


def serve(
    index: Index, model: Model, *, host: str = '127.0.0.1', port: int = 8000, limits: Limits | None = None
) -> None:
    """Serves the page and `POST /search` until it is interrupted.

    Args:
      index: what is searched.
      model: of the index's checkpoint.
      host: address to listen on. Any but a loopback address opens the index, and all its models, to the network.
      port: to listen on.
      limits: what clients may ask for.

    Raises:
      ConfigError: the address is in use, or is none of this machine's.
    """
    limits = limits or Limits()
    searcher = Searcher(index, model, limits=limits)
    searcher.warm_up()
    loopback = is_loopback(host)
    app = create_app(index, searcher, limits=limits, hosts=(*LOOPBACK, host) if loopback else ('*',))
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ':' in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise ConfigError(f'{host}:{port}: cannot be listened on ({error}); choose another --host or --port') from error
    address = f'[{host}]' if ':' in host else host
    print(f'{len(index.ids)} shapes at http://{address}:{listening.getsockname()[1]}/ (Ctrl-C ends it)', flush=True)
    if not loopback:
        print('Everyone who reaches this address can search the index and download its models.', flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(settings(app)).run(sockets=[listening])


def settings(app: FastAPI) -> uvicorn.Config:
    """How the application is run."""
    # Idle connections are kept for longer than clients keep them: a request on one that closes that moment is lost.
    return uvicorn.Config(
        app,
        access_log=False,
        log_level='warning',
        server_header=False,
        ws='none',
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'
