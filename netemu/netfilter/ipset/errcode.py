"""What the kernel refuses about IP sets, in the words of ipset(8).

Kernel: include/uapi/linux/netfilter/ipset/ip_set.h (enum ipset_errno); ipset's lib/errcode.c.
"""

from __future__ import annotations

from enum import Enum


class Command(Enum):
    """What is asked of the kernel; a code may mean different things in different commands."""

    CREATE = "create"
    ADD = "add"
    DEL = "del"
    TEST = "test"
    DESTROY = "destroy"
    FLUSH = "flush"
    RENAME = "rename"
    SWAP = "swap"


class Errno(Enum):
    """A refusal; the value is what ipset prints where the command makes no difference."""

    EINVAL = "Kernel error received: Invalid argument"
    EAGAIN = "Kernel error received: Resource temporarily unavailable"
    UNKNOWN = "Kernel error received: Unknown error -1"
    ENOENT = "The set with the given name does not exist"
    ENOMEM = "Kernel error received: Cannot allocate memory"
    PROTOCOL = "Kernel error received: ipset protocol error"
    INVALID_NETMASK = "The value of the netmask parameter is invalid"
    INVALID_MARKMASK = "The value of the markmask parameter is invalid"
    INVALID_FAMILY = "Protocol family not supported by the set type"
    BITMASK_NETMASK_EXCL = "netmask and bitmask options are mutually exclusive, provide only one"
    BUSY = "Set cannot be destroyed: it is in use by a kernel component"
    EXIST_SET = "Set cannot be created: set with the same name already exists"
    EXIST_SETNAME2 = "Set cannot be renamed: a set with the new name already exists"
    NO_SETNAME2 = "Sets cannot be swapped: the second set does not exist"
    REFERENCED = "Set cannot be renamed: it is in use by another system"
    TYPE_MISMATCH = "The sets cannot be swapped: their type does not match"
    INVALID_CIDR = "The value of the CIDR parameter of the IP address is invalid"
    TIMEOUT = "Timeout cannot be used: set was created without timeout support"
    COUNTER = "Packet/byte counters cannot be used: set was created without counter support"
    COMMENT = "Comment cannot be used: set was created without comment support"
    SKBINFO = "Skbinfo mapping cannot be used: set was created without skbinfo support"
    EXIST = "Element cannot be added to the set: it's already added"
    MISSING = "Element cannot be deleted from the set: it's not added"
    BITMAP_RANGE = "Element is out of the range of the set"
    BITMAP_RANGE_SIZE = "The range you specified exceeds the size limit of the set type"
    HASH_FULL = "Hash is full, cannot add more elements"
    HASH_ELEM = "Null-valued element, cannot be stored in a hash type of set"
    INVALID_PROTO = "Invalid protocol specified"
    HASH_RANGE_UNSUPPORTED = 'Range is not supported in the "net" component of the element'
    HASH_RANGE = "Invalid range, covers the whole address space"
    NAME = "Set to be added/deleted/tested as element does not exist."
    LOOP = "Sets with list:set type cannot be added to the set."
    BEFORE = "No reference set specified."
    NAMEREF = "The set to which you referred with 'before' or 'after' does not exist."
    REF_EXIST = "The set to which you referred with 'before' or 'after' is not added to the set."


class SetError(Exception):
    """The kernel refuses; callers say where that was asked for."""

    def __init__(self, errno: Errno) -> None:
        """Take the reason."""
        super().__init__(errno.value)
        self.errno = errno
