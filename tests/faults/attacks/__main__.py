"""NAME URL SECONDS: one attack, with what nice leaves it, for its own work shall not be what slows others."""

import importlib
import os
import sys
import time

if __name__ == "__main__":
    os.nice(19)
    name, url, seconds = sys.argv[1:]
    print("on", flush=True)
    importlib.import_module(f"tests.faults.attacks.{name}").attack(url, time.monotonic() + float(seconds))
