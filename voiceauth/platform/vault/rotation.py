"""Key rotation: wraps every data key anew under the current master key, while the service runs.

A row is changed only if its bytes are still those that were read. A customer who is erased or enrolled at the same time
keeps the newer value, and the next pass looks at it again. A rotation may be stopped, repeated, and run twice at once.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from django.apps import apps
from django.db import models
from django.db.models import F, Func, Value

from voiceauth.platform.vault import keyring
from voiceauth.platform.vault.fields import WrappedKeyField
from voiceauth.platform.vault.providers import UnknownMasterKey
from voiceauth.platform.vault.sealing import Unsealable

BATCH = 500


def wrapped_under() -> Counter[str]:
    """Count the data keys under each master key, by its id."""
    found: Counter[str] = Counter()
    for model, field in _fields():
        length = Func(F(field.name), Value(0), function="get_byte", output_field=models.IntegerField())
        key_id = Func(F(field.name), Value(2), length, function="substring", output_field=models.BinaryField())
        rows = _wrapped(model, field).annotate(key_id=key_id).values_list("key_id").annotate(count=models.Count("pk"))
        for name, count in rows.order_by():
            found[bytes(name).decode("utf-8", "replace")] += count
    return found


def remaining() -> int:
    """Count the data keys that are under another master key than the current one."""
    counts = wrapped_under()
    return counts.total() - counts[keyring.current_id()]


def rewrap(progress: Callable[[int], None] = lambda done: None) -> list[str]:
    """Wrap anew what is under another master key than the current one.

    ``progress`` is called with the count so far. Return the data keys that cannot be opened (``customer:<id>``);
    they are left as they are.
    """
    current, done, failures = keyring.current_id(), 0, []
    for model, field in _fields():
        for pk, wrapped in _others(model, field, current):
            context = field.context(pk)
            try:
                anew = keyring.wrap(keyring.unwrap(wrapped, context), context)
            except (Unsealable, UnknownMasterKey):
                failures.append(context)
                continue
            done += model._base_manager.filter(pk=pk, **{field.name: wrapped}).update(**{field.name: anew})
            progress(done)
    return failures


def _fields() -> Iterator[tuple[type[models.Model], WrappedKeyField]]:
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, WrappedKeyField):
                yield model, field


def _wrapped(model: type[models.Model], field: WrappedKeyField) -> models.QuerySet[Any]:
    return model._base_manager.exclude(**{field.name: b""})


def _others(model: type[models.Model], field: WrappedKeyField, current: str) -> Iterator[tuple[Any, bytes]]:
    """Yield primary key and content of the rows under another master key than ``current``, a batch at a time."""
    prefix = keyring.prefix_of(current)
    begins = Func(F(field.name), Value(1), Value(len(prefix)), function="substring", output_field=models.BinaryField())
    rows = _wrapped(model, field).annotate(begins=begins).exclude(begins=prefix).order_by("pk")
    batch = rows[:BATCH]
    while found := list(batch.values_list("pk", field.name)):
        yield from ((pk, bytes(wrapped)) for pk, wrapped in found)
        batch = rows.filter(pk__gt=found[-1][0])[:BATCH]
