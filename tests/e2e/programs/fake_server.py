"""An inference server as a capture sees it: health, start and stop of a recording, requests. It needs no GPU."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nsys_pipeline.markers import phase, step

STEPS = iter(range(1000))
recording = None


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer()

    def do_POST(self):
        global recording  # noqa: PLW0603 - one recording at a time
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        print("POST", self.path, body.decode(), flush=True)
        if self.path == "/start_profile":
            recording = phase("recording")
            recording.__enter__()
        elif self.path == "/stop_profile":
            recording.__exit__(None, None, None)
        else:
            with phase("decode"):
                step(1, next(STEPS), batch=2)
        self.answer()

    def answer(self):
        payload = json.dumps({"ok": True}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        """Quiet."""


print("method:", os.environ.get("VLLM_WORKER_MULTIPROC_METHOD"), "arguments:", sys.argv[2:], flush=True)
server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
try:
    server.serve_forever()
except KeyboardInterrupt:
    print("stopped in order", flush=True)
