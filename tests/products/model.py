"""A scripted language model on loopback, in the four APIs that the products speak: it calls one tool, then says so.

Each conversation goes the same way: call the tool, hold for as long as the run asks, call it again, say "done". What
turn it is shows in the conversation itself, so that any number of them go on at once. Nothing is generated.
"""

import contextlib
import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

from tests.kit.background import served_in_a_thread

TOOL: Final = "list_orders"
SHOWN: Final = "teapot"
"""What stands in the tool's result when it worked."""
TRIES: Final = 20
"""Results without it until the model gives up: a product may offer its tools while it still connects."""
PAUSE_S: Final = 0.5
KEEP_ALIVE_S: Final = 10.0
DONE: Final = "All orders are listed."
FAILED: Final = "The orders cannot be listed."
HOLD: Final = "hold the line as"
"""A prompt with these words and a name has the model wait between its two calls until the name is released."""
HELD: Final = re.compile(rf"{HOLD} (\w+)")
Json = dict[str, Any]
Event = tuple[str | None, Json]


class Model:
    """What the handlers share: where it listens, and which conversations are held."""

    def __init__(self) -> None:
        self.url = ""
        self._held: dict[str, threading.Event] = defaultdict(threading.Event)
        self._over = threading.Event()
        self.told: list[Json] = []
        """What it was told of each call, the last result of each request."""

    def release(self, name: str) -> None:
        """Let the conversation that holds under this name go on."""
        self._held[name].set()

    def release_all(self) -> None:
        """Let all go on: the run is over."""
        self._over.set()
        for one in list(self._held.values()):
            one.set()

    def answer(self, path: str, body: Json) -> list[Event]:
        """The events of an answer."""
        speaker = next(one for suffix, one in SPEAKERS.items() if suffix in path)
        results, tool = speaker.results(body), next((one for one in speaker.tools(body) if one.endswith(TOOL)), None)
        self.told += results[-1:]
        good = sum(SHOWN in json.dumps(one) for one in results)
        if tool is None or good >= 2:
            return speaker.text(body, DONE)
        if len(results) >= TRIES:
            return speaker.text(body, FAILED)
        if good == 1 and (held := HELD.search(json.dumps(body))):
            self._held[held[1]].wait()
        elif len(results) > good:
            self._over.wait(PAUSE_S)
        return speaker.call(body, tool, len(results))


class Messages:
    """Anthropic's Messages API, streamed."""

    def tools(self, body: Json) -> list[str]:
        return [one.get("name", "") for one in body.get("tools", [])]

    def results(self, body: Json) -> list[Json]:
        parts = [part for one in body["messages"] if isinstance(one["content"], list) for part in one["content"]]
        return [part for part in parts if part.get("type") == "tool_result"]

    def call(self, body: Json, tool: str, number: int) -> list[Event]:
        block = {"type": "tool_use", "id": f"toolu_{number}", "name": tool, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": "{}"}
        return self._message(body, block, delta, "tool_use")

    def text(self, body: Json, text: str) -> list[Event]:
        return self._message(body, {"type": "text", "text": ""}, {"type": "text_delta", "text": text}, "end_turn")

    def _message(self, body: Json, block: Json, delta: Json, reason: str) -> list[Event]:
        usage = {"input_tokens": 10, "output_tokens": 5}
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body.get("model", "m"),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return _named(
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage},
            {"type": "message_stop"},
        )


