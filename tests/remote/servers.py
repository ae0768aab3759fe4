"""Servers that stores share, started on loopback and ended with the test."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import peer


def require(*names):
    """Ends the script as skipped if something is missing, and says how to get it."""
    missing = []
    if "redis-server" in names and not shutil.which("redis-server"):
        missing.append("no redis-server along PATH")
    if "s3" in names and not os.path.exists(os.environ["KVSPLICE_TEST_S3_PYTHON"]):
        missing.append(f"no {os.environ['KVSPLICE_TEST_S3_PYTHON']}")
    if missing:
        print(f"{', '.join(missing)}: tools/setup.sh --server gets it")
        sys.exit(peer.SKIPPED)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """One that is ended with the test, even if that is killed."""

    def __init__(self):
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def run(self, command, log, environment=None):
        with open(log, "a") as file:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment,
                preexec_fn=peer.end_with_parent)

    def stop(self, how=signal.SIGKILL):
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            self.process.wait(20)
        self.process = None

    def wait_until(self, ready, log):
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            if ready():
                return
            time.sleep(0.02)
        with open(log, errors="replace") as file:
            raise AssertionError(f"a server did not start:\n{file.read()[-2000:]}")


class Redis(Process):
    """A redis-server that keeps nothing on the disk."""

    PASSWORD = "hush-hush"

    def __init__(self, folder):
        super().__init__()
        self.folder, self.port = folder, free_port()
        self.url = f"redis://:{self.PASSWORD}@127.0.0.1:{self.port}"

    def start(self):
        log = os.path.join(self.folder, "redis.log")
        self.run(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                  "--requirepass", self.PASSWORD, "--dir", self.folder], log)
        self.wait_until(self.answers, log)

    def answers(self):
        try:
            return self.ask("PING") == b"PONG"
        except OSError:
            return False

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, *words):
        """The answer to one command: bytes, a number, None or a list of these."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            stream = connection.makefile("rwb")
            for command in (["AUTH", self.PASSWORD], words):
                parts = [word.encode() if isinstance(word, str) else word for word in command]
                stream.write(b"*%d\r\n" % len(parts))
                for part in parts:
                    stream.write(b"$%d\r\n%s\r\n" % (len(part), part))
                stream.flush()
                answer = self.read(stream)
            return answer

    def read(self, stream):
        line = stream.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return None if rest == b"-1" else stream.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.read(stream) for _ in range(int(rest))]
        if kind == b"-":
            raise AssertionError(rest.decode())
        return int(rest) if kind == b":" else rest

    def values(self):
        return {key: self.ask("GET", key) for key in self.ask("KEYS", "kvsplice:*")}


# Makes a user whom the server knows, who may do all in S3, and his bucket.
PREPARE = """
import boto3, json, sys
def client(name, **keys):
    return boto3.client(name, endpoint_url=sys.argv[1], region_name="eu-west-1", **keys)
iam = client("iam", aws_access_key_id="x", aws_secret_access_key="x")
iam.create_user(UserName="store")
key = iam.create_access_key(UserName="store")["AccessKey"]
iam.put_user_policy(UserName="store", PolicyName="all", PolicyDocument=json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}))
keys = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
client("s3", **keys).create_bucket(
    Bucket="cells", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
print(json.dumps([key["AccessKeyId"], key["SecretAccessKey"]]))
"""


class S3(Process):
    """moto's S3, which checks signatures once its user is made."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.port = folder, free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.url = f"s3+{self.endpoint}/cells/team"
        self.keys = {}

    def start(self):
        log = os.path.join(self.folder, "s3.log")
        python = os.environ["KVSPLICE_TEST_S3_PYTHON"]
        self.run([python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)], log,
                 dict(os.environ, INITIAL_NO_AUTH_ACTION_COUNT="3"))
        self.wait_until(self.answers, log)
        done = subprocess.run([python, "-c", PREPARE, self.endpoint], stdout=subprocess.PIPE,
                              check=True, timeout=60)
        key, secret = json.loads(done.stdout)
        self.keys = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret,
                     "AWS_REGION": "eu-west-1"}

    def answers(self):
        try:
            with urllib.request.urlopen(self.endpoint + "/moto-api/", timeout=5):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
