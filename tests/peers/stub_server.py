"""A llama-server without a model, for tests of `kvsplice serve`: it takes each byte of a text for a
token, answers with letters that depend on the whole prompt, and keeps in its slot files the cells of
a cache of SmolLM2-135M, made up from the tokens, so that it can tell whether cells that are restored
are those of their tokens. It does wrong what it is told to do wrong."""

import http.server
import json
import os
import select
import struct
import threading
import time
import urllib.parse
import zlib
from itertools import accumulate, takewhile

LAYERS, ROW = 30, 384  # bytes of a row
SEQUENCE_FILE, VERSION, F16 = 0x67677371, 3, 1
CELLS = b"".join(struct.pack("<e", number / 4096) for number in range(-4096, 4096))
EVALUATE_MS = 20.0  # what evaluating a token takes, by its own words

# -- the model -------------------------------------------------------------------------------------


def tokens_of(text):
    return [byte + 3 for byte in text.encode()]


def sums_of(tokens):
    """One for each token, of it and all before it."""
    return list(accumulate(tokens, lambda total, token: zlib.crc32(b"%d" % token, total),
                           initial=0))[1:]


def go_on(tokens, n):
    """The next n tokens."""
    total, new = sums_of(tokens)[-1], []
    for _ in range(n):
        new.append(ord("a") + total % 26 + 3)
        total = zlib.crc32(b"%d" % new[-1], total)
    return new


def text_of(tokens):
    return bytes(token - 3 for token in tokens).decode(errors="replace")


def template(messages):
    def text(content):
        return content if isinstance(content, str) else "".join(part["text"] for part in content)
    return "".join(f"<{one['role']}>{text(one['content'])}\n" for one in messages) + "<assistant>"


# -- slot files ------------------------------------------------------------------------------------


def rows_of(tokens):
    """The rows of all layers, keys and then values."""
    most = len(CELLS) - ROW
    sums = sums_of(tokens)
    return [b"".join(CELLS[at:at + ROW] for at in ((total + unit * 1009) % most & ~1
                                                  for total in sums))
            for unit in range(2 * LAYERS)]


def write_state(tokens):
    """As llama_state_seq_save_file does it, with the tokens packed as llama-server packs them."""
    words = [-1, 1, len(tokens), *tokens, 0]
    head = struct.pack(f"<III{len(words)}i", SEQUENCE_FILE, VERSION, len(words), *words)
    cells = b"".join(struct.pack("<iIi", at, 1, 0) for at in range(len(tokens)))
    head += struct.pack("<II", 1, len(tokens)) + cells + struct.pack("<II", 0, LAYERS)
    return head + b"".join(struct.pack("<iQ", F16, ROW) + rows for rows in rows_of(tokens))


def read_state(data):
    """The tokens; an error if the cells are not theirs."""
    magic, version, n = struct.unpack_from("<III", data)
    words = list(struct.unpack_from(f"<{n}i", data, 12))
    tokens = words[3:3 + words[2]] if words[0] == -1 else words
    if (magic, version) != (SEQUENCE_FILE, VERSION):
        raise ValueError("no sequence file")
    whole = write_state(tokens)
    cells = 2 * LAYERS * (12 + ROW * len(tokens))
    if data[-cells:] != whole[-cells:]:
        raise ValueError("cells of other tokens")
    return tokens


# -- faults: each is given the handler of a request and a function that makes the right answer ------


def says(status, answer):
    """Answers so, and does nothing."""
    return lambda handler, make: handler.send(Answer(status, answer))


def refuses(status, message):
    return says(status, {"error": {"code": status, "type": "server_error", "message": message}})


def hangs(handler, make):
    """Never answers; the connection is closed when the fault is lifted."""
    handler.wait_until_left()


def closes(handler, make):
    """Before it says anything."""
    handler.close_connection = True


def slow(handler, make):
    time.sleep(0.5)
    handler.send(make(), pause=0.1)


def cut(handler, make):
    """Closes the connection in the middle of the body."""
    handler.send(make(), part=0.5)


def malformed(handler, make):
    make()
    handler.send(Answer(200, b'{"choices": [{"message": {"content": "so'))


def without_timings(handler, make):
    answer = make()
    for one in answer.events or [answer.body]:
        one.pop("timings", None)
    handler.send(answer)


