"""A pretend device: host tensors that count as being elsewhere, as tensors on a GPU are.

PyTorch keeps a place for other people's devices ("PrivateUse1"); this one is written in Python. A
`PretendTensor` says that it is on the device `pretend` and holds a host tensor, on which all is
computed. The numbers are a CPU's; what a program may do is what it may do on CUDA:

- An operation on tensors of the device and of the host fails. Host tensors without axes and host
  indices are let through, as CUDA does.
- Where the host must wait for the device, the wait is counted, with the project's line.
- Autocast goes by the lists of operations that PyTorch has for CUDA.

Not pretended, as nothing is computed elsewhere: CUDA's own kernels with their rounding and random
numbers, streams, several devices, the device's memory, pinned memory, and branches of the code for
`device.type == "cuda"`. A copy from the host with `non_blocking=True` counts as no wait, though the
host does wait if it is large and its memory is not pinned.
"""

from __future__ import annotations

import re
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"

_PROJECT = Path(__file__).parents[2]
_CPU = torch.device("cpu")

_WAITING = {
    "_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "bincount",
    "_unique", "_unique2", "unique_consecutive", "unique_dim", "unique_dim_consecutive",
    "_linalg_check_errors", "_linalg_eigh", "_linalg_svd", "linalg_eig", "linalg_lstsq",
}  # fmt: skip
"""Operations that end only when the host knows their result, or the result's shape."""

_INDEXING = {"index", "_unsafe_index", "index_put", "index_put_", "_unsafe_index_put",
             "_index_put_impl_"}  # fmt: skip


class Wait(NamedTuple):
    """A place where the host waits for the device.

    Attributes:
        file, function: of `train`, the innermost; of the call of `backward` for what waits in it.
        operation: of PyTorch.
        line: in the file.
    """

    file: str
    function: str
    operation: str
    line: int


class PretendTensor(Tensor):
    """A host tensor that counts as being on the pretend device."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> PretendTensor:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=torch.device(NAME, 0),
        )
        made.host = host
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: a tensor on {NAME} is used outside `pretend_device()`")

    def __repr__(self) -> str:  # type: ignore[override]
        return f"PretendTensor({self.host!r})"

    def untyped_storage(self) -> torch.UntypedStorage:
        """The host tensor's; by it files of weights find tensors that share their values."""
        return self.host.untyped_storage()

    def tolist(self) -> Any:
        """The values, by way of the host; PyTorch's own refuses subclasses."""
        return self.cpu().tolist()


class PretendDevice(TorchDispatchMode):
    """Computes what is asked of the device, on host tensors.

    Attributes:
        waits: in functions that were given to `counting`, by their region.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: defaultdict[str, Counter[Wait]] = defaultdict(Counter)
        self._region: str | None = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and what hides a function from it takes its time

    def counting(self, region: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its waits counted."""

        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            outer, self._region = self._region, region
            try:
                return function(*args, **kwargs)
            finally:
                self._region = outer

        return counted

    def wait(self, operation: str) -> None:
        """Count a wait."""
        if self._region is not None:
            self.waits[self._region][_wait_here(operation)] += 1

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        call = _Call()
        host_args, host_kwargs = call.on_host(args), call.on_host(kwargs)
        if not call.ours and not call.onto:
            return func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        leaves = False
        if name in ("_to_copy", "copy_"):
            leaves = self._copy(name, args, kwargs)
        else:
            self._check(func, name, call, args)
        return call.on_device(func, func(*host_args, **host_kwargs), wrap=not leaves)

    def _copy(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Count a copy between the devices; True if its result is on the host."""
        if name == "copy_":
            target, source = (isinstance(tensor, PretendTensor) for tensor in args[:2])
            blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
        else:
            source, asked = isinstance(args[0], PretendTensor), kwargs.get("device")
            target = source if asked is None else torch.device(asked).type == NAME
            blocking = not kwargs.get("non_blocking")
        if source and not target:
            self.wait("copy to the host")
        elif target and not source and blocking:
            self.wait("copy from the host")
        return not target

    def _check(self, func: Any, name: str, call: _Call, args: tuple[Any, ...]) -> None:
        """Refuse tensors of both places, and count what the host must wait for."""
        indices = [i for i in args[1] if i is not None] if name in _INDEXING else []
        allowed = {id(index) for index in indices}
        for tensor in call.theirs:
            if tensor.ndim and id(tensor) not in allowed:
                raise RuntimeError(
                    f"{func}: expected all tensors on one device, got one on {NAME} and one of"
                    f" shape {tuple(tensor.shape)} on {tensor.device}"
                )
        if any(not isinstance(index, PretendTensor) for index in indices):
            self.wait(f"{name} by host indices")
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            self.wait(f"{name} by a mask")
        if name in _WAITING or func is torch.ops.aten.repeat_interleave.Tensor:
            self.wait(name)


_PLAIN = {bool, int, float, str, type(None), torch.dtype, torch.device}


class _Call:
    """The arguments of an operation.

    Attributes:
        ours: tensors on the device, by the `id` of their host tensors.
        theirs: tensors on the host.
        onto: whether the device is asked for by name.
    """

    def __init__(self) -> None:
        self.ours: dict[int, PretendTensor] = {}
        self.theirs: list[Tensor] = []
        self.onto = False

    def on_host(self, value: Any) -> Any:
        """The argument with host tensors, and the CPU, for those of the device."""
        kind = type(value)  # `isinstance` would take half of the time of all operations
        if kind is PretendTensor:
            self.ours[id(value.host)] = value
            return value.host
        if kind is tuple or kind is list:
            return kind(map(self.on_host, value))
        if kind is dict:
            return {name: self.on_host(inner) for name, inner in value.items()}
        if kind is torch.device and value.type == NAME:
            self.onto = True
            return _CPU
        if kind not in _PLAIN and isinstance(value, Tensor):
            self.theirs.append(value)
        return value

    def on_device(self, func: Any, value: Any, *, wrap: bool) -> Any:
        """The result: the argument that it is, if any (in place), else on the device if `wrap`."""
        if isinstance(value, list | tuple):
            return type(value)(self.on_device(func, inner, wrap=wrap) for inner in value)
        if not isinstance(value, Tensor):
            return value
        if (own := self.ours.get(id(value))) is None:
            return PretendTensor(value) if wrap else value
        assert own.shape == value.shape, f"{func} changes a shape in place, which is not pretended"
        return own


def _wait_here(operation: str) -> Wait:
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path.is_relative_to(_PROJECT / "train"):
            file = path.relative_to(_PROJECT).as_posix()
            return Wait(file, frame.name, operation, frame.lineno or 0)
    return Wait("", "", operation, 0)


class _Generator(torch.Generator):
    """A CPU's random numbers, on the device that is asked for: `torch.Generator` otherwise."""

    def __new__(cls, device: torch.device | str = "cpu") -> _Generator:
        return super().__new__(cls, _CPU)

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)

    @property
    def device(self) -> torch.device:
        return self._device


