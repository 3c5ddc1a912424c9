"""What clients and networks do to a server: nothing hangs, nothing is lost, nothing leaks."""
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from conftest import FIXTURES, PATIENCE, RERANK, Connection, Server, request_bytes

MODEL = ("--model", FIXTURES / "xlmr-ce")


@pytest.fixture(scope="module")
def strict():
    """Little patience and small limits."""
    with Server(*MODEL, "--header-ms", 300, "--body-ms", 300, "--idle-ms", 600, "--max-body", "64KiB",
                "--max-bodies", "128KiB", "--max-header", "4KiB", "--max-connections", 64) as server:
        yield server


def alive(server):
    assert server.post("/rerank", RERANK).status == 200


def test_a_header_that_never_ends_is_cut(strict):
    with strict.connect() as c:
        c.send("POST /rerank HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        answer = c.read()
        assert answer is None or answer.status == 408
        c.closed()
    alive(strict)


def test_two_hundred_slow_headers_do_not_keep_others_waiting():
    with Server(*MODEL) as server:
        slow = [server.connect() for _ in range(200)]
        for c in slow:
            c.send("GET /health HTTP/1.1\r\nHost: x\r\n")
        started = time.monotonic()
        alive(server)
        assert time.monotonic() - started < 10
        for c in slow:
            c.socket.close()
        alive(server)


def test_a_body_that_never_ends_is_cut(strict):
    with strict.connect() as c:
        c.send("POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        assert c.read().status == 408
        c.closed()
    alive(strict)


def test_an_endless_header_is_refused(strict):
    with strict.connect() as c:
        try:
            c.send("GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + "a" * 200_000)
        except OSError:
            pass
        answer = c.read()
        assert answer is None or answer.status == 431
    alive(strict)


def test_a_body_over_the_limit_is_refused_before_it_is_sent(strict):
    with strict.connect() as c:
        c.send("POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n")
        assert c.read().status == 413
    alive(strict)


def test_an_endless_chunked_body_is_refused_and_takes_no_memory():
    with Server(*MODEL, "--max-body", "1MiB") as server:
        alive(server)
        before = server.memory()
        with server.connect() as c:
            c.send("POST /rerank HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
            try:
                for _ in range(1600):  # 100 MiB
                    c.send(chunk)
            except OSError:
                pass
            answer = c.read()
            assert answer is None or answer.status == 413
        assert server.memory() - before < 16 << 20
        alive(server)


def test_a_chunked_body_is_taken(reranker):
    body = json.dumps(RERANK).encode()
    with reranker.connect() as c:
        c.send("POST /rerank HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 7):
            piece = body[at:at + 7]
            c.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        c.send("0\r\n\r\n")
        assert c.read().status == 200


def test_bodies_in_flight_are_bounded(strict):
    held = []
    try:
        for _ in range(3):
            c = strict.connect()
            c.send("POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + "a" * 59_999)
            held.append(c)
        statuses = [c.read().status for c in held]
        assert 503 in statuses
    finally:
        for c in held:
            c.socket.close()
    alive(strict)


def test_an_idle_connection_is_closed(strict):
    with strict.connect() as c:
        c.send(request_bytes("GET", "/health"))
        assert c.read().status == 200
        assert c.closed()


def test_a_half_closed_connection_is_ended(reranker):
    with reranker.connect() as c:
        c.send("POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        c.socket.shutdown(socket.SHUT_WR)
        c.closed()
    alive(reranker)


def test_two_thousand_connects_leave_nothing_behind(reranker):
    alive(reranker)
    before = reranker.memory()
    for _ in range(2000):
        socket.create_connection(reranker.address).close()
    alive(reranker)
    deadline = time.monotonic() + 30
    while "tamis_connections 1\n" not in reranker.get("/metrics").text:
        assert time.monotonic() < deadline, reranker.get("/metrics").text
        time.sleep(0.05)
    assert reranker.memory() - before < 32 << 20


def test_connections_over_the_limit_are_told(strict):
    time.sleep(0.7)  # those of other tests are closed by then
    held = [strict.connect() for _ in range(64)]
    try:
        for c in held:
            c.send(request_bytes("GET", "/health"))
            assert c.read().status == 200
        with strict.connect() as c:
            answer = c.read()
            assert answer is None or answer.status == 503
    finally:
        for c in held:
            c.socket.close()
    time.sleep(0.2)
    alive(strict)


@pytest.mark.parametrize("raw", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost a\r\n\r\n", b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
    b"POST /rerank HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST /rerank HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /rerank HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST /rerank HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /rerank HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST /rerank HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
], ids=lambda raw: raw[:60].decode("latin-1").split("\r")[0] + f"+{len(raw)}")
def test_what_is_no_http_is_refused(reranker, raw):
    with reranker.connect() as c:
        c.send(raw)
        c.socket.shutdown(socket.SHUT_WR)
        answer = c.read()
        if answer is not None:
            assert answer.status in (400, 413, 408, 431, 501)
            assert answer.headers["connection"] == "close"
        c.closed()
    alive(reranker)


def test_pipelined_requests_are_answered_in_order(reranker):
    with reranker.connect() as c:
        bodies = [{**RERANK, "top_n": n} for n in (1, 2, 3)]
        c.send(b"".join(request_bytes("POST", "/rerank", body) for body in bodies))
        assert [len(c.read().json["results"]) for _ in bodies] == [1, 2, 3]


def test_head_has_the_header_of_get_and_no_body(reranker):
    got = reranker.request("HEAD", "/openapi.json")
    assert got.status == 200
    assert int(got.headers["content-length"]) == len(reranker.get("/openapi.json").body)


def test_a_client_that_waits_for_continue_is_told_to_go_on(reranker):
    body = json.dumps(RERANK)
    with reranker.connect() as c:
        c.send(f"POST /rerank HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}"
               "\r\n\r\n")
        assert c.read().status == 100
        c.send(body)
        assert c.read().status == 200


def long_request(passages=4000):
    return {"query": "what is a tamis", "documents": ["a drum sieve of fine horsehair " * 8] * passages}


def test_the_work_of_a_client_that_left_is_dropped():
    with Server(*MODEL, "--threads", 1) as server:
        c = server.connect()
        c.send(request_bytes("POST", "/rerank", long_request(20000)))
        while "tamis_requests_running 2" not in server.get("/metrics").text:
            time.sleep(0.01)
        c.socket.close()
        deadline = time.monotonic() + 30
        while "tamis_clients_gone 1" not in server.get("/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        server.wait_for(r"path=/rerank status=499")
        alive(server)


def test_sigterm_under_load_answers_what_was_begun():
    with Server(*MODEL) as server:
        results, errors = [], []

        def work():
            try:
                while True:
                    with server.connect() as c:
                        c.send(request_bytes("POST", "/rerank", long_request(200)))
                        answer = c.read()
                        if answer is None or answer.status == 503:
                            return  # it had not been begun
                        results.append(answer)
            except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
                return
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for t in threads:
            t.start()
        while len(results) < 8:
            time.sleep(0.01)
        assert server.stop() == 0
        for t in threads:
            t.join()
        assert not errors
        assert all(r.status == 200 and len(r.json["results"]) == 200 for r in results)
        served = server.log.count("path=/rerank status=200")
        assert served == len(results), "an answer was lost on the way"


def test_a_request_in_flight_at_sigterm_is_answered():
    with Server(*MODEL, "--threads", 1) as server:
        with server.connect() as c:
            c.send(request_bytes("POST", "/rerank", long_request(6000)))
            while "tamis_requests_running 2" not in server.get("/metrics").text:
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("stopping")
            answer = c.read()
            assert answer.status == 200 and len(answer.json["results"]) == 6000
            assert answer.headers["connection"] == "close"
        assert server.process.wait(30) == 0


def test_a_second_sigterm_cuts_what_is_left():
    with Server(*MODEL, "--threads", 1) as server:
        with server.connect() as c:
            c.send(request_bytes("POST", "/rerank", long_request(30000)))
            while "tamis_requests_running 2" not in server.get("/metrics").text:
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("stopping")
            assert server.stop() == 75


def test_a_request_that_never_ends_does_not_keep_the_process():
    """Its one batch takes minutes on this device, and is not ended in its middle."""
    with Server(*MODEL, "--device", "sim:0", "--sim", "memory=1GiB,gflops=0.00001", "--warmup-ms", 0,
                "--drain-ms", 100) as server:
        with server.connect() as c:
            c.send(request_bytes("POST", "/rerank", RERANK))
            while "tamis_requests_running 2" not in server.get("/metrics").text:
                time.sleep(0.01)
            started = time.monotonic()
            assert server.stop() == 75
            assert 10 <= time.monotonic() - started < 30
            assert "the process ends without it" in server.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_models_load_ends_the_process(number, tmp_path):
    """The warm-up of this device would take minutes."""
    path = tmp_path / "tamis.sock"
    server = Server(*MODEL, "--unix-socket", path, "--device", "sim:0", "--sim",
                    "memory=1GiB,gflops=0.00001", "--warmup-ms", 600_000, wait=False)
    server.wait_for("loaded")
    assert Connection(path).socket.getpeername()  # it listens, and says that it is not ready
    started = time.monotonic()
    assert server.stop(number) == 0
    assert time.monotonic() - started < 20
    assert "while models are loading" in server.log
    assert not path.exists()


def test_without_a_free_descriptor_it_waits_for_one():
    with Server(*MODEL) as server:
        alive(server)
        used = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + 10, used + 10))
        held = [server.connect() for _ in range(40)]
        before = server.cpu_seconds()
        time.sleep(1)
        assert server.cpu_seconds() - before < 0.5  # it does not spin
        held[0].send(request_bytes("POST", "/rerank", RERANK))
        assert held[0].read().status == 200  # others are served meanwhile
        for c in held:
            c.socket.close()
        alive(server)


def test_after_sigkill_it_starts_again_on_the_same_socket(tmp_path):
    path = tmp_path / "tamis.sock"
    first = Server(*MODEL, "--unix-socket", path)
    first.process.kill()
    first.process.wait()
    with Server(*MODEL, "--unix-socket", path) as server:
        assert server.post("/rerank", RERANK).status == 200
        assert (path.stat().st_mode & 0o777) == 0o660
    assert not path.exists()


def test_an_address_that_is_taken_is_named(reranker):
    port = reranker.address[1]
    done = subprocess.run([reranker.process.args[0], "serve", *map(str, MODEL), "--port", str(port)],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 75
    assert str(port) in done.stderr and "in use" in done.stderr


def test_a_full_disk_for_the_log_is_no_reason_to_fail():
    with Server(*MODEL, "--log-file", "/dev/full") as server:
        for _ in range(20):
            alive(server)


def certificate(folder, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                    f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", folder / "key.pem",
                    "-out", folder / "cert.pem"], check=True, capture_output=True)


def test_a_key_with_a_password_is_refused_without_asking_for_it(tmp_path):
    certificate(tmp_path, "x.example")
    subprocess.run(["openssl", "rsa", "-aes256", "-passout", "pass:secret", "-in", tmp_path / "key.pem",
                    "-out", tmp_path / "locked.pem"], check=True, capture_output=True)
    server = Server(*MODEL, "--tls-certificate", tmp_path / "cert.pem", "--tls-key",
                    tmp_path / "locked.pem", wait=False)
    assert server.process.wait(PATIENCE) == 64
    server.reader.join()
    assert "locked.pem is encrypted" in server.log


def test_tls_speaks_http_1_1_or_says_so(tmp_path):
    certificate(tmp_path, "x.example")
    with Server(*MODEL, "--tls-certificate", tmp_path / "cert.pem", "--tls-key",
                tmp_path / "key.pem") as server:
        def agreed(protocols):
            context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
            if protocols:
                context.set_alpn_protocols(protocols)
            with socket.create_connection(server.address) as raw, \
                    context.wrap_socket(raw, server_hostname="x.example") as secure:
                return secure.selected_alpn_protocol()

        assert agreed(["h2", "http/1.1"]) == "http/1.1"
        assert agreed([]) is None
        with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
            agreed(["h2"])


def test_a_handshake_that_never_ends_does_not_keep_the_server(tmp_path):
    certificate(tmp_path, "x.example")
    with Server(*MODEL, "--header-ms", 60_000, "--tls-certificate", tmp_path / "cert.pem", "--tls-key",
                tmp_path / "key.pem") as server:
        with server.connect() as c:
            c.send(b"\x16\x03\x01")
            time.sleep(0.1)
            started = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - started < 20


def test_tls_and_a_new_certificate_without_a_restart(tmp_path):
    certificate(tmp_path, "first.example")
    with Server(*MODEL, "--tls-certificate", tmp_path / "cert.pem", "--tls-key",
                tmp_path / "key.pem") as server:
        def name_of_server():
            context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
            for name in ("first.example", "second.example"):
                try:
                    with socket.create_connection(server.address) as raw, \
                            context.wrap_socket(raw, server_hostname=name) as secure:
                        secure.sendall(request_bytes("POST", "/rerank", RERANK))
                        assert b" 200 " in secure.recv(100)
                        return name
                except ssl.SSLCertVerificationError:
                    continue
            return None

        assert name_of_server() == "first.example"
        with Connection(server.address) as c:  # no TLS at all
            c.send(request_bytes("GET", "/health"))
            c.closed()
        certificate(tmp_path, "second.example")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded")
        assert name_of_server() == "second.example"
        (tmp_path / "cert.pem").rename(tmp_path / "gone.pem")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("no such file")
        (tmp_path / "gone.pem").rename(tmp_path / "cert.pem")
        assert name_of_server() == "second.example", "the old certificate stays"
