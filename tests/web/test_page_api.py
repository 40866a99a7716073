"""What the server does for the page: dashboards with rights and versions, results as files, a look at data, who one is."""
import csv
import io
import json
import urllib.parse

import pytest
import requests

CONTENT = {"title": "Ways", "tiles": [{"query": "print 1", "title": "one"}], "more": {"kept": [1, 2.5, None, "ä"]}}


HOME = "/v1/page/dashboards/NetDefaultDB"


def test_dashboards_follow_the_rights_of_their_database(people):
    made = people["uma"].ask("POST", HOME, json=CONTENT)
    assert made.status_code == 201, made.text
    one = f"{HOME}/{made.json()['id']}"
    assert made.json()["content"] == CONTENT and made.headers["etag"] == f'"{made.json()["version"]}"'
    assert (made.json()["createdBy"], made.json()["mayWrite"], made.json()["mayDelete"]) == ("aaduser=uma", True, True)
    seen = {"if-match": made.headers["etag"]}
    # Viewers look.
    shown = people["vic"].ask("GET", one).json()
    assert (shown["content"], shown["mayWrite"], shown["mayDelete"]) == (CONTENT, False, False)
    listed = people["vic"].ask("GET", HOME).json()
    assert listed["mayCreate"] is False and [(item["title"], item["tiles"]) for item in listed["dashboards"] if item["id"] in one] == [("Ways", 1)]
    assert people["vic"].ask("POST", HOME, json=CONTENT).status_code == 403
    assert people["vic"].ask("PUT", one, json=CONTENT, headers=seen).status_code == 403
    assert people["vic"].ask("DELETE", one, headers=seen).status_code == 403
    # Strangers do not.
    for path in [HOME, one]:
        assert people["sam"].ask("GET", path).status_code == 403
        assert requests.get(f"{people['sam'].server.url}{path}").status_code == 401
    # Users write, but delete only what they made; admins delete everything.
    changed = people["uwe"].ask("PUT", one, json={**CONTENT, "title": "Roads"}, headers=seen)
    assert changed.status_code == 200 and changed.json()["updatedBy"] == "aaduser=uwe" and changed.json()["mayDelete"] is False
    seen = {"if-match": changed.headers["etag"]}
    assert people["uwe"].ask("DELETE", one, headers=seen).status_code == 403
    assert people["uma"].ask("PUT", one, json=CONTENT, headers={**seen, "x-ms-readonly": "true"}).status_code == 403
    assert people["admin"].ask("DELETE", one, headers=seen).status_code == 204
    assert people["uma"].ask("GET", one).status_code == 404


def test_nobody_overwrites_what_they_have_not_seen(people):
    uma, uwe = people["uma"], people["uwe"]
    made = uma.ask("POST", HOME, json=CONTENT)
    one, first = f"{HOME}/{made.json()['id']}", made.headers["etag"]
    assert uma.ask("PUT", one, json=CONTENT).status_code == 428
    second = uwe.ask("PUT", one, json={**CONTENT, "title": "Theirs"}, headers={"if-match": first}).headers["etag"]
    assert second != first
    stale = uma.ask("PUT", one, json={**CONTENT, "title": "Mine"}, headers={"if-match": first})
    assert stale.status_code == 412 and "meanwhile" in stale.json()["error"]["@message"]
    assert uma.ask("DELETE", one, headers={"if-match": first}).status_code == 412
    assert uma.ask("PUT", one, json=CONTENT, headers={"if-match": '"nonsense"'}).status_code == 412
    assert uma.ask("GET", one, headers={"if-none-match": second}).status_code == 304
    assert uma.ask("GET", one).json()["title"] == "Theirs"
    people["restart"]()
    kept = uma.ask("GET", one)
    assert (kept.json()["title"], kept.headers["etag"], kept.json()["content"]["more"]) == ("Theirs", second, CONTENT["more"])
    assert uma.ask("DELETE", one, headers={"if-match": second}).status_code == 204
    assert made.json()["id"] not in uma.ask("GET", HOME).text


def test_only_one_of_many_writers_at_once_wins(people):
    import concurrent.futures
    made = people["uma"].ask("POST", HOME, json=CONTENT)
    one, tag = f"{HOME}/{made.json()['id']}", made.headers["etag"]
    write = lambda number: requests.put(f"{people['uma'].server.url}{one}", json={**CONTENT, "title": f"T{number}"},
                                        headers={"if-match": tag, "authorization": people["uma"].headers["authorization"]}).status_code
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(write, range(8))) == [200] + [412] * 7
    people["uma"].ask("DELETE", one, headers={"if-match": people["uma"].ask("GET", one).headers["etag"]})


