"""Images on their way to the drive: uploads that go on after a break, checks, images fetched from an address."""

import hashlib
import http.server
import random
import re
import threading

import pytest
from appliance import wait_for
from cable import Cable
from person import PHONE, arrive, console, fits_a_phone, leave, open_page, shot, sign_in
from playwright.sync_api import expect

SIZE = 6 << 20
SLOW = 1 << 20


def content(seed):
    return random.Random(seed).randbytes(SIZE)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "live.iso"
    path.write_bytes(content(1))
    return path


def sum_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def images(appliance):
    return appliance.result("/api/msd")["storage"]["images"]


def is_idle(appliance):
    state = appliance.result("/api/msd")
    return not state["busy"] and state


def throttle(page, speed):
    """So many bytes a second on the way up; -1 is as many as go."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": speed}
    session.send("Network.emulateNetworkConditions", conditions)


def drive(page):
    """The menu, opened."""
    menu = page.locator("#drive")
    if not menu.locator("> .panel").is_visible():
        menu.locator("> summary").click()
    return menu


def ranges(page):
    """Where the uploads of this page begin."""
    begun = []

    def saw(request):
        if "/api/msd/write?" in request.url:
            begun.append(int(re.match(r"bytes (\d+)-", request.headers.get("content-range", "bytes 0-"))[1]))

    page.on("request", saw)
    return begun


def forget_all(appliance):
    wait_for(lambda: is_idle(appliance), "the drive to be idle")
    appliance.post("/api/msd/set_params?image=")
    for name in images(appliance):
        assert appliance.post(f"/api/msd/remove?image={name}").status_code == 200
    assert images(appliance) == {}


@pytest.fixture(autouse=True)
def empty(pattern):
    forget_all(pattern)


@pytest.fixture
def cable(pattern):
    made = Cable(pattern)
    yield made
    made.close()


def test_an_upload_goes_on_by_itself_when_the_connection_is_back(browser, pattern, cable, image):
    page = console(browser, cable)
    begun = ranges(page)
    throttle(page, SLOW)
    menu = drive(page)
    menu.locator("[data-role=file]").set_input_files(image)
    progress = menu.locator("[data-role=progress]")
    expect(progress).to_have_text(re.compile(r"Uploading live.iso: [2-9]\d %, .*/s, \d+:\d\d left"), timeout=60_000)
    shot(page, "upload")
    cable.pull()
    expect(progress).to_have_text("The connection is lost. live.iso goes on as soon as it is back.")
    expect(page.locator("#banner")).to_have_text("Connection lost, trying again…")
    shot(page, "upload-lost")
    wait_for(lambda: is_idle(pattern), "the drive to notice")
    there = images(pattern)["live.iso"]["written"]
    assert there > 0
    throttle(page, -1)
    cable.plug()
    expect(menu.locator("[data-role=sum]")).to_have_value(sum_of(image), timeout=60_000)
    shot(page, "upload-sum")
    assert begun[0] == 0 and begun[-1] == there, begun
    assert images(pattern)["live.iso"]["complete"]
    expect(menu.locator("[data-role=image]")).to_have_value("live.iso")
    leave(page)


def broken_off(browser, appliance, image):
    """Somebody leaves the page in the middle of an upload; gives the page, loaded again."""
    page = console(browser, appliance)
    page.on("dialog", lambda dialog: dialog.accept())
    throttle(page, SLOW)
    menu = drive(page)
    menu.locator("[data-role=file]").set_input_files(image)
    expect(menu.locator("[data-role=progress]")).to_have_text(re.compile(r": [2-9]\d %"), timeout=60_000)
    page.reload()
    throttle(page, -1)
    arrive(page)
    wait_for(lambda: is_idle(appliance), "the drive to notice")
    return page


def test_after_the_page_was_loaded_again_the_same_file_goes_on_where_it_was(browser, pattern, image):
    page = broken_off(browser, pattern, image)
    there = images(pattern)["live.iso"]
    assert not there["complete"] and there["written"] > 0
    menu = drive(page)
    expect(menu.locator("[data-role=unfinished]")).to_contain_text("live.iso is not complete:")
    shot(page, "upload-unfinished")
    begun = ranges(page)
    menu.locator("[data-role=file]").set_input_files(image)
    expect(menu.locator("[data-role=sum]")).to_have_value(sum_of(image), timeout=60_000)
    assert begun == [there["written"]]
    expect(menu.locator("[data-role=unfinished]")).to_be_hidden()
    leave(page)


def test_who_did_not_begin_an_image_is_asked_whether_it_is_this_file(browser, pattern, image):
    leave(broken_off(browser, pattern, image))
    image.write_bytes(content(2))
    page = console(browser, pattern)
    begun = ranges(page)
    drive(page).locator("[data-role=file]").set_input_files(image)
    expect(page.locator("#confirm")).to_contain_text("of 6.0 MiB of an image live.iso are on the device already. Is it this file?")
    shot(page, "upload-question")
    page.get_by_role("button", name="Begin anew").click()
    expect(drive(page).locator("[data-role=sum]")).to_have_value(sum_of(image), timeout=60_000)
    assert begun == [0]
    leave(page)


def test_an_upload_can_be_cancelled_and_what_is_there_deleted(browser, pattern, image):
    page = console(browser, pattern)
    throttle(page, SLOW)
    menu = drive(page)
    menu.locator("[data-role=file]").set_input_files(image)
    expect(menu.locator("[data-role=progress]")).to_have_text(re.compile(r": [2-9]\d %"), timeout=60_000)
    menu.get_by_role("button", name="Cancel").click()
    expect(page.locator("#toast")).to_contain_text("cancelled")
    menu.get_by_role("button", name="Delete: live.iso").click()
    page.locator("#confirm [value=ok]").click()
    wait_for(lambda: images(pattern) == {}, "the image to be deleted")
    expect(menu.locator("[data-role=unfinished]")).to_be_hidden()
    leave(page)


def test_an_image_that_is_not_what_it_should_be_is_refused(browser, pattern, image):
    page = console(browser, pattern)
    menu = drive(page)
    menu.get_by_text("Check the image").click()
    expected = menu.get_by_label("SHA-256 that the image should have")
    expected.fill("no sum")
    menu.locator("[data-role=file]").set_input_files(image)
    assert expected.evaluate("field => !field.validity.valid") and images(pattern) == {}, "nothing is sent for what is no sum"
    expected.fill("0" * 64)
    menu.locator("[data-role=file]").set_input_files(image)
    expect(page.locator("#toast")).to_contain_text("The upload of live.iso failed")
    assert not images(pattern)["live.iso"]["complete"]
    expected.fill(sum_of(image).upper())
    menu.locator("[data-role=file]").set_input_files(image)
    expect(menu.locator("[data-role=sum]")).to_have_value(sum_of(image))
    leave(page)


def test_who_else_looks_sees_the_upload_too(browser, pattern, image):
    sender, other = console(browser, pattern), console(browser, pattern)
    throttle(sender, SLOW)
    drive(sender).locator("[data-role=file]").set_input_files(image)
    expect(drive(other).locator("[data-role=progress]")).to_have_text(re.compile(r"live.iso is being written: [1-9]\d* %, .*/s"), timeout=60_000)
    expect(drive(other).get_by_role("button", name="Cancel")).to_be_hidden()
    leave(other)
    drive(sender).get_by_role("button", name="Cancel").click()
    expect(sender.locator("#toast")).to_contain_text("cancelled")
    leave(sender)


class Source(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path.startswith("/none"):
            return self.send_error(404)
        body = content(3)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path.startswith("/short"):
            self.wfile.write(body[: SIZE // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)


@pytest.fixture(scope="module")
def source():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Source)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_image_is_fetched_from_an_address_and_one_is_told_before_what_is_there(browser, pattern, source):
    page = console(browser, pattern)
    menu = drive(page)
    address = menu.get_by_label("Or fetch it from an address")
    address.fill(f"{source}/none.iso")
    menu.get_by_role("button", name="Look").click()
    expect(menu.locator("[data-role=found]")).to_have_text("The address answers with 404.")
    menu.get_by_role("button", name="Fetch").click()
    expect(page.locator("#toast")).to_contain_text("none.iso could not be fetched: the source answers 404")
    address.fill(f"{source}/dir/rescue.iso?signed=secret")
    menu.get_by_role("button", name="Look").click()
    expect(menu.locator("[data-role=found]")).to_have_text("There is rescue.iso, 6.0 MiB.")
    shot(page, "fetch-found")
    menu.get_by_role("button", name="Fetch").click()
    expect(menu.locator("[data-role=sum]")).to_have_value(hashlib.sha256(content(3)).hexdigest(), timeout=60_000)
    assert images(pattern)["rescue.iso"]["complete"]
    leave(page)


def test_an_image_of_which_half_comes_is_told_and_not_kept(browser, pattern, source):
    page = console(browser, pattern)
    menu = drive(page)
    menu.get_by_label("Or fetch it from an address").fill(f"{source}/short.iso")
    menu.get_by_role("button", name="Fetch").click()
    expect(page.locator("#toast")).to_contain_text("short.iso could not be fetched:", timeout=60_000)
    expect(menu.locator("[data-role=cancel]")).to_be_hidden()
    wait_for(lambda: is_idle(pattern) and images(pattern) == {}, "the rest to be removed")
    leave(page)


def test_the_drive_fits_a_phone(browser, pattern, image):
    page = open_page(browser, pattern, viewport=PHONE)
    sign_in(page)
    arrive(page)
    throttle(page, SLOW)
    menu = drive(page)
    fits_a_phone(page)
    menu.locator("[data-role=file]").set_input_files(image)
    expect(menu.locator("[data-role=progress]")).to_have_text(re.compile(r": [1-9]\d %"), timeout=60_000)
    fits_a_phone(page)
    shot(page, "phone-upload")
    menu.get_by_role("button", name="Cancel").click()
    expect(menu.locator("[data-role=unfinished]")).to_be_visible()
    fits_a_phone(page)
    leave(page)
