require pikvm-kernel.inc