class Responses:
    """OpenAI's Responses API, streamed. MCP tools come in namespaces, or as functions of their own."""

    def tools(self, body: Json) -> list[str]:
        found = []
        for one in body.get("tools", []):
            inner = [each["name"] for each in one.get("tools", [])] if one.get("type") == "namespace" else []
            found += [f"{one['name']}/{name}" for name in inner] or [one.get("name", "")]
        return found

    def results(self, body: Json) -> list[Json]:
        return [one for one in body.get("input", []) if one.get("type") == "function_call_output"]

    def call(self, body: Json, tool: str, number: int) -> list[Event]:
        space, _, name = tool.rpartition("/")
        item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "arguments": "{}"}
        return self._items({**item, "name": name, **({"namespace": space} if space else {})})

    def text(self, body: Json, text: str) -> list[Event]:
        content = [{"type": "output_text", "text": text, "annotations": []}]
        return self._items({"type": "message", "id": "msg_1", "role": "assistant", "content": content})

    def _items(self, item: Json) -> list[Event]:
        usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        response = {"id": "resp_1", "object": "response", "status": "completed", "output": [item], "usage": usage}
        return _named(
            {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": response},
        )


class Chat:
    """OpenAI's Chat Completions API, streamed."""

    def tools(self, body: Json) -> list[str]:
        return [one.get("function", {}).get("name", "") for one in body.get("tools", [])]

    def results(self, body: Json) -> list[Json]:
        return [one for one in body["messages"] if one["role"] == "tool"]

    def call(self, body: Json, tool: str, number: int) -> list[Event]:
        function = {"name": tool, "arguments": "{}"}
        made = {"index": 0, "id": f"call_{number}", "type": "function", "function": function}
        return self._chunks(body, {"role": "assistant", "content": None, "tool_calls": [made]}, "tool_calls")

    def text(self, body: Json, text: str) -> list[Event]:
        return self._chunks(body, {"role": "assistant", "content": text}, "stop")

    def _chunks(self, body: Json, delta: Json, reason: str) -> list[Event]:
        base = {"id": "chat_1", "object": "chat.completion.chunk", "created": 1, "model": body.get("model", "m")}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return [
            (None, {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}),
            (None, {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": usage}),
            (None, {}),
        ]


class Generate:
    """Gemini's generateContent, streamed or whole."""

    def tools(self, body: Json) -> list[str]:
        return [one["name"] for each in body.get("tools", []) for one in each.get("functionDeclarations", [])]

    def results(self, body: Json) -> list[Json]:
        return [part for one in body["contents"] for part in one["parts"] if "functionResponse" in part]

    def call(self, body: Json, tool: str, number: int) -> list[Event]:
        return self._candidate({"functionCall": {"name": tool, "args": {}, "id": f"call_{number}"}})

    def text(self, body: Json, text: str) -> list[Event]:
        return self._candidate({"text": text})

    def _candidate(self, part: Json) -> list[Event]:
        content = {"role": "model", "parts": [part]}
        usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
        return [
            (None, {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "usageMetadata": usage})
        ]


SPEAKERS: Final[dict[str, Messages | Responses | Chat | Generate]] = {
    "/messages": Messages(),
    "/responses": Responses(),
    "/chat/completions": Chat(),
    "enerateContent": Generate(),
}


def _named(*events: Json) -> list[Event]:
    return [(one["type"], one) for one in events]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: Model

    def do_GET(self) -> None:
        self._whole({"data": [], "models": []})

    def do_HEAD(self) -> None:
        self._whole({})

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        if path.endswith(("count_tokens", "countTokens")):
            self._whole({"input_tokens": 10, "totalTokens": 10})
        elif path.endswith(":generateContent"):
            self._whole(self.model.answer(path, body)[0][1])
        else:
            self._stream(lambda: self.model.answer(path, body))

    def _whole(self, body: Json) -> None:
        sent = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent if self.command != "HEAD" else b"")

    def _stream(self, answer: Callable[[], list[Event]]) -> None:
        """An answer whose head goes out at once and which is kept alive: no product's patience is what is tried."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        with ThreadPoolExecutor(1) as pool, contextlib.suppress(OSError):
            found = pool.submit(answer)
            while not wait([found], timeout=KEEP_ALIVE_S).done:
                self._chunk(b"\n")
            self._chunk(b"".join(_event(*one) for one in found.result()))
            self._chunk(b"")

    def _chunk(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def speaking() -> Iterator[Model]:
    """The model, until the block ends."""
    model = Model()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"model": model}))
    server.daemon_threads = True
    model.url = f"http://127.0.0.1:{server.server_port}"
    with served_in_a_thread(server):
        try:
            yield model
        finally:
            model.release_all()
        server.server_close()


def _event(name: str | None, data: Json) -> bytes:
    text = json.dumps(data) if data else "[DONE]"
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()
