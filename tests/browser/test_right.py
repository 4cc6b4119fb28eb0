"""What the page shows to whom: roles, users, tokens for programs, the audit log."""

import re

import pytest
from appliance import wait_for
from person import PHONE, add_user, arrive, console, fits_a_phone, kvmctl, leave, open_page, shot, sign_in
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def people(pattern):
    return {role: add_user(pattern, user, role) for user, role in [("victor", "viewer"), ("olga", "operator"), ("adam", "admin")]}


def test_a_viewer_sees_the_screen_and_no_way_to_change_anything(browser, pattern, people):
    page = open_page(browser, pattern)
    sent = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(bytes(frame) if isinstance(frame, bytes) else frame)))
    sign_in(page, **people["viewer"])
    expect(page.get_by_text("View only")).to_be_visible()
    expect(page.locator("#light-link")).to_have_attribute("data-look", "good")
    for menu in ["#power", "#drive", "#keyboard"]:
        expect(page.locator(menu)).to_be_hidden()
    page.locator("#stage").click()
    page.keyboard.type("rm -rf /")
    page.mouse.move(300, 300)
    page.keyboard.press("Tab")
    expect(page.locator("#stage")).not_to_be_focused()
    # What was typed would have gone out before the next ping.
    pings = len(sent)
    wait_for(lambda: page.wait_for_timeout(50) or len(sent) > pings + 1, "two more pings")
    assert {frame for frame in sent} == {b"\x00"}, sent
    page.locator("#system > summary").click()
    expect(page.get_by_text("victor (Viewer)")).to_be_visible()
    for link in ["Audit log", "System settings", "Log"]:
        expect(page.get_by_role("link", name=link, exact=True)).to_be_hidden()
    shot(page, "viewer")
    page.get_by_role("link", name="Users and tokens").click()
    expect(page.locator("#may")).to_contain_text("Sees the screen and every state")
    expect(page.get_by_role("heading", name="Tokens for programs")).to_be_hidden()
    page.goto(f"{pattern.url}/audit/")
    expect(page.get_by_text("The audit log is for administrators.")).to_be_visible()
    leave(page)


def test_an_operator_works_with_the_target_and_not_with_the_device(browser, pattern, people):
    page = console(browser, pattern, **people["operator"])
    expect(page.locator("#power")).to_be_visible()
    expect(page.get_by_text("View only")).to_be_hidden()
    page.locator("#system > summary").click()
    expect(page.get_by_role("link", name="Log", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="System settings")).to_be_hidden()
    leave(page)


def test_who_loses_a_role_while_the_page_is_open_stays_and_is_told(browser, pattern, people):
    page = console(browser, pattern, **people["admin"])
    kvmctl(pattern, "role", "set", "adam", "viewer")
    page.locator("#keyboard > summary").click()
    release = page.get_by_role("button", name="Release all keys")

    def refused():
        if release.is_visible():
            release.click()
        return page.get_by_text("View only").is_visible()

    wait_for(refused, "the role to be looked at", pause=0.2)
    assert page.url == f"{pattern.url}/"
    expect(page.locator("#keyboard")).to_be_hidden()
    kvmctl(pattern, "role", "set", "adam", "admin")
    leave(page)


def test_users_are_listed_with_their_roles_and_codes(browser, pattern, people):
    kvmctl(pattern, "totp", "init", "--user", "olga")
    page = console(browser, pattern)
    page.goto(f"{pattern.url}/access/")
    row = lambda user: page.locator("#users tr").filter(has=page.get_by_role("cell", name=user, exact=True))  # noqa: E731
    expect(row("olga")).to_contain_text("Operator")
    expect(row("olga")).to_contain_text("their own")
    expect(row("admin")).to_contain_text("Administrator (as set for all)")
    expect(row("victor")).to_contain_text("not asked for")
    kvmctl(pattern, "totp", "del", "--user", "olga")
    leave(page)


def test_a_token_is_shown_once_works_and_is_revoked(browser, pattern):
    page = console(browser, pattern, permissions=["clipboard-read", "clipboard-write"])
    page.goto(f"{pattern.url}/access/")
    expect(page.get_by_text("There are none.")).to_be_visible()
    form = page.locator("#make")
    form.get_by_label("Name").fill("ci of the lab")
    form.get_by_label("Role").select_option("viewer")
    form.get_by_label("Good for").select_option("1 day")
    form.get_by_label("atx").check()
    form.get_by_role("button", name="Make it").click()
    secret = page.locator("#secret-text")
    expect(secret).to_have_value(re.compile("^kvmt_[0-9a-f]{64}$"))
    shot(page, "token-secret")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    token = page.evaluate("navigator.clipboard.readText()")
    assert token == secret.input_value()
    bearer = {"Authorization": f"Bearer {token}"}
    assert pattern.get("/api/atx", headers=bearer).status_code == 200
    assert pattern.get("/api/msd", headers=bearer).status_code == 403, "it is for atx alone"
    assert pattern.post("/api/atx/power?action=on", headers=bearer).status_code == 403, "it only looks"

    page.get_by_role("button", name="I have it").click()
    assert secret.input_value() == "", "it is shown once"
    page.reload()
    row = page.locator("#tokens tr").filter(has_text="ci of the lab")
    expect(row).to_contain_text("atx")
    expect(row).to_contain_text("by admin")
    assert token not in page.content()
    shot(page, "tokens", full_page=True)
    row.get_by_role("button", name="Revoke").click()
    page.locator("#confirm [value=ok]").click()
    expect(page.get_by_text("There are none.")).to_be_visible()
    assert pattern.get("/api/atx", headers=bearer).status_code == 403
    leave(page)