def restores_less(handler, make):
    """Success, but most of it is not there."""
    answer = make()
    slot = handler.stub.slots[0]
    slot.tokens = slot.tokens[:10]
    answer.body["n_restored"] = 10
    handler.send(answer)


# -- the server ------------------------------------------------------------------------------------


class Answer:
    """A body, or events of a stream."""

    def __init__(self, status, body=None, events=None):
        self.status, self.body, self.events = status, body, events

    def parts(self):
        if self.events is None:
            whole = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
            return [whole[:40], whole[40:]]
        return [b"data: %s\n\n" % json.dumps(event).encode() for event in self.events] + [
            b"data: [DONE]\n\n"]


class Slot:
    def __init__(self):
        self.tokens = []


class Stub:
    """Several requests may come at once; they are answered one at a time, as by one model."""

    def __init__(self, folder, slots=1):
        self.folder = folder
        self.slots = [Slot() for _ in range(slots)]
        self.model = threading.RLock()
        self.keys = set()  # that clients need, if there are any
        self.asleep, self.model_path = False, "stub"
        self.faults = {}  # by path, with the action of /slots as in "/slots/save"
        self.seen = []  # (method, path, headers, body)
        self.left = 0   # clients that did not wait for an answer that never came
        self.wrong_cells = []
        handler = type("Bound", (Handler,), {"stub": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.lift()
        self.server.shutdown()
        self.server.server_close()

    def fail(self, faults):
        self.faults = dict(faults)

    def lift(self):
        self.faults = {}

    def fall_asleep(self):
        """Until somebody wants tokens it has no model, and afterwards nothing in its slots."""
        self.asleep = True
        for slot in self.slots:
            slot.tokens = []

    def refuses(self, path, headers):
        key = headers.get("Authorization") or headers.get("X-Api-Key") or ""
        return self.keys and path != "/health" and key.removeprefix("Bearer ") not in self.keys

    # -- what it answers --------------------------------------------------------------------------

    def answer(self, method, path, query, body):
        with self.model:
            if method in ("GET", "HEAD"):
                return self.tell(path)
            self.asleep = False
            try:
                asked = json.loads(body or b"{}")
                if path.startswith("/slots/"):
                    return self.move(int(path.split("/")[2]), query["action"][0], asked)
                return self.work(path, asked)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError,
                    struct.error) as error:
                message = f"{type(error).__name__} in {len(body)} bytes, {zlib.crc32(body):08x}"
                return Answer(400, {"error": {"code": 400, "message": message}})

    def tell(self, path):
        facts = {
            "/health": {"status": "ok"},
            "/props": {"total_slots": len(self.slots), "model_path": self.model_path,
                       "build_info": "stub", "is_sleeping": self.asleep,
                       "default_generation_settings": {"n_ctx": 4096}},
            "/slots": [{"id": i, "n_ctx": 4096} for i, _ in enumerate(self.slots)],
            "/lora-adapters": [],
            "/v1/models": {"object": "list", "data": [{"id": "stub", "object": "model"}]},
        }
        if path in facts:
            return Answer(200, facts[path])
        return Answer(404, {"error": {"code": 404, "message": "File Not Found"}})

    def move(self, number, action, asked):
        slot = self.slots[number]
        path = os.path.join(self.folder, asked.get("filename", ""))
        if action == "save":
            data = write_state(slot.tokens)
            with open(path, "wb") as file:
                file.write(data)
            return Answer(200, {"id_slot": number, "n_saved": len(slot.tokens),
                                "n_written": len(data), "timings": {"save_ms": 1.0}})
        slot.tokens = []
        if action == "erase":
            return Answer(200, {"id_slot": number, "n_erased": 0})
        with open(path, "rb") as file:
            data = file.read()
        try:
            slot.tokens = read_state(data)
        except ValueError as error:
            self.wrong_cells.append(str(error))
            raise
        return Answer(200, {"id_slot": number, "n_restored": len(slot.tokens),
                            "n_read": len(data), "timings": {"restore_ms": 1.0}})

    def work(self, path, asked):
        if path == "/tokenize":
            return Answer(200, {"tokens": tokens_of(asked["content"])})
        if path == "/apply-template":
            return Answer(200, {"prompt": template(asked["messages"])})
        shape = SHAPES.get(path)
        if shape is None:
            return Answer(404, {"error": {"code": 404, "message": "File Not Found"}})
        prompt = shape.prompt(asked)
        tokens = tokens_of(prompt) if isinstance(prompt, str) else list(map(int, prompt))
        n = next((asked[key] for key in ("n_predict", "max_tokens", "max_output_tokens")
                  if key in asked), 16)
        slot = self.slots[asked.get("id_slot", 0)]
        if not asked.get("cache_prompt", True):
            slot.tokens = []
        new, timings = self.evaluate(slot, tokens, n)
        if not asked.get("stream"):
            return Answer(200, {**shape.whole(text_of(new)), "tokens": new, "timings": timings})
        events = [shape.piece(text_of([token])) for token in new]
        events[-1]["timings"] = timings
        return Answer(200, events=events)

    @staticmethod
    def evaluate(slot, tokens, n):
        shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(slot.tokens, tokens))))
        cached = min(shared, len(tokens) - 1)
        new = go_on(tokens, n)
        slot.tokens = tokens + new[:-1]
        left = len(tokens) - cached
        return new, {"cache_n": cached, "prompt_n": left, "prompt_ms": left * EVALUATE_MS,
                     "predicted_n": n}


