"""Clients that cannot run here: their requests replayed, the answers read as strictly as their decoders read them."""
import http.client
import json
import pathlib
import urllib.parse
import zlib

import pytest

from readers import READERS, Refused, check_error

TRANSCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "golden" / "transcripts"
CASES = [(path.stem, case) for path in sorted(TRANSCRIPTS.glob("*.json")) for case in json.loads(path.read_text())]


def send(url, case):
    """Sends exactly the headers of the transcript and gives status, headers and the unpacked body."""
    address = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    body = json.dumps(case["body"], ensure_ascii=False).encode() if "body" in case else b""
    connection.putrequest(case["method"], case["path"], skip_accept_encoding=True)
    for name, value in case["headers"].items():
        connection.putheader(name, value)
    if body:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    response = connection.getresponse()
    content = response.read()
    coding = response.getheader("Content-Encoding")
    if coding:
        assert coding in case["headers"].get("Accept-Encoding", ""), "nobody asked for this coding"
        content = zlib.decompress(content, wbits=47)
    connection.close()
    return response, content


@pytest.mark.parametrize("client, case", CASES, ids=[f"{client}: {case['title']}" for client, case in CASES])
def test_a_clients_request_is_answered_as_it_demands(server, client, case):
    response, content = send(server.url, case)
    assert response.status == case["status"], content[:2000]
    wanted = next((value for name, value in case["headers"].items() if name.lower() == "x-ms-client-request-id"), None)
    if wanted:
        assert response.getheader("x-ms-client-request-id") == wanted
        assert response.getheader("x-ms-activity-id")
    if "text" in case:
        assert case["text"] in content.decode() and content[:1] not in b"[{"
        return
    if "error" in case:
        assert response.getheader("Content-Type").lower().startswith("application/json")
        assert case["error"] in check_error(json.loads(content))
        return
    reader = READERS[case["reader"]]
    if "refused" in case:
        with pytest.raises(Refused) as refused:
            reader(content)
        assert case["refused"] in str(refused.value)
        return
    rows = reader(content)
    if "rows" in case:
        assert [json.loads(json.dumps(table, default=float)) for table in rows] == case["rows"]
    if "counts" in case:
        assert [len(table) for table in rows] == case["counts"]