def test_a_name_that_is_taken_is_refused_in_words(browser, pattern):
    assert pattern.post("/api/tokens?name=twice&role=viewer").status_code == 200
    page = console(browser, pattern)
    page.goto(f"{pattern.url}/access/")
    page.locator("#make").get_by_label("Name").fill("twice")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator("#toast")).to_contain_text('there is a token "twice" already')
    expect(page.locator("#make").get_by_label("Name")).to_have_value("twice")
    assert pattern.request("DELETE", f"/api/tokens?id={pattern.result('/api/tokens')['tokens'][0]['id']}").status_code == 200
    leave(page)


def test_the_audit_log_shows_what_was_done_and_goes_on_by_itself(browser, pattern):
    pattern.post("/api/msd/set_params?cdrom=1")
    pattern.post("/api/msd/remove?image=nope.iso")
    page = console(browser, pattern)
    page.goto(f"{pattern.url}/audit/")
    lines = page.locator("#lines tr")
    line = lambda text: lines.filter(has_text=text)  # noqa: E731
    expect(line("POST /msd/set_params")).to_contain_text("cdrom=1")
    expect(line("POST /msd/set_params")).to_contain_text("done")
    expect(line("image=nope.iso")).to_contain_text("MsdUnknownImageError")
    pattern.post("/api/hid/set_params?jiggler=0")
    expect(lines.first).to_contain_text("POST /hid/set_params")
    shot(page, "audit", full_page=True)

    page.get_by_label("Only what was refused or failed").check()
    expect(line("POST /msd/set_params")).to_have_count(0)
    expect(line("image=nope.iso")).to_have_count(1)
    page.get_by_label("Only what was refused or failed").uncheck()
    page.get_by_label("With the words").fill("nope.iso")
    expect(lines).to_have_count(1)
    # Lines that come are sieved as well.
    pattern.post("/api/hid/set_params?jiggler=0&keyboard_output=usb")
    pattern.post("/api/msd/remove?image=also-nope.iso")
    expect(lines).to_have_count(2)
    page.get_by_label("New lines as they come").uncheck()
    page.get_by_label("With the words").fill("")
    expect(line("keyboard_output=usb")).to_have_count(1)
    leave(page)


def test_older_lines_of_the_audit_log_are_fetched_until_there_are_no_more(browser, pattern):
    wanted = 260
    for number in range(wanted):
        # Who is unlike the one before has a line of their own.
        if pattern.result("/api/audit?limit=1")["next"] > wanted:
            break
        name = f"t{number}"
        token = pattern.post(f"/api/tokens?name={name}&role=admin").json()["result"]
        for path in range(4):
            pattern.post(f"/api/msd/set_params?cdrom={path % 2}", headers={"Authorization": f"Bearer {token['secret']}"})
        pattern.request("DELETE", f"/api/tokens?id={token['token']['id']}")
    last = pattern.result("/api/audit?limit=1")["next"]
    assert last > 200, "the test makes too few"
    page = console(browser, pattern)
    page.goto(f"{pattern.url}/audit/")
    page.get_by_label("New lines as they come").uncheck()
    # And what came while it followed: counts of what was repeated are told late.
    expect(page.locator("#lines tr").nth(199)).to_be_attached()
    first = page.locator("#lines tr").count()
    assert first < last, "the rest is not fetched unasked"
    page.get_by_role("button", name="Older lines").click()
    expect(page.get_by_role("button", name="Older lines")).to_be_hidden()
    shown = page.locator("#lines tr").count()
    assert shown >= last, "every line is there"
    leave(page)


def test_users_tokens_and_the_audit_log_fit_a_phone_in_both_languages(browser, pattern):
    pattern.post("/api/tokens?name=a+token+with+quite+a+long+name&role=operator&scopes=atx,hid,msd,ws")
    for locale in ["en-US", "zh-CN"]:
        page = open_page(browser, pattern, viewport=PHONE, locale=locale)
        page.locator("[name=user]").fill("admin")
        page.locator("[name=passwd]").fill("admin")
        page.locator("form button").click()
        arrive(page)
        page.goto(f"{pattern.url}/access/")
        expect(page.locator("#tokens tr")).to_have_count(1)
        fits_a_phone(page)
        shot(page, f"phone-access-{locale}", full_page=True)
        page.goto(f"{pattern.url}/audit/")
        expect(page.locator("#lines tr").first).to_be_visible()
        fits_a_phone(page)
        shot(page, f"phone-audit-{locale}")
        leave(page)
