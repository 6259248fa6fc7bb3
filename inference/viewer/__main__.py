"""Command line: ``python -m inference.viewer --help``."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from inference.arguments import QUALITIES
from inference.pipeline import DEMO, PortraitPipeline
from inference.viewer.server import make_app
from inference.viewer.studio import Studio
from torch_utils.bounds import whole_number
from torch_utils.misc import CliParser, UserError, reason, resolve_device, run_cli

MAX_MESSAGE = 2**20  # bytes; a shot has two thousand, a picture of a camera fifty thousand


def make_parser() -> CliParser:
    parser = CliParser(
        prog="python -m inference.viewer",
        description="Open a page to play with: sliders, live frames, playback and export of keyframes.",
        allow_abbrev=False,
    )
    parser.add_argument("--ckpt", default=str(DEMO), help="checkpoint (default: ckpts/demo.safetensors)")
    parser.add_argument("--config", help="name in configs/ or .yaml file; only for checkpoints in the released layout")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    quality_help = "of frames, as in gen_video.py; layers are the quickest (default: fast)"
    parser.add_argument("--quality", choices=QUALITIES, default="fast", help=quality_help)
    host_help = "address to listen on; anybody who reaches it may use the page (default: 127.0.0.1, this machine only)"
    parser.add_argument("--host", default="127.0.0.1", help=host_help)
    parser.add_argument("--port", type=whole_number(0, 65535), default=8765, help="0 takes a free one (default: 8765)")
    parser.add_argument("--no_browser", action="store_true", help="print the address only")
    return parser


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; a UserError where there can be none."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        why = reason(error).partition(" (while")[0] if isinstance(error, OSError) else "no such host"
        raise UserError(f"--host {host} --port {port}: cannot listen there: {why}") from error


def make_server(studio: Studio, *, host: str = "127.0.0.1", **texts: str) -> uvicorn.Server:
    """The server of a studio's page, for ``server.run(sockets=[listen(...)])``."""
    app = make_app(studio, hosts=frozenset({host.lower(), socket.gethostname().lower()}), **texts)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE,
        ws_per_message_deflate=False,  # pictures are compressed already
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def page_url(listening: socket.socket) -> str:
    """Where a browser on this machine finds the page."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def has_display() -> bool:
    """Whether a browser would have a window: a text browser would take the terminal instead."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def main(argv: Sequence[str] | None = None) -> None:
    args = make_parser().parse_args(argv)
    device = resolve_device(args.device)
    with listen(args.host, args.port) as listening:
        pipe = PortraitPipeline.from_checkpoint(args.ckpt, config=args.config, device=device)
        command = "python gen_video.py"
        if args.ckpt != str(DEMO):
            named = {"--ckpt": args.ckpt} | ({"--config": args.config} if args.config else {})
            command += "".join(f" {option} {shlex.quote(value)}" for option, value in named.items())
        studio = Studio(pipe, args.quality)
        server = make_server(studio, host=args.host, checkpoint=Path(args.ckpt).name, command=command)
        url = page_url(listening)
        print(f"{url} (Ctrl-C stops)", flush=True)
        if not args.no_browser and has_display():
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):  # the usual end
            server.run(sockets=[listening])


if __name__ == "__main__":
    run_cli(main)