class Shape:
    """How a kind of request and its answers look."""

    def __init__(self, prompt, whole, piece):
        self.prompt, self.whole, self.piece = prompt, whole, piece


def chat_of_responses(asked):
    turns = asked["input"]
    turns = [{"role": "user", "content": turns}] if isinstance(turns, str) else turns
    told = asked.get("instructions")
    return template(([{"role": "system", "content": told}] if told else []) + turns)


def chat_of_messages(asked):
    told = asked.get("system")
    return template(([{"role": "system", "content": told}] if told else []) + asked["messages"])


COMPLETION = Shape(lambda asked: asked["prompt"], lambda text: {"content": text},
                   lambda text: {"content": text})
OPENAI_COMPLETION = Shape(lambda asked: asked["prompt"], lambda text: {"choices": [{"text": text}]},
                          lambda text: {"choices": [{"text": text}]})
SHAPES = {
    "/completion": COMPLETION,
    "/v1/completions": OPENAI_COMPLETION,
    "/v1/chat/completions": Shape(
        lambda asked: template(asked["messages"]),
        lambda text: {"choices": [{"message": {"role": "assistant", "content": text}}]},
        lambda text: {"choices": [{"delta": {"content": text}}]}),
    "/v1/responses": Shape(
        chat_of_responses,
        lambda text: {"output": [{"content": [{"type": "output_text", "text": text}]}]},
        lambda text: {"type": "response.output_text.delta", "delta": text}),
    "/v1/messages": Shape(
        chat_of_messages, lambda text: {"content": [{"type": "text", "text": text}]},
        lambda text: {"type": "content_block_delta", "delta": {"text": text}}),
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub = None

    def log_message(self, *_):
        pass

    def handle_any(self):
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.stub.seen.append((self.command, self.path, dict(self.headers), body))
        is_move = url.path.startswith("/slots/")
        fault = self.stub.faults.get(f"/slots/{query['action'][0]}" if is_move else url.path)

        def make():
            return self.stub.answer(self.command, url.path, query, body)

        try:
            if self.stub.refuses(url.path, self.headers):
                self.send(Answer(401, {"error": {"code": 401, "message": "Invalid API Key"}}))
            elif fault:
                fault(self, make)
            else:
                self.send(make())
        except OSError:  # the client has left
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = handle_any

    def send(self, answer, part=1.0, pause=0.0):
        parts = answer.parts()
        is_stream = answer.events is not None
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/event-stream" if is_stream else "application/json")
        if is_stream:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(sum(map(len, parts))))
        self.end_headers()
        if self.command == "HEAD":
            return
        for one in parts[:round(len(parts) * part)]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(one), one) if is_stream else one)
            time.sleep(pause)
        if part < 1:
            self.close_connection = True
        elif is_stream:
            self.wfile.write(b"0\r\n\r\n")

    def wait_until_left(self):
        self.close_connection = True
        faults = self.stub.faults
        while self.stub.faults is faults:
            readable, _, _ = select.select([self.connection], [], [], 0.05)
            if readable:
                self.stub.left += 1
                return
