"""A target's idea of a keyboard: USB reports or key codes in, text out, as a Linux desktop reads them.

The keys are those of libxkbcommon with Debian's xkb-data, dead keys those of libX11's table; nothing here is ours but the glue. So a
layout of ours that says something else than the target's does shows as other text.
"""

import ctypes
import ctypes.util

SHIFT, RIGHT_ALT, CAPS_LOCK = 42, 100, 58

# Usage of HID page 7 to Linux key code, as Linux's own driver reads it: letters, the row of digits, then what types.
USAGES = dict(zip(range(0x04, 0x1E), [30, 48, 46, 32, 18, 33, 34, 35, 23, 36, 37, 38, 50, 49, 24, 25, 16, 19, 31, 20, 22, 47, 17, 45, 21, 44]))
USAGES |= dict(zip(range(0x1E, 0x28), range(2, 12)))
USAGES |= {0x28: 28, 0x29: 1, 0x2A: 14, 0x2B: 15, 0x2C: 57, 0x2D: 12, 0x2E: 13, 0x2F: 26, 0x30: 27, 0x31: 43, 0x32: 43, 0x33: 39}
USAGES |= {0x34: 40, 0x35: 41, 0x36: 51, 0x37: 52, 0x38: 53, 0x39: CAPS_LOCK, 0x64: 86, 0x87: 89, 0x88: 93, 0x89: 124, 0x8A: 92, 0x8B: 94}
# The keys of the numeric pad, which text must not use.
KEYPAD = {0x53: 69, 0x54: 98, 0x55: 55, 0x56: 74, 0x57: 78, 0x58: 96, **dict(zip(range(0x59, 0x63), [79, 80, 81, 75, 76, 77, 71, 72, 73, 82])), 0x63: 83}
MODIFIERS = [29, SHIFT, 56, 125, 97, 54, RIGHT_ALT, 126]

COMPOSING, COMPOSED, CANCELLED = 1, 2, 3


class _Names(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("rules", "model", "layout", "variant", "options")]


def _library():
    lib = ctypes.CDLL("libxkbcommon.so.0")
    pointer = ctypes.c_void_p
    for name, result, arguments in [
        ("xkb_context_new", pointer, [ctypes.c_int]),
        ("xkb_keymap_new_from_names", pointer, [pointer, pointer, ctypes.c_int]),
        ("xkb_keymap_unref", None, [pointer]),
        ("xkb_state_new", pointer, [pointer]),
        ("xkb_state_unref", None, [pointer]),
        ("xkb_state_update_key", ctypes.c_int, [pointer, ctypes.c_uint32, ctypes.c_int]),
        ("xkb_state_key_get_one_sym", ctypes.c_uint32, [pointer, ctypes.c_uint32]),
        ("xkb_state_led_name_is_active", ctypes.c_int, [pointer, ctypes.c_char_p]),
        ("xkb_keysym_to_utf32", ctypes.c_uint32, [ctypes.c_uint32]),
        ("xkb_compose_table_new_from_locale", pointer, [pointer, ctypes.c_char_p, ctypes.c_int]),
        ("xkb_compose_state_new", pointer, [pointer, ctypes.c_int]),
        ("xkb_compose_state_unref", None, [pointer]),
        ("xkb_compose_state_feed", ctypes.c_int, [pointer, ctypes.c_uint32]),
        ("xkb_compose_state_get_status", ctypes.c_int, [pointer]),
        ("xkb_compose_state_get_utf8", ctypes.c_int, [pointer, ctypes.c_char_p, ctypes.c_size_t]),
        ("xkb_compose_state_reset", None, [pointer]),
    ]:
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


LIB = _library()
CONTEXT = LIB.xkb_context_new(0)
COMPOSE = LIB.xkb_compose_table_new_from_locale(CONTEXT, b"en_US.UTF-8", 0)
assert COMPOSE, "libX11's table of dead keys is missing (package libx11-data)"


