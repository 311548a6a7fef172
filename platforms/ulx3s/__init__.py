"""A small core on a ULX3S: its model in the FPGA's own memory, a prompt and text over a UART."""
