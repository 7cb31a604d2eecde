"""NVTX without an NVTX library: call the injection library that a profiler names in ``NVTX_INJECTION64_PATH``.

NVTX is a header that, at its first call, loads that library and lets it fill tables of function pointers. Doing the
same here with ctypes needs no package in the profiled environment, and it cannot meet the silent loss of every range
that the ``nvtx`` package from 0.2.12 on suffers under Nsight Systems 2024.2, because it announces no payload extension.

Source of the numbers below: ``nvtx3/nvtxDetail/nvtxTypes.h`` and ``nvtx3/nvToolsExt.h`` of CUDA 13.0 (NVTX 3; the
binary interface has not changed since NVTX 2). Standard library only, so that it can be loaded into any program.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

INJECTION_VARIABLE = "NVTX_INJECTION64_PATH"

_NVTX_VERSION = 3
_EXPORT_CALLBACKS, _EXPORT_VERSION_INFO = 1, 3
# Number of entries of each callback module's table, entry 0 being the unused "invalid" one.
_MODULE_SIZES = {1: 16, 2: 9, 3: 15, 4: 7, 5: 16, 6: 7}
_MODULE_CORE2 = 5
_DOMAIN_MARK_EX, _DOMAIN_RANGE_PUSH_EX, _DOMAIN_RANGE_POP = 1, 4, 5
_DOMAIN_REGISTER_STRING_A, _DOMAIN_CREATE_A = 10, 12
_MESSAGE_ASCII, _MESSAGE_REGISTERED = 1, 3

# PYFUNCTYPE and PyDLL keep the interpreter lock: a marker must not become a point where threads switch.
_GetModuleTable = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_uint)
)
_SetVersion = ctypes.PYFUNCTYPE(None, ctypes.c_uint32)
_GetExportTable = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)


class _Callbacks(ctypes.Structure):
    _fields_ = (("struct_size", ctypes.c_size_t), ("get_module_table", _GetModuleTable))


class _VersionInfo(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("version", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("set_injection_version", _SetVersion),
    )


class _EventAttributes(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint16),
        ("size", ctypes.c_uint16),
        ("category", ctypes.c_uint32),
        ("color_type", ctypes.c_int32),
        ("color", ctypes.c_uint32),
        ("payload_type", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("payload", ctypes.c_uint64),
        ("message_type", ctypes.c_int32),
        ("message", ctypes.c_void_p),
    )


_Mark = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(_EventAttributes))
_Push = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(_EventAttributes))
_Pop = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_RegisterString = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
_CreateDomain = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)


class InjectionError(Exception):
    """The injection library cannot be used; the text says why."""


class InjectedDomain:
    """One NVTX domain: push/pop ranges of the calling thread, and marks.

    Use `connect`; raises `InjectionError` when the library is missing, refuses, or offers no domain functions.
    """

    def __init__(self, library_path: str, domain: str) -> None:
        try:
            # Kept for the life of the process, like the tables: the library holds pointers into both.
            self._library = ctypes.PyDLL(library_path)
            initialize = self._library.InitializeInjectionNvtx2
        except (OSError, AttributeError) as error:
            raise InjectionError(f"cannot load the NVTX injection library `{library_path}`: {error}") from error
        self._slots = {module: (ctypes.c_void_p * size)() for module, size in _MODULE_SIZES.items()}
        self._tables = {module: _pointers_to(slots) for module, slots in self._slots.items()}
        self._callbacks = _Callbacks(ctypes.sizeof(_Callbacks), _GetModuleTable(self._get_module_table))
        self._version_info = _VersionInfo(
            ctypes.sizeof(_VersionInfo), _NVTX_VERSION, 0, _SetVersion(lambda _version: None)
        )
        self._get_export_table = _GetExportTable(self._export_table)
        initialize.argtypes, initialize.restype = [_GetExportTable], ctypes.c_int
        if not initialize(self._get_export_table):
            raise InjectionError(f"the NVTX injection library `{library_path}` refused to start")

        self._mark = _Mark(self._function(_DOMAIN_MARK_EX))
        self._push = _Push(self._function(_DOMAIN_RANGE_PUSH_EX))
        self._pop = _Pop(self._function(_DOMAIN_RANGE_POP))
        self._register = _RegisterString(self._function(_DOMAIN_REGISTER_STRING_A))
        self._domain = _CreateDomain(self._function(_DOMAIN_CREATE_A))(domain.encode())
        self._registered: dict[str, _EventAttributes] = {}

    @classmethod
    def connect(cls, domain: str) -> InjectedDomain | None:
        """Open the domain in the profiler of this process, or None when no profiler asks for NVTX."""
        path = os.environ.get(INJECTION_VARIABLE)
        return cls(path, domain) if path else None

    def push(self, name: str) -> None:
        """Open a range. Names are registered with the profiler once, so keep them few."""
        attributes = self._registered.get(name)
        if attributes is None:
            handle = self._register(self._domain, name.encode())
            attributes = self._registered[name] = _event(_MESSAGE_REGISTERED, handle)
        self._push(self._domain, ctypes.byref(attributes))

    def pop(self) -> None:
        """Close the innermost range of this thread in this domain."""
        self._pop(self._domain)

    def mark(self, text: str) -> None:
        """One instantaneous event; `text` may be long and may differ every time."""
        buffer = ctypes.create_string_buffer(text.encode())
        self._mark(self._domain, ctypes.byref(_event(_MESSAGE_ASCII, ctypes.addressof(buffer))))

    def _function(self, index: int) -> int:
        pointer = self._slots[_MODULE_CORE2][index]
        if not pointer:
            raise InjectionError("the NVTX injection library offers no domains")
        return int(pointer)

    def _get_module_table(self, module: int, out_table: Any, out_size: Any) -> int:
        if module not in self._tables:
            return 0
        out_table[0] = ctypes.addressof(self._tables[module])
        if out_size:
            out_size[0] = _MODULE_SIZES[module]
        return 1

    def _export_table(self, table_id: int) -> int | None:
        if table_id == _EXPORT_CALLBACKS:
            return ctypes.addressof(self._callbacks)
        if table_id == _EXPORT_VERSION_INFO:
            return ctypes.addressof(self._version_info)
        return None


def _pointers_to(slots: ctypes.Array[ctypes.c_void_p]) -> ctypes.Array[ctypes.c_void_p]:
    """Address of each slot, then NULL: the table through which the library fills the slots."""
    width = ctypes.sizeof(ctypes.c_void_p)
    addresses = [ctypes.addressof(slots) + index * width for index in range(len(slots))]
    return (ctypes.c_void_p * (len(slots) + 1))(*addresses, None)


def _event(message_type: int, message: int | None) -> _EventAttributes:
    attributes = _EventAttributes()
    attributes.version, attributes.size = _NVTX_VERSION, ctypes.sizeof(_EventAttributes)
    attributes.message_type, attributes.message = message_type, message
    return attributes
