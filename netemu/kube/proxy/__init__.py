"""kube-proxy: what each of its modes programs on one node."""
