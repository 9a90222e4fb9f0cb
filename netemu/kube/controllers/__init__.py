"""Controllers of the control plane, as functions from objects to objects."""