@pytest.mark.parametrize("body, told", [
    (b"{", "not valid JSON"), (b"[]", "title"), (b'{"title": "x"}', "tiles"), (b'{"title": "x", "tiles": [{}]}', "tile 1"),
    (b'{"title": "", "tiles": []}', "title"), (b'{"title": "x", "tiles": [], "z": "' + b"z" * 300_000 + b'"}', "bytes"), (b"[" * 5000, "JSON")])
def test_what_is_no_dashboard_is_refused(people, body, told):
    answer = people["uma"].ask("POST", HOME, data=body)
    assert answer.status_code == 400 and told in answer.json()["error"]["@message"]


def test_a_dashboard_of_a_database_that_is_not_there(people):
    assert people["admin"].ask("GET", "/v1/page/dashboards/Nowhere").status_code == 400
    assert people["admin"].ask("GET", f"{HOME}/00000000-0000-0000-0000-000000000000").status_code == 404


def test_people_are_told_what_they_may_do(people):
    told = people["vic"].ask("GET", "/v1/page/me").json()
    assert (told["principal"], told["isEnforced"], told["isAdministrator"]) == ("aaduser=vic", True, False)
    assert told["databases"] == [{"database": "NetDefaultDB", "query": True, "create": False, "ingest": False, "monitor": False, "administer": False}]
    assert people["sam"].ask("GET", "/v1/page/me").json()["databases"] == []
    assert people["admin"].ask("GET", "/v1/page/me").json()["databases"][0]["administer"] is True


def download(client, text, format, table=1, **properties):
    return client.ask("POST", f"/v1/page/download?format={format}&table={table}",
                      json={"db": "NetDefaultDB", "csl": text, "properties": {"Options": properties}})


ROWS = 'range n from 1 to 20000 step 1 | extend s = strcat("a,\\"", n), t = datetime(2024-01-01) + n * 1tick, d = dynamic({"x": [1]}), g = guid(74be27de-1e4e-49d9-b579-fe0b331d3642), m = decimal(1.5), r = real(null)'


def test_results_come_as_files_of_every_format(people, tmp_path):
    vic = people["vic"]
    text = download(vic, ROWS, "csv")
    assert text.headers["content-type"].startswith("text/csv") and "attachment" in text.headers["content-disposition"]
    rows = list(csv.reader(io.StringIO(text.content.decode())))
    assert len(rows) == 20_001 and rows[0] == ["n", "s", "t", "d", "g", "m", "r"]
    assert rows[1] == ["1", 'a,"1', "2024-01-01T00:00:00.0000001Z", '{"x":[1]}', "74be27de-1e4e-49d9-b579-fe0b331d3642", "1.5", ""]
    found = download(vic, ROWS, "json").json()
    assert len(found) == 20_000 and found[-1]["n"] == 20_000 and found[0]["d"] == {"x": [1]} and found[0]["r"] is None
    lines = download(vic, ROWS, "jsonl").text.splitlines()
    assert len(lines) == 20_000 and json.loads(lines[0]) == found[0]
    assert download(vic, "print a = 1, b = 'x y'", "tsv").text == "a\tb\r\n1\tx y\r\n"
    parquet = download(vic, ROWS, "parquet")
    assert parquet.content[:4] == b"PAR1" == parquet.content[-4:] and "content-encoding" not in parquet.headers
    # Read back by the server itself; other engines' timestamps have microseconds.
    people["admin"].command(".create table Back (n: long, s: string, t: datetime, d: dynamic, g: guid, m: decimal, r: real)")
    sent = people["admin"].ask("POST", "/v1/rest/ingest/NetDefaultDB/Back?streamFormat=parquet", data=parquet.content)
    assert sent.status_code == 200 and sent.headers["x-tidewater-rejected-values"] == "0", sent.text
    again = download(vic, "Back | order by n asc | take 10", "json").json()
    assert [(row["n"], row["s"], row["d"], row["g"], row["m"], row["r"]) for row in again] == [(row["n"], row["s"], row["d"], row["g"], row["m"], row["r"]) for row in found[:10]]
    assert again[9]["t"] == "2024-01-01T00:00:00.0000010Z"


def test_a_result_is_chosen_by_its_number_and_may_be_empty(people):
    vic = people["vic"]
    assert download(vic, "print a = 1; print b = 2 | where b > 5", "csv", table=2).text == "b\r\n"
    assert download(vic, "print a = 1 | where a > 5", "json").json() == []
    assert download(vic, "print a = 1", "csv", table=2).status_code == 400
    for wrong in ["/v1/page/download?format=xls", "/v1/page/download?table=0"]:
        assert vic.ask("POST", wrong, json={"db": "NetDefaultDB", "csl": "print 1"}).status_code == 400


