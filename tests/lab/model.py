"""What the contract says keyboard and mouse report, given the events the server received (API.md section 12)."""

KEYS = {f"Key{chr(65 + i)}": 4 + i for i in range(26)} | {f"Digit{d}": 0x1E + (d - 1) % 10 for d in range(10)}
MODIFIERS = {"ControlLeft": 1, "ShiftLeft": 2, "AltLeft": 4, "MetaLeft": 8, "ControlRight": 16, "ShiftRight": 32, "AltRight": 64, "MetaRight": 128}
BUTTONS = {"left": 1, "right": 2, "middle": 4, "up": 8, "down": 16}


class Keyboard:
    """Modifiers and six slots; a slot keeps its place until its key is released."""

    def __init__(self):
        self.modifiers = 0
        self.slots = [0] * 6

    def report(self):
        return bytes([self.modifiers, 0, *self.slots]).hex()

    def held(self):
        return self.modifiers or any(self.slots)

    def key(self, name, pressed):
        out = []
        if name in MODIFIERS:
            bit = MODIFIERS[name]
            if self.modifiers & bit:
                self.modifiers &= ~bit
                out.append(self.report())
            if pressed:
                self.modifiers |= bit
                out.append(self.report())
            return out
        usage = KEYS[name]
        if usage in self.slots:
            self.slots[self.slots.index(usage)] = 0
            out.append(self.report())
        if pressed:
            if 0 not in self.slots:
                self.slots, self.modifiers = [0] * 6, 0
                out.append(self.report())
            self.slots[self.slots.index(0)] = usage
            out.append(self.report())
        return out

    def clear(self):
        self.modifiers, self.slots = 0, [0] * 6
        return [self.report()]


class Mouse:
    """An absolute mouse: buttons and the last place."""

    def __init__(self, x=0, y=0):
        self.buttons, self.x, self.y = 0, x, y

    def report(self, wheel=0, pan=0):
        place = self.x.to_bytes(2, "little") + self.y.to_bytes(2, "little")
        return (bytes([self.buttons]) + place + bytes([wheel & 255, pan & 255])).hex()

    def held(self):
        return self.buttons

    def button(self, name, pressed):
        out = []
        if self.buttons & BUTTONS[name]:
            self.buttons &= ~BUTTONS[name]
            out.append(self.report())
        if pressed:
            self.buttons |= BUTTONS[name]
            out.append(self.report())
        return out

    def move(self, x, y):
        self.x, self.y = ((value + 32768) * 32767 // 65535 for value in (x, y))
        return [self.report()]

    def wheel(self, x, y):
        return [self.report(y, x)]

    def clear(self):
        self.buttons = 0
        return [self.report()]
