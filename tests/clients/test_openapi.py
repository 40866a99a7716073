"""The OpenAPI document of the Query Service API, and schemathesis against the server that serves it."""
import json
import urllib.request
import uuid

import pytest

from test_queries_api import BASE, Api

schemathesis = pytest.importorskip("schemathesis")
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from schemathesis import checks  # noqa: E402

ORGANISATION = f"fuzz-{uuid.uuid4()}"
EXAMPLES = 12


def document(server):
    with urllib.request.urlopen(f"{server.url}{BASE}/openapi.json") as answer:
        return json.loads(answer.read())


def test_the_document_is_at_both_addresses_and_names_every_resource(server):
    found = document(server)
    with urllib.request.urlopen(f"{server.url}/openapi.json") as answer:
        assert json.loads(answer.read()) == found
    assert found["openapi"].startswith("3.0") and len(found["paths"]) == 16
    for path, item in found["paths"].items():
        assert path.startswith(BASE)
        for method in item.keys() - {"parameters"}:
            assert item[method]["operationId"] and "default" in item[method]["responses"]


def test_methods_that_the_document_does_not_name_are_refused(server):
    api = Api(server.url)
    for path, item in document(server)["paths"].items():
        for method in {"post", "put", "patch", "delete"} - item.keys():
            address = path.replace("{type}", "start").replace("{id}", "x").replace("{run}", "y").replace("{asset}", "z").replace("{mail}", "m")
            status, answer = api.call(method.upper(), address, {})
            # An address of three parts is also one of an asset and a type.
            if (status, "user-subscriptions" in path) != (404, True):
                assert status == 405 and answer["statusCode"] == 405, (method, path, status, answer)


def test_schemathesis_finds_nothing(server):
    """Every operation with generated requests, right and wrong ones: no 5xx, and only answers that the document describes."""
    schema = schemathesis.openapi.from_dict(document(server))
    schema.config.update(base_url=server.url)
    wanted = [checks.not_a_server_error]
    for name in ("status_code_conformance", "content_type_conformance", "response_schema_conformance", "response_headers_conformance"):
        wanted.append(schemathesis.checks.CHECKS.get_one(name))
    # What belongs to the paths exists for some of the requests.
    api = Api(server.url, **{"x-gw-ims-org-id": ORGANISATION})
    query = api.run("SELECT 1 AS x")["id"]
    template = api.call("POST", f"{BASE}/query-templates", {"name": "n", "sql": "SELECT 1"})[1]["id"]
    times = {"schedule": "0 0 1 1 *", "startDate": "2030-01-01T00:00:00Z"}
    schedule = api.call("POST", f"{BASE}/schedules", {"query": {"sql": "SELECT 1"}, "schedule": times})[1]["id"]
    known = {"queries": query, "query-templates": template, "schedules": schedule}
    faults = []
    for found in schema.get_all_operations():
        operation = found.ok()

        @seed(20261123)
        @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
                  suppress_health_check=list(HealthCheck))
        @given(case=st.one_of(operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE),
                              operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)), real=st.booleans())
        def run(case, real):
            kind = operation.path.removeprefix(BASE).split("/")[1]
            if real and kind in known and "id" in (case.path_parameters or {}):
                case.path_parameters["id"] = known[kind]
            case.headers = {**(case.headers or {}), "x-gw-ims-org-id": ORGANISATION}
            case.headers.pop("x-sandbox-name", None)
            response = case.call(base_url=server.url, timeout=120)
            try:
                case.validate_response(response, checks=wanted)
            except BaseException as fault:  # failures come in groups
                faults.append(f"{operation.label}: {str(fault)[:1500]}")

        run()
    assert not faults, "\n\n".join(faults[:5])
