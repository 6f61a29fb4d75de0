"""Skeletons and motions in Acclaim's text formats (.asf, .amc), and where the joints are: forward kinematics.

Lengths and positions are in the units of the files; angles are in degrees there and in radians here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

AXES = ("rx", "ry", "rz")
NO_BONE = {"direction": ["0", "0", "0"], "length": ["0"], "axis": ["0", "0", "0", "XYZ"]}  # the root's
AT_REST = [["order", "TX", "TY", "TZ", "RX", "RY", "RZ"], ["axis", "XYZ"], ["position", "0", "0", "0"], ["orientation", "0", "0", "0"]]


@dataclass(frozen=True)
class Skeleton:
    """Joints in depth-first order, the root first; any other joint is the far end of the bone of its name.

    Attributes
    ----------
    parents : each joint's parent, by place; -1 of the root.
    bones : the bone at rest, length times direction; zero of the root.
    frames : C, the rotation of the axes that a joint's angles refer to.
    columns : which of (shift along x, y, z, angle about x, y, z) a joint's numbers in a motion are.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    bones: Float[np.ndarray, "joints 3"]
    frames: Float[np.ndarray, "joints 3 3"]
    columns: tuple[tuple[int, ...], ...]

    @property
    def edges(self) -> Int[np.ndarray, "bones 2"]:
        """[child, parent] of each bone."""
        return np.array([[child, parent] for child, parent in enumerate(self.parents) if parent >= 0], np.int64)


def euler(angles: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Rz Ry Rx: turns about the fixed axes x, then y, then z, by `angles` radians."""
    cx, cy, cz = np.moveaxis(np.cos(angles), -1, 0)
    sx, sy, sz = np.moveaxis(np.sin(angles), -1, 0)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def joint_positions(skeleton: Skeleton, motion: Float[np.ndarray, "time joints 6"]) -> Float[np.ndarray, "time joints 3"]:
    """Positions from each joint's shift (the root's alone counts) and angles.

    R_j = R_parent C_j (Rz Ry Rx)_j C_j^-1 and p_j = p_parent + R_j b_j, from R = 1, p = shift above the root.

    Source: the convention of the Acclaim format, as CMU's motion-capture database uses it.
    """
    local = skeleton.frames @ euler(motion[..., 3:]) @ skeleton.frames.swapaxes(-1, -2)
    positions, rotations = [motion[:, 0, :3]], [local[:, 0]]
    for joint, parent in enumerate(skeleton.parents[1:], 1):
        rotations.append(rotations[parent] @ local[:, joint])
        positions.append(positions[parent] + rotations[joint] @ skeleton.bones[joint])
    return np.stack(positions, 1)


def read_skeleton(text: str) -> Skeleton:
    """The skeleton of an .asf file.

    Raises ValueError where angles are not in degrees, the root is not at rest at the origin, a bone turns in another way than about
    x, y, z, or the hierarchy names a bone that there is not.
    """
    sections: dict[str, list[list[str]]] = {}
    for words in lines(text):
        if words[0].startswith(":"):
            section = sections.setdefault(words[0][1:], [])
        else:
            section.append(words)
    if ["angle", "deg"] not in sections["units"]:
        raise ValueError(f"a skeleton's angles must be in degrees (angle deg), its units are {sections['units']}")
    if sections["root"] != AT_REST:
        raise ValueError(f"a skeleton's root must be {AT_REST}, this one is {sections['root']}")

    children = {words[0]: words[1:] for words in sections["hierarchy"] if words[0] not in ("begin", "end")}
    parent_of = {child: parent for parent, family in children.items() for child in family}
    names = tuple(depth_first("root", children))
    read = {"root": NO_BONE} | {bone["name"][0]: bone for bone in blocks(sections["bonedata"])}
    for name in names:
        if name not in read:
            raise ValueError(f"the hierarchy names {name}, and there is no such bone")
        if read[name]["axis"][3:] != ["XYZ"] or not set(read[name].get("dof", ())) <= set(AXES):
            raise ValueError(f"a bone must turn about {', '.join(AXES)} in the order XYZ, {name} has {read[name]}")
    bones = [read[name] for name in names]
    return Skeleton(
        names=names,
        parents=tuple(names.index(parent_of[name]) if name in parent_of else -1 for name in names),
        bones=np.array([bone["direction"] for bone in bones], float) * np.array([bone["length"] for bone in bones], float),
        frames=euler(np.radians(np.array([bone["axis"][:3] for bone in bones], float))),
        columns=(tuple(range(6)), *(tuple(3 + AXES.index(turn) for turn in bone.get("dof", ())) for bone in bones[1:])),
    )


def read_motion(text: str, skeleton: Skeleton) -> Float[np.ndarray, "time joints 6"]:
    """Shift and angles (radians) of each joint in each frame of an .amc file; zero where the file has no numbers for them.

    Raises ValueError where angles are not in degrees, or a joint's numbers are not those that the skeleton says.
    """
    if ":DEGREES" not in text:
        raise ValueError("a motion's angles must be in degrees, and this one does not say :DEGREES")
    frames, numbers = 0, {name: [] for name in skeleton.names}
    for name, *values in lines(text):
        if not values:
            frames += name.isdigit()  # else one of the flags that a file begins with
        elif name in numbers:
            numbers[name].append(values)
        else:
            raise ValueError(f"a motion moves {name}, which is no joint of the skeleton: {', '.join(skeleton.names)}")
    motion = np.zeros((frames, len(skeleton.names), 6))
    for joint, (name, columns) in enumerate(zip(skeleton.names, skeleton.columns, strict=True)):
        if {len(values) for values in numbers[name]} - {len(columns)} or len(numbers[name]) != (frames if columns else 0):
            raise ValueError(f"a motion of {frames} frames must have {len(columns)} numbers for {name} in each of them")
        if columns:
            motion[:, joint, columns] = np.array(numbers[name], float)
    motion[..., 3:] = np.radians(motion[..., 3:])
    return motion


def lines(text: str) -> Iterator[list[str]]:
    """The words of each line that is neither empty nor a comment."""
    return (words for line in text.splitlines() if (words := line.split()) and not words[0].startswith("#"))


def blocks(section: list[list[str]]) -> Iterator[dict[str, list[str]]]:
    """What stands between each `begin` and `end`, as first word: further words."""
    block: dict[str, list[str]] = {}
    for key, *words in section:
        if key == "end":
            yield block
            block = {}
        elif key != "begin":
            block[key] = words


def depth_first(name: str, children: Mapping[str, list[str]]) -> Iterator[str]:
    """That joint, then each child with all that hangs from it."""
    yield name
    for child in children.get(name, ()):
        yield from depth_first(child, children)