class TargetKeyboard:
    """The keyboard of a desktop with one layout. `text` is what a program there would have been given."""

    def __init__(self, layout, variant="", caps_lock=False):
        names = _Names(b"evdev", b"pc105", layout.encode(), variant.encode(), b"")
        self.keymap = LIB.xkb_keymap_new_from_names(CONTEXT, ctypes.byref(names), 0)
        assert self.keymap, f"X11 has no layout {layout}({variant})"
        self.state = LIB.xkb_state_new(self.keymap)
        self.compose = LIB.xkb_compose_state_new(COMPOSE, 0)
        self.text, self.down, self.keypad_used = "", set(), False
        if caps_lock:
            # With Shift where the key alone is another, as on Japanese keyboards.
            for pressed in (True, False):
                self.key(CAPS_LOCK, pressed)
            if not self.caps_lock:
                for code, pressed in [(SHIFT, True), (CAPS_LOCK, True), (CAPS_LOCK, False), (SHIFT, False)]:
                    self.key(code, pressed)
            assert self.caps_lock and not self.text

    def close(self):
        LIB.xkb_compose_state_unref(self.compose)
        LIB.xkb_state_unref(self.state)
        LIB.xkb_keymap_unref(self.keymap)

    @property
    def caps_lock(self):
        return LIB.xkb_state_led_name_is_active(self.state, b"Caps Lock") == 1

    def report(self, report):
        """A boot keyboard's eight bytes. Modifiers first, as Linux's driver does: their bits are the first of the report."""
        down = {code for bit, code in enumerate(MODIFIERS) if report[0] >> bit & 1}
        modifiers = set(MODIFIERS)
        for usage in filter(None, report[2:]):
            self.keypad_used |= usage in KEYPAD
            down.add(USAGES.get(usage) or KEYPAD.get(usage, 0))
        order = lambda code: (code not in modifiers, code)  # noqa: E731
        for code in sorted(self.down - down, key=order):
            self.key(code, False)
        for code in sorted(down - self.down, key=order):
            self.key(code, True)

    def key(self, code, pressed):
        """A key by Linux's number."""
        if pressed:
            self.down.add(code)
            self.symbol(LIB.xkb_state_key_get_one_sym(self.state, code + 8))
        else:
            self.down.discard(code)
        LIB.xkb_state_update_key(self.state, code + 8, int(pressed))

    def symbol(self, symbol):
        """A keysym through the table of dead keys; who composes, types nothing yet."""
        LIB.xkb_compose_state_feed(self.compose, symbol)
        status = LIB.xkb_compose_state_get_status(self.compose)
        if status == COMPOSING:
            return
        if status == COMPOSED:
            buffer = ctypes.create_string_buffer(64)
            LIB.xkb_compose_state_get_utf8(self.compose, buffer, 64)
            self.text += buffer.value.decode()
        elif status == CANCELLED:
            self.text += "\N{REPLACEMENT CHARACTER}"
        elif character := LIB.xkb_keysym_to_utf32(symbol):
            self.text += {"\r": "\n"}.get(chr(character), chr(character))
        if status in (COMPOSED, CANCELLED):
            LIB.xkb_compose_state_reset(self.compose)

    def plainly_typed(self):
        """The characters that a key of this layout types by itself, with Shift, with AltGr or with both."""
        characters = set()
        for held in [(), (SHIFT,), (RIGHT_ALT,), (SHIFT, RIGHT_ALT)]:
            state = LIB.xkb_state_new(self.keymap)
            for code in held:
                LIB.xkb_state_update_key(state, code + 8, 1)
            for code in set(USAGES.values()):
                character = LIB.xkb_keysym_to_utf32(LIB.xkb_state_key_get_one_sym(state, code + 8))
                characters.add(chr(character)) if character else None
            LIB.xkb_state_unref(state)
        return characters