@contextmanager
def pretend_device() -> Iterator[PretendDevice]:
    """Make `torch.device("pretend")` work in the context; the name stays known to the process."""
    _register()
    device = PretendDevice()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "Generator", _Generator)
        _active.append(device)
        try:
            # In one thread: PyTorch starts the device's own for backward passes only once, and the
            # process may have begun with others before it knew of this device.
            with torch.autograd.set_multithreading_enabled(False), device:
                yield device
        finally:
            _active.pop()


_active: list[PretendDevice] = []


class _Backend:
    """What PyTorch asks of `torch.pretend`, the module of a device."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """Do nothing: all random numbers are the CPU's."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


@cache
def _register() -> tuple[torch.library.Library, ...]:
    """Register device, autocast and the operations that are called below `__torch_dispatch__`."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    library, others = torch.library.Library("aten", "IMPL"), torch.library.Library("_", "IMPL")
    # `torch.tensor(data, device=...)` makes a tensor, and copies into it.
    library.impl("empty.memory_format", _empty, "PrivateUse1")
    library.impl("empty_strided", _empty_strided, "PrivateUse1")
    library.impl("_copy_from", _copy_from, "PrivateUse1")
    others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for name, policy in _autocast_policies().items():
        library.impl(name, _autocast_kernel(name, policy), "AutocastPrivateUse1")
    return library, others


def _empty(size: Any, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return PretendTensor(torch.empty(size, dtype=dtype))


def _empty_strided(size: Any, stride: Any, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return PretendTensor(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: Tensor, target: PretendTensor, non_blocking: bool = False) -> Tensor:
    if not non_blocking:
        _active[-1].wait("copy from the host")
    target.host.copy_(source)
    return target


_LISTS = {"LOWER_PRECISION_FP": "lower", "FP32": "float32", "FP32_SET_OPT_DTYPE": "float32",
          "PROMOTE": "widest"}  # fmt: skip


def _autocast_policies() -> dict[str, str]:
    """What autocast does on CUDA, by the operations' names, from PyTorch's own header."""
    header = (Path(torch.__file__).parent / "include/ATen/autocast_mode.h").read_text()
    found = {}
    for title, policy in _LISTS.items():
        [listed] = re.findall(rf"#define AT_FORALL_{title}\(_\)((?:.*\\\n)+.*)", header)
        for name, overload in re.findall(r"_\((\w+)(?:, (\w+))?\)", listed):
            found[f"{name}.{overload}" if overload else name] = policy
    assert found["conv2d"] == "lower"
    assert found["layer_norm"] == found["sum.dim_IntList"] == "float32"
    return found


def _autocast_kernel(name: str, policy: str) -> Callable[..., Any]:
    packet, _, overload = name.partition(".")
    operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
    below = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def kernel(*args: Any, **kwargs: Any) -> Any:
        found: set[torch.dtype] = set()

        def note(value: Any) -> Any:
            if _is_cast(value):
                found.add(value.dtype)
            return value

        if policy == "widest":
            tree_map(note, (args, kwargs))
        wide = torch.float32 if policy == "float32" or torch.float32 in found else None
        dtype = wide or torch.get_autocast_dtype(NAME)

        def cast(value: Any) -> Any:
            return value.to(dtype) if _is_cast(value) else value

        with torch._C._ExcludeDispatchKeyGuard(below):
            args, kwargs = tree_map(cast, (args, kwargs))
            return operation(*args, **kwargs)

    return kernel


def _is_cast(value: Any) -> bool:
    """Tell if autocast may change the type of an argument."""
    return (
        isinstance(value, PretendTensor)
        and value.is_floating_point()
        and value.dtype != torch.float64
    )
