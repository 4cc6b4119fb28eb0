//! A QEMU machine as a target: QMP and its VNC socket.
