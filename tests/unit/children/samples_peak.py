"""Make one split of samples of 3 x 64 x 64 of what was handed in; print the process's peak of resident bytes."""

import json
import sys
from pathlib import Path

from edgekit.data.plan import DataPlan
from edgekit.signature import WHOLE, Signature, TensorSpec
from edgekit.steps import samples

folder, split, plan = sys.argv[1:]
takes = Signature((TensorSpec("x", (1, 3, 64, 64)),), (TensorSpec("y", (1, 5)),))
answer = samples.run(Path(folder), samples.Request(DataPlan(**json.loads(plan)), split, {WHOLE: takes}))
peak = 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
print(json.dumps({"count": answer.count, "peak": peak}))
