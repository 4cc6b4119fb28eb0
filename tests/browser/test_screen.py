"""What is on the target's screen: its text, its picture as a file; and the way out of it for whoever has no pointer."""

import io
import re

from PIL import Image
from person import PHONE, console, fits_a_phone, leave, see, shot
from playwright.sync_api import expect

CLIPBOARD = ["clipboard-read", "clipboard-write"]


def with_picture(browser, appliance, **options):
    page = console(browser, appliance, **options)
    see(page)
    return page


def open_reader(page):
    page.locator("#screen > summary").click()
    page.get_by_role("button", name="Read text…").click()


def test_text_of_an_area_is_read_and_copied(browser, pattern):
    page = with_picture(browser, pattern, permissions=CLIPBOARD)
    open_reader(page)
    page.get_by_role("button", name="Choose an area").click()
    picture = page.locator("#picture").bounding_box()
    # Where the pattern says what it is.
    corner = lambda x, y: (picture["x"] + picture["width"] * x, picture["y"] + picture["height"] * y)  # noqa: E731
    page.mouse.move(*corner(0.235, 0.32))
    page.mouse.down()
    page.mouse.move(*corner(0.5, 0.5))
    page.mouse.move(*corner(0.765, 0.42))
    shot(page, "ocr-area")
    with page.expect_request(re.compile("snapshot")) as asked:
        page.mouse.up()
    edges = {name: int(value) for name, value in re.findall(r"ocr_(left|right|top|bottom)=(\d+)", asked.value.url)}
    for edge, wanted in {"left": 0.235 * 1280, "right": 0.765 * 1280, "top": 0.32 * 720, "bottom": 0.42 * 720}.items():
        assert abs(edges[edge] - wanted) <= 3, edges
    text = page.locator("#ocr [data-role=text]")
    expect(text).to_have_value(re.compile("TEST PATTER"), timeout=60_000)
    expect(page.get_by_text("Copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == text.input_value()
    shot(page, "ocr-result")
    leave(page)


def test_an_area_can_be_chosen_without_a_pointer(browser, pattern):
    page = with_picture(browser, pattern)
    open_reader(page)
    page.get_by_role("button", name="Choose an area").press("Enter")
    expect(page.locator("#area")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    with page.expect_request(re.compile("snapshot")) as asked:
        page.keyboard.press("Enter")
    edges = {name: int(value) for name, value in re.findall(r"ocr_(left|right|top|bottom)=(\d+)", asked.value.url)}
    assert abs(edges["left"] - 1280 * 0.19) <= 1 and abs(edges["right"] - 1280 * 0.69) <= 1
    assert abs(edges["top"] - 720 * 0.25) <= 1 and abs(edges["bottom"] - 720 * 0.77) <= 1
    page.keyboard.press("Escape")
    expect(page.locator("#ocr")).to_be_hidden()
    open_reader(page)
    page.get_by_role("button", name="Choose an area").click()
    page.keyboard.press("Escape")
    expect(page.locator("#area")).to_be_hidden()
    leave(page)


def test_the_picture_is_saved_under_a_name_that_tells_when(browser, pattern):
    page = with_picture(browser, pattern)
    page.locator("#screen > summary").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the picture").click()
    assert re.fullmatch(r"[\w.-]+-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.jpg", saved.value.suggested_filename)
    picture = Image.open(io.BytesIO(saved.value.path().read_bytes()))
    assert (picture.format, picture.size) == ("JPEG", (1280, 720))
    leave(page)


def test_left_ctrl_alt_and_shift_lead_from_the_screen_to_the_menus(browser, pattern):
    page = with_picture(browser, pattern)
    page.locator("#stage").focus()
    page.keyboard.press("Tab")
    expect(page.locator("#stage")).to_be_focused()
    for key in ["ControlLeft", "AltLeft", "ShiftLeft"]:
        page.keyboard.down(key)
    for key in ["ControlLeft", "AltLeft", "ShiftLeft"]:
        page.keyboard.up(key)
    expect(page.locator("#power > summary")).to_be_focused()
    # With another key it is the target's.
    page.locator("#stage").focus()
    for key in ["ControlLeft", "AltLeft", "ShiftLeft"]:
        page.keyboard.down(key)
    page.keyboard.press("KeyT")
    for key in ["ControlLeft", "AltLeft", "ShiftLeft"]:
        page.keyboard.up(key)
    expect(page.locator("#stage")).to_be_focused()
    leave(page)


def test_the_menus_fit_a_phone(browser, pattern):
    page = with_picture(browser, pattern, viewport=PHONE)
    for menu in ["power", "drive", "keyboard", "screen", "system"]:
        page.locator(f"#{menu} > summary").click()
        fits_a_phone(page)
        last = page.locator(f"#{menu} .panel > :is(button, a, label, div, p):visible").last
        last.scroll_into_view_if_needed()
        expect(last).to_be_in_viewport()
        shot(page, f"phone-{menu}")
    page.locator("#screen > summary").click()
    page.get_by_role("button", name="Read text…").click()
    fits_a_phone(page)
    shot(page, "phone-ocr")
    page.get_by_role("button", name="Choose an area").click()
    shot(page, "phone-ocr-area")
    leave(page)
