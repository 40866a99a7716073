"""Masses of broken and hostile requests: after each kind the server answers at once, and its memory is free again."""
import base64
import concurrent.futures
import gzip
import hmac
import http.server
import json
import selectors
import socket
import threading
import time
import zlib

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from conftest import Server
from test_faults import answers_at_once, connection, is_idle, wait_until

MEMORY_LEFT = 200 << 20
HEAD = "POST /v1/rest/query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.fixture
def unharmed(server):
    """The shared server, which must be as it was when the test is done."""
    answers_at_once(server)
    before = server.memory_bytes()
    yield server
    answers_at_once(server)
    wait_until(lambda: is_idle(server), 30, "the processor is still busy")
    answers_at_once(server)
    # What the allocator keeps is not what a request holds: it may take a moment to go back.
    wait_until(lambda: server.memory_bytes() - before < MEMORY_LEFT, 20, "memory is not given back")


def exchange(server, request, seconds=30):
    """Sends bytes and reads until the server closes; gives the status, 0 when it closed without one."""
    client = connection(server)
    client.settimeout(seconds)
    try:
        client.sendall(request)
    except OSError:
        pass
    answer = bytearray()
    try:
        while part := client.recv(65536):
            answer.extend(part)
    except OSError:
        pass
    client.close()
    return (int(answer[9:12]) if answer[:5] == b"HTTP/" else 0), bytes(answer)


def sized(body, headers=""):
    return f"{HEAD}Connection: close\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def in_masses(server, bodies, count, allowed, headers=""):
    """Sends each body many times over several connections at once."""
    def send(at):
        body = bodies[at % len(bodies)]
        status, answer = exchange(server, sized(body, headers))
        assert status in allowed, (body[:80], answer[:300])

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(send, range(count)))


def test_texts_that_are_no_utf8(unharmed):
    broken = [b'{"csl":"print \'\xff\xfe\'"}', b"\xff\xfe{\0}\0", b'{"csl":"print \'\xc3\'"}', b'{"db":"\xed\xa0\x80","csl":"print 1"}', b"\x80" * 5000,
              b'{"csl":"print \'\\ud800\'"}', b'{"csl":"print 1"} \xf0\x9f']
    in_masses(unharmed, broken, 500, {400})


def test_names_that_repeat(unharmed):
    twice = b'{"csl":"print 1","csl":"print 2"}'
    many = b'{"csl":"print 1",' + b",".join(b'"x":1' for _ in range(50_000)) + b"}"
    options = b'{"csl":"print 1","properties":{"Options":{' + b",".join(b'"notruncation":true' for _ in range(50_000)) + b"}}}"
    distinct = b'{"csl":"print 1","properties":{"Options":{' + b",".join(b'"o%d":1' % n for n in range(100_000)) + b"}}}"
    in_masses(unharmed, [twice, many, options, distinct], 40, {200, 400})
    status, answer = exchange(unharmed, sized(twice))
    assert status == 200 and b"[[2]]" in answer


def test_json_deeper_than_any_stack(unharmed):
    deep = b"[" * 2_000_000
    closed = b'{"csl":"print 1","properties":' + b'{"a":' * 500_000 + b"1" + b"}" * 500_000 + b"}"
    text = json.dumps({"csl": "print parse_json('" + "[" * 100_000 + "]" * 100_000 + "')"}).encode()
    literal = json.dumps({"csl": "print dynamic(" + "[" * 100_000 + "]" * 100_000 + ")"}).encode()
    brackets = json.dumps({"csl": "print " + "(" * 200_000 + "1" + ")" * 200_000}).encode()
    pipes = json.dumps({"csl": "print x = 1 " + "| extend x = x + 1 " * 20_000}).encode()
    in_masses(unharmed, [deep, closed, literal, brackets, pipes], 24, {400})
    in_masses(unharmed, [text], 8, {200, 400})


def test_floods_of_headers(unharmed):
    many = "".join(f"X-{n}: y\r\n" for n in range(5000))
    long = f"X-Long: {'y' * (4 << 20)}\r\n"
    repeated = "Content-Length: 5\r\n" * 50
    cookies = "Cookie: a=b\r\n" * 3000
    for flood in (many, long, repeated, cookies):
        request = f"{HEAD}{flood}Content-Length: 2\r\n\r\n{{}}".encode()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: exchange(unharmed, request)[0], range(40)))
        assert set(answers) <= {0, 400, 431}, flood[:40]


def test_bodies_that_unpack_to_a_thousand_times_their_size(unharmed):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    part = b" " * (1 << 20)
    bomb = b"".join(packer.compress(part) for _ in range(256)) + packer.flush()
    assert len(bomb) < 1 << 20
    twice = gzip.compress(bomb)
    in_masses(unharmed, [bomb], 24, {413}, "Content-Encoding: gzip\r\n")
    in_masses(unharmed, [twice], 20, {400, 413}, "Content-Encoding: gzip\r\n")
    in_masses(unharmed, [bomb], 4, {415}, "Content-Encoding: gzip, gzip\r\n")


def test_a_gzip_bomb_as_data_is_read_in_bounds(unharmed):
    url = f"{unharmed.url}/v1/rest"
    assert requests.post(f"{url}/mgmt", json={"db": "NetDefaultDB", "csl": ".create table Bomb (a: string)"}, timeout=30).status_code == 200
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    part = b"x" * (1 << 20)
    # One value of a gigabyte: no record may be so long.
    bomb = b"".join(packer.compress(part) for _ in range(1024)) + packer.flush()
    before = unharmed.memory_bytes()
    answer = requests.post(f"{url}/ingest/NetDefaultDB/Bomb?streamFormat=csv", data=bomb, headers={"Content-Encoding": "gzip"}, timeout=300)
    assert answer.status_code == 400, answer.text
    assert unharmed.memory_bytes() - before < 1 << 30
    count = requests.post(f"{url}/query", json={"db": "NetDefaultDB", "csl": "Bomb | count"}, timeout=30).json()
    assert count["Tables"][0]["Rows"] == [[0]]


