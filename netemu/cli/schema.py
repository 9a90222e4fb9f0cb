"""`netemu schema`: the JSON schemas of the files that people write."""

from __future__ import annotations

import json

import click

from netemu.cli.common import write_output
from netemu.snapshot.kube_shape import scenario_schema
from netemu.snapshot.lab_shape import lab_schema

SCHEMAS = {"lab": lab_schema, "scenario": scenario_schema}
"""By kind of file."""


@click.command("schema")
@click.argument("kind", type=click.Choice(list(SCHEMAS)))
def command(kind: str) -> None:
    """Print the JSON schema of a KIND of file, for editors and checks."""
    write_output(None, json.dumps(SCHEMAS[kind](), indent=2) + "\n")
