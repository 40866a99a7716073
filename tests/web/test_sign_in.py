"""Signing in: at the built-in issuer with the code flow and PKCE, or with an account's key; who one is; signing out."""
import base64
import hashlib
import subprocess
import urllib.parse

import pytest
import requests
from playwright.sync_api import expect

from conftest import Server, page_dir


@pytest.fixture(scope="module")
def secured(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("secured")
    binary = request.config.getoption("--server")
    accounts = directory / "accounts.toml"
    made = subprocess.run([binary, "account", "add", "ann", "--kind", "user", "--role", "admin", "--file", str(accounts)], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    settings = ["sign_in=required", f"accounts_file={accounts}", "local_issuer=true"]
    server = Server(binary, directory / "data", *[part for setting in settings for part in ("--set", setting)], *page_dir(request))
    server.secret = made.stdout.strip()
    yield server
    server.stop()


def test_people_sign_in_with_their_account_and_out_again(visit, secured):
    tidewater = visit(secured.url)
    page = tidewater.page
    # A link's query is not run for somebody unknown, and waits until they are known.
    page.goto(f"{secured.url}/NetDefaultDB?query=print%20current_principal()&autorun=false")
    box = page.get_by_role("dialog", name="Sign in")
    box.get_by_role("button", name="Sign in at this server").click()
    expect(page).to_have_title("Sign in - Tidewater")
    page.get_by_label("Account").fill("ann")
    page.get_by_label("Secret").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("The account or the secret is wrong.")
    page.get_by_label("Account").fill("ann")
    page.get_by_label("Secret").fill(secured.secret)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{secured.url}/ui/databases/NetDefaultDB")
    expect(page.locator(".view-lines")).to_contain_text("current_principal")
    page.locator(".view-lines").click()
    page.keyboard.press("Shift+Enter")
    tidewater.ended()
    assert tidewater.rows() == [["aaduser=ann"]]
    page.get_by_role("button", name="Account").click()
    account = page.get_by_role("dialog", name="Who am I")
    expect(account).to_contain_text("aaduser=ann")
    account.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_key_signs_in_and_a_wrong_one_does_not(visit, secured):
    tidewater = visit(secured.url)
    page = tidewater.page
    page.goto(f"{secured.url}/")
    box = page.get_by_role("dialog", name="Sign in")
    box.get_by_label("Key of an account").fill("nonsense")
    box.get_by_role("button", name="Use this key").click()
    expect(box.get_by_role("alert")).to_contain_text("Sign in first")
    box.get_by_label("Key of an account").fill(secured.secret)
    box.get_by_role("button", name="Use this key").click()
    expect(box).to_have_count(0)
    tidewater.run("print current_principal()")
    assert tidewater.rows() == [["aaduser=ann"]]


def test_who_may_do_nothing_yet_signs_in_and_is_told(visit, people):
    tidewater = visit(people["sam"].server.url)
    page = tidewater.page
    page.goto(f"{tidewater.url}/")
    box = page.get_by_role("dialog", name="Sign in")
    box.get_by_label("Key of an account").fill(people["sam"].headers["authorization"].removeprefix("Bearer "))
    box.get_by_role("button", name="Use this key").click()
    expect(box).to_have_count(0)
    page.get_by_role("button", name="Account").click()
    account = page.get_by_role("dialog", name="Who am I")
    expect(account).to_contain_text("aaduser=sam")
    expect(account).to_contain_text("No database is open to you.")


def test_a_sign_in_renews_itself_before_it_ends(visit, secured):
    tidewater = visit(secured.url)
    page = tidewater.page
    page.goto(f"{secured.url}/NetDefaultDB")
    page.get_by_role("dialog", name="Sign in").get_by_role("button", name="Sign in at this server").click()
    page.get_by_label("Account").fill("ann")
    page.get_by_label("Secret").fill(secured.secret)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".editor[data-knows]")).to_be_visible()
    kept = lambda: page.evaluate("() => JSON.parse(sessionStorage.getItem('tidewater.session'))")
    first = kept()
    # A token that is about to end is renewed by the next request.
    page.evaluate("() => sessionStorage.setItem('tidewater.session', JSON.stringify({...JSON.parse(sessionStorage.getItem('tidewater.session')), endsAt: Date.now() + 1000}))")
    tidewater.run("print current_principal()")
    assert tidewater.rows() == [["aaduser=ann"]]
    second = kept()
    assert second["refresh"] != first["refresh"] and second["endsAt"] > first["endsAt"] - 60_000
    # So is one that the server does not take, whatever its time.
    page.evaluate("() => sessionStorage.setItem('tidewater.session', JSON.stringify({...JSON.parse(sessionStorage.getItem('tidewater.session')), token: 'void'}))")
    tidewater.run("print again = current_principal()")
    assert tidewater.rows() == [["aaduser=ann"]]
    page.get_by_role("button", name="Account").click()
    account = page.get_by_role("dialog", name="Who am I")
    expect(account).to_contain_text("renews itself")
    expect(account.get_by_role("row", name="NetDefaultDB")).to_contain_text("✓✓✓✓✓")
    expect(account).to_contain_text("administers the server")
    # Without anything to renew with one is asked again.
    page.evaluate("() => sessionStorage.setItem('tidewater.session', JSON.stringify({token: 'void', endsAt: null, refresh: 'void'}))")
    page.reload()
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()


def test_a_code_is_good_once_for_its_verifier_and_leads_home(secured):
    verifier = "v" * 50
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    home = f"{secured.url}/ui/"
    asked = {"client_id": "tidewater-page", "response_type": "code", "redirect_uri": home, "state": "a&b", "code_challenge": challenge,
             "code_challenge_method": "S256"}
    form = requests.get(f"{secured.url}/auth/authorize", params={**asked, "state": '"><script>'})
    assert form.status_code == 200 and "<script>" not in form.text and "form-action 'self'" in form.headers["content-security-policy"]
    assert requests.get(f"{secured.url}/auth/authorize", params={**asked, "redirect_uri": "https://evil.example/ui/"}).status_code == 400

    def code():
        answer = requests.post(f"{secured.url}/auth/authorize", data={**asked, "account": "ann", "secret": secured.secret}, allow_redirects=False)
        place = urllib.parse.urlsplit(answer.headers["location"])
        found = urllib.parse.parse_qs(place.query)
        assert answer.status_code == 303 and answer.headers["location"].startswith(home) and found["state"] == ["a&b"]
        return found["code"][0]

    def exchange(code, verifier):
        return requests.post(f"{secured.url}/auth/token", data={"grant_type": "authorization_code", "client_id": "tidewater-page",
                             "code": code, "redirect_uri": home, "code_verifier": verifier})

    first = code()
    assert exchange(first, verifier).json()["token_type"] == "Bearer"
    assert exchange(first, verifier).json()["error"] == "invalid_grant"
    stolen = code()
    assert exchange(stolen, "w" * 50).json()["error"] == "invalid_grant"
    assert exchange(stolen, verifier).json()["error"] == "invalid_grant"
