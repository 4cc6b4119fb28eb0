"""A cable between browser and appliance that can be pulled: bytes go through until then, and nothing comes of new connections."""

import contextlib
import socket
import threading


class Cable:
    """`url` is the appliance's at this end. Has what a page needs of an appliance."""

    def __init__(self, appliance):
        self.there = ("127.0.0.1", appliance.https_port)
        self.plugged = True
        self.open = set()
        self.turn = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                here, _ = self.listener.accept()
            except OSError:
                return
            with self.turn:
                if not self.plugged:
                    here.close()
                    continue
                there = socket.create_connection(self.there)
                self.open |= {here, there}
            for one, other in [(here, there), (there, here)]:
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        self._end(one, other)

    def _end(self, *sockets):
        with self.turn:
            for one in self.open.intersection(sockets):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
            self.open -= set(sockets)

    def pull(self):
        with self.turn:
            self.plugged = False
        self._end(*self.open)

    def plug(self):
        with self.turn:
            self.plugged = True

    def close(self):
        self.pull()
        self.listener.close()
