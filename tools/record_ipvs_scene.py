"""Record the scene `ipvs` again, from a kernel that has IPVS.

    .venv/bin/python tools/record_ipvs_scene.py [ORACLE]

The Service of the scene `clusterip`, in kube-proxy's ipvs mode: netemu renders what kube-proxy
programs (rules, ipsets, virtual servers, addresses of kube-ipvs0), and a user-mode Linux plays the
traffic. ORACLE is the program that boots it, ../shared/tools/ipvs-oracle if left out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from ipvs_scene import PARTS  # noqa: E402 - found beside this file

from tests.kernel import oracle  # noqa: E402 - found above this file

OBJECTS = """
apiVersion: v1
kind: Node
metadata: {name: node}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  ports: [{name: http, protocol: TCP, port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, protocol: TCP, port: 8080}]
endpoints:
- {addresses: [10.244.1.5], nodeName: node, conditions: {ready: true}}
- {addresses: [10.244.1.6], nodeName: node, conditions: {ready: true}}
- {addresses: [10.244.1.7], nodeName: node, conditions: {ready: true}}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16
mode: ipvs
"""

JOB = """set -e
/run/modprobe -a dummy ip_vs ip_vs_rr ip_set_hash_ipportip ip_set_bitmap_port 2>/dev/null || true
export PYTHONPATH=$PWD:$PWD/tools:SITE
exec /usr/bin/python3 tools/ipvs_scene.py "$OUT"
"""


def main() -> int:
    """Boot the kernel, let it record, and put what it recorded in its place."""
    program = Path(sys.argv[1]) if sys.argv[1:] else oracle.prepared()
    with tempfile.TemporaryDirectory() as folder:
        job, out = Path(folder, "job"), Path(folder, "out")
        objects = Path(folder, "objects.yaml")
        objects.write_text(OBJECTS)
        ignore = shutil.ignore_patterns("__pycache__")
        for package in ("netemu", "tools"):
            shutil.copytree(ROOT / package, job / package, ignore=ignore)
        for part in PARTS:
            command = [sys.executable, "-m", "netemu", "kube", "render", str(objects)]
            command += ["--node", "node", "--mode", "ipvs", "--part", part]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            (job / part).write_text(done.stdout)
        site = next(path for path in sys.path if path.endswith("site-packages"))
        (job / "job.sh").write_text(JOB.replace("SITE", site))
        command = [str(program), "run", str(job), str(out), "--cache", str(oracle.CACHE)]
        command += ["--backend", "uml", "--timeout", "200"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            print((out / "console.log").read_text(errors="replace")[-4000:], file=sys.stderr)
            return 1
        for name in ("rulesets/ipvs", "captures/ipvs"):
            shutil.rmtree(ROOT / name, ignore_errors=True)
            shutil.copytree(out / name, ROOT / name)
        shutil.copy(out / "captures" / "ipvs.pcapng", ROOT / "captures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
