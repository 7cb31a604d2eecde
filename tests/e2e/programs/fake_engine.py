"""A server built as the real ones are: the HTTP front is one process, the engine that does the work a child of it.

    fake_engine.py PORT [vllm|sglang|trtllm]

The engine is spawned, as the real ones are, and ignores SIGTERM. vllm: so does the front.
trtllm: no calls start a recording; the engine records the iterations that TLLM_PROFILE_START_STOP names.
It needs no GPU: a recording is a range, which `--capture-range nvtx` listens to.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nsys_pipeline.markers import phase, step


def engine(pipe, window):
    """Do what the front asks for until it says stop, and take a while to end, as a real one does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    recording, iteration = None, 0
    while True:
        request = pipe.recv()
        if request == "stop":
            break
        if request == "/start_profile" or (window and iteration == window[0]):
            recording = phase("recording")
            recording.__enter__()
        if request == "/stop_profile" or (window and iteration == window[1]):
            recording.__exit__(None, None, None)
            recording = None
        if request not in ("/start_profile", "/stop_profile"):
            with phase("decode"):
                step(1, iteration, batch=2)
            iteration += 1
        pipe.send("done")
    time.sleep(0.5)
    print("engine stopped in order", flush=True)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        print("POST", self.path, body.decode(), flush=True)
        front.send(self.path)
        front.recv()
        self.answer()

    def answer(self):
        payload = json.dumps({"ok": True}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        """Quiet."""


if __name__ == "__main__":
    kind = sys.argv[2]
    window = None
    if kind == "trtllm":
        window = [int(number) for number in os.environ["TLLM_PROFILE_START_STOP"].split("-")]
    context = multiprocessing.get_context("spawn")
    front, back = context.Pipe()
    child = context.Process(target=engine, args=(back, window))
    child.start()
    if kind == "vllm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        front.send("stop")
        child.join()
        print("front stopped in order", flush=True)