def test_clients_that_drip_their_requests(request, tmp_path):
    """Five hundred connections that send a byte now and then hold up nobody, and are left in the end."""
    settings = ["--set", "header_timeout_seconds=3", "--set", "stall_timeout_seconds=3"]
    server = Server(request.config.getoption("--server"), tmp_path / "data", *settings)
    try:
        answers_at_once(server)
        before = server.memory_bytes()
        begun = (HEAD + "X-Slow: ").encode()
        in_body = f"{HEAD}Content-Length: 100\r\n\r\n{{".encode()
        silent = b""
        began, open_ = time.monotonic(), []
        for at in range(500):
            client = connection(server)
            client.sendall([begun, in_body, silent, b"G"][at % 4])
            client.setblocking(False)
            open_.append((client, at % 4))
        with selectors.DefaultSelector() as selector:
            for client, kind in open_:
                selector.register(client, selectors.EVENT_READ, kind)
            while selector.get_map():
                assert time.monotonic() - began < 25, f"{len(selector.get_map())} connections are still open"
                answers_at_once(server)
                for key, _ in selector.select(0.1):
                    try:
                        part = key.fileobj.recv(65536)
                    except OSError:
                        part = b""
                    if not part:
                        selector.unregister(key.fileobj)
                        key.fileobj.close()
                # Headers may drip for ever; the time for all of them counts.
                for key in list(selector.get_map().values()):
                    if key.data == 0:
                        try:
                            key.fileobj.send(b"a")
                        except OSError:
                            pass
        answers_at_once(server)
        assert server.memory_bytes() - before < MEMORY_LEFT
    finally:
        server.stop()


@pytest.fixture(scope="module")
def issuer():
    """An OpenID Connect issuer with one key; what it signs is taken, and nothing else."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    numbers = key.public_key().public_numbers()
    number = lambda value: base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            issuer.reads += 1
            keys = {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1", "n": number(numbers.n), "e": number(numbers.e)}]}
            found = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
            body = json.dumps(keys if self.path.endswith("/keys") else found).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = type("Issuer", (), {"url": f"http://127.0.0.1:{listener.server_address[1]}/tenant", "key": key, "reads": 0})()
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield issuer
    listener.shutdown()


def pem(key, public=False):
    if public:
        return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def test_void_tokens_in_masses(request, issuer, tmp_path):
    settings = ["sign_in=required", f"token_issuers={issuer.url}", "administrators=aaduser=object-1;tenant-1"]
    server = Server(request.config.getoption("--server"), tmp_path / "data", *[part for setting in settings for part in ("--set", setting)])
    try:
        now = int(time.time())
        claims = {"iss": issuer.url, "aud": "https://kusto.kusto.windows.net", "oid": "object-1", "tid": "tenant-1", "sub": "s", "nbf": now - 5, "exp": now + 600}
        sign = lambda claims, kid="k1", key=None, algorithm="RS256": jwt.encode(claims, key or pem(issuer.key), algorithm=algorithm, headers={"kid": kid})
        good = sign(claims)
        head, _, signature = good.rpartition(".")
        part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
        by_public_key = f"{part({'alg': 'HS256', 'kid': 'k1', 'typ': 'JWT'})}.{part(claims)}"
        secret = base64.urlsafe_b64encode(hmac.new(pem(issuer.key, public=True), by_public_key.encode(), "sha256").digest()).rstrip(b"=").decode()
        void = {
            "without a signature": f"{part({'alg': 'none', 'kid': 'k1'})}.{part(claims)}.",
            "with its signature cut off": head + ".",
            "with another signature": f"{head}.{signature[::-1]}",
            "signed with the public key as a secret": f"{by_public_key}.{secret}",
            "with another algorithm": sign(claims, key=pem(ec.generate_private_key(ec.SECP256R1())), algorithm="ES256"),
            "with a larger hash": sign(claims, algorithm="RS512"),
            "expired": sign({**claims, "nbf": now - 900, "exp": now - 600}),
            "for another audience": sign({**claims, "aud": "https://vault.azure.net"}),
            "of another issuer": sign({**claims, "iss": issuer.url + "x"}),
            "of an unknown key": sign(claims, kid="k2"),
            "of somebody else's key": sign(claims, key=pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))),
            "that is none": "a.b.c",
        }

        def status(session, token):
            body = {"db": "NetDefaultDB", "csl": "print current_principal()"}
            answer = session.post(f"{server.url}/v1/rest/query", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=30)
            return answer.status_code

        def served_at_once():
            began = time.monotonic()
            with requests.Session() as session:
                assert status(session, good) == 200
            assert time.monotonic() - began < 2

        served_at_once()
        before = server.memory_bytes()

        def attack(_):
            with requests.Session() as session:
                for _ in range(25):
                    for what, token in void.items():
                        assert status(session, token) == 401, what

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(attack, range(8)))
        served_at_once()
        assert server.memory_bytes() - before < MEMORY_LEFT
        # Tokens of unknown keys must not make the server ask the issuer each time.
        assert issuer.reads < 20
    finally:
        server.stop()