def test_files_have_the_rights_and_limits_of_queries(people):
    assert download(people["sam"], "print 1", "csv").status_code == 403
    assert requests.post(f"{people['vic'].server.url}/v1/page/download", json={"csl": "print 1"}).status_code == 401
    assert "command" in download(people["admin"], ".show tables", "csv").json()["error"]["@message"]
    wrong = download(people["vic"], "print nosuch", "csv")
    assert wrong.status_code == 400 and "SEM0100" in wrong.text
    limited = download(people["vic"], "range n from 1 to 100 step 1", "csv", truncationmaxrecords=10)
    assert limited.status_code == 400 and "E_QUERY_RESULT_SET_TOO_LARGE" in limited.text
    # What goes wrong after the first bytes leaves no file that looks whole.
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        assert len(download(people["vic"], "range n from 1 to 1000000 step 1", "csv", truncationmaxrecords=300_000).content) > 0


def test_data_is_looked_at_before_it_is_loaded(people):
    look = lambda who, arguments, body, **headers: people[who].ask("POST", f"/v1/page/preview/NetDefaultDB?{arguments}", data=body, headers=headers)
    found = look("uma", "format=csv", "when,n\n2024-01-02,1\n,x\n".encode()).json()
    assert found["columns"] == [{"name": "when", "type": "datetime"}, {"name": "n", "type": "string"}]
    assert found["hasHeader"] is True and found["rows"] == [["2024-01-02T00:00:00.0000000Z", "1"], [None, "x"]]
    assert look("uma", "format=csv&header=false", b"a,b\nc,d\n").json()["columns"][0] == {"name": "Column1", "type": "string"}
    assert look("uma", "format=json", b'{"a": 1}\n{"a": 2, "b": [1]}\n').json()["columns"][1] == {"name": "b", "type": "dynamic"}
    assert look("vic", "format=csv", b"a\n1\n").status_code == 403
    assert look("uma", "format=csv", b"").status_code == 400
    assert look("uma", "format=nonsense", b"a").status_code == 400
    assert look("uma", "format=csv&header=perhaps", b"a").status_code == 400


def test_values_that_do_not_fit_are_named(people):
    people["admin"].command(".create table Fits (n: long, s: string)")
    sent = people["admin"].ask("POST", "/v1/rest/ingest/NetDefaultDB/Fits?streamFormat=csv", data="1,a\nzwölf,b\n3,c\nx,d\n".encode())
    assert sent.status_code == 200 and sent.headers["x-tidewater-rejected-values"] == "2"
    samples = json.loads(urllib.parse.unquote(sent.headers["x-tidewater-rejected-samples"]))
    assert len(samples) == 2 and "record 2" in samples[0] and "zwölf" in samples[0] and "'n'" in samples[0]


def test_a_sign_in_is_renewed_once_by_each_token(people):
    import base64
    import hashlib
    url = people["uma"].server.url
    secret = people["uma"].headers["authorization"].removeprefix("Bearer ")
    verifier, home = "v" * 50, f"{url}/ui/"
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    asked = {"client_id": "tidewater-page", "response_type": "code", "redirect_uri": home, "state": "s", "code_challenge": challenge, "code_challenge_method": "S256"}
    answer = requests.post(f"{url}/auth/authorize", data={**asked, "account": "uma", "secret": secret}, allow_redirects=False)
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(answer.headers["location"]).query)["code"][0]
    token = lambda **fields: requests.post(f"{url}/auth/token", data={"client_id": "tidewater-page", **fields})
    first = token(grant_type="authorization_code", code=code, redirect_uri=home, code_verifier=verifier).json()
    second = token(grant_type="refresh_token", refresh_token=first["refresh_token"]).json()
    assert second["access_token"] and second["refresh_token"] != first["refresh_token"]
    who = requests.get(f"{url}/v1/page/me", headers={"authorization": f"Bearer {second['access_token']}"}).json()
    assert who["principal"] == "aaduser=uma"
    assert token(grant_type="refresh_token", refresh_token=first["refresh_token"]).json()["error"] == "invalid_grant"
    assert token(grant_type="refresh_token", refresh_token="nonsense").json()["error"] == "invalid_grant"
    assert token(grant_type="refresh_token", refresh_token=second["refresh_token"], client_id="another").json()["error"] == "invalid_grant"
    # Applications that sign in with their secret renew nothing.
    assert "refresh_token" not in token(grant_type="client_credentials", client_id="uma", client_secret=secret).json()
