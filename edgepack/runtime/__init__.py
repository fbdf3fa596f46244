"""The side that runs on a device: sessions, bundles as models, facts about the machine.

The one door to ONNX Runtime. Its wheels send telemetry by default (1.32: a thread, a database in
the home folder) and read the switch when they are imported; whoever wants it sets the variable.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
