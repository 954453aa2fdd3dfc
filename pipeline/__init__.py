"""One conversation, from the microphone's frames to the reply's samples.

Nothing that Parley loads may report home: these switches must be set before the packages are imported, here
and in the worker processes, which import this package first.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime sends events to its maker since 1.30
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # huggingface_hub names its caller with each request
