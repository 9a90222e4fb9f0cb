"""The explicit list of extension files."""

from __future__ import annotations

from pathlib import Path

from netemu.netfilter import extensions


def test_every_file_is_listed_once_and_in_order():
    folder = Path(extensions.__file__).parent
    files = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    assert files == list(extensions.FILES)


def test_every_name_is_listed_with_its_file():
    """What the list says is what the files declare: else a rule would not find its extension."""
    declared = {
        file: " ".join(
            one.name for one in (*getattr(module, "MATCHES", ()), *getattr(module, "TARGETS", ()))
        )
        for file, module in zip(extensions.FILES, extensions.EXTENSIONS.modules, strict=True)
    }
    assert declared == extensions.FILES


def test_every_extension_says_what_it_does():
    for extension in (*extensions.EXTENSIONS.matches, *extensions.EXTENSIONS.targets):
        assert extension.duty.endswith("."), extension.name
        assert extension.kernel.endswith(".c"), extension.name


def test_options_name_existing_options():
    for extension in (*extensions.EXTENSIONS.matches, *extensions.EXTENSIONS.targets):
        names = [option.name for option in extension.options]
        names += [alias for option in extension.options for alias in option.aliases]
        assert len(names) == len(set(names)), extension.name
        for option in extension.options:
            for other in (*option.excludes, *option.requires, *filter(None, [option.into])):
                found = extension.find(other)
                assert found is not None, (extension.name, option.name, other)
                assert found.name == other, (extension.name, option.name, other)
