"""Forward kinematics against closed forms, a recomputation by other means, and positions that others computed."""

import math
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lib.tasks.files.skeleton import Skeleton, euler, joint_positions, read_motion, read_skeleton

MIRROR = Path(os.environ.get("DATA_MIRROR", "")) / "mocap"
ARM = """# two bones
:version 1.10
:units
  mass 1.0
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name arm
    direction 1 0 0
    length 2
    axis 0 0 90 XYZ
    dof rx
    limits (-160.0 20.0)
  end
  begin
    name hand
    direction 0 0 1
    length 3
    axis 0 0 0 XYZ
    dof ry rz
    limits (-90 90)
           (-90 90)
  end
:hierarchy
  begin
    root arm
    arm hand
  end
"""
MOVES = """#!OML:ASF arm.asf
:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 0 0 {a}
hand {c} {d}
arm 0
2
root 4 5 6 0 0 {a}
arm {b}
hand 0 0
"""


def test_two_bones_stand_where_geometry_puts_them():
    """The arm's own x axis is y: first the hand turns, R = Rz(a) Rz(d) Ry(c); then the arm alone, R = Rz(a) Ry(b)."""
    a, b, c, d = np.radians(angles := (30.0, -50.0, 20.0, 110.0))
    skeleton = read_skeleton(ARM)
    motion = read_motion(MOVES.format(**dict(zip("abcd", angles, strict=True))), skeleton)
    assert skeleton.names == ("root", "arm", "hand") and skeleton.edges.tolist() == [[1, 0], [2, 1]]

    arms = [2 * np.array([math.cos(a), math.sin(a), 0]), 2 * np.array([math.cos(a) * math.cos(b), math.sin(a) * math.cos(b), -math.sin(b)])]
    hands = [
        3 * np.array([math.sin(c) * math.cos(a + d), math.sin(c) * math.sin(a + d), math.cos(c)]),
        3 * np.array([math.cos(a) * math.sin(b), math.sin(a) * math.sin(b), math.cos(b)]),
    ]
    roots = np.array([[1.0, 2, 3], [4, 5, 6]])
    expected = np.stack([roots, roots + arms, roots + np.array(arms) + hands], 1)
    np.testing.assert_allclose(joint_positions(skeleton, motion), expected, atol=1e-14, rtol=0)


def test_any_tree_is_where_chains_of_4x4_matrices_put_it():
    draws = np.random.default_rng(0)
    parents, axes = (-1, 0, 1, 1, 0, 4), draws.uniform(-3, 3, (6, 3))
    skeleton = Skeleton(tuple("abcdef"), parents, draws.normal(size=(6, 3)), euler(axes), (tuple(range(6)),) * 6)
    motion = draws.uniform(-3, 3, (5, 6, 6))
    found = joint_positions(skeleton, motion)

    def pose(frame, joint):
        """World from joint, as R and p; the rotation is about the joint's own axes."""
        about, c = (Rotation.from_euler("xyz", angles).as_matrix() for angles in (motion[frame, joint, 3:], axes[joint]))
        step = np.eye(4)
        step[:3, :3] = c @ about @ np.linalg.inv(c)
        step[:3, 3] = motion[frame, 0, :3] if joint == 0 else step[:3, :3] @ skeleton.bones[joint]
        return step if joint == 0 else pose(frame, parents[joint]) @ step

    expected = [[pose(frame, joint)[:3, 3] for joint in range(6)] for frame in range(5)]
    np.testing.assert_allclose(found, expected, atol=1e-13, rtol=0)


def test_joints_come_depth_first_whatever_the_file_says_first():
    text = ARM.replace("root arm", "root hip arm").replace(
        "end\n:hierarchy", "end\n begin\n name hip\n direction 0 1 0\n length 1\n axis 0 0 0 XYZ\n end\n:hierarchy"
    )
    skeleton = read_skeleton(text.replace("root hip arm", "root arm hip"))
    assert skeleton.names == ("root", "arm", "hand", "hip") and skeleton.parents == (-1, 0, 1, 0)
    assert read_skeleton(text).names == ("root", "hip", "arm", "hand")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("angle deg", "angle rad"), "angles must be in degrees"),
        (("order TX TY TZ RX RY RZ", "order TX TY TZ RZ RY RX"), "root must be"),
        (("position 0 0 0", "position 0 1 0"), "root must be"),
        (("dof ry rz", "dof ry tz"), "hand has"),
        (("0 0 90 XYZ", "0 0 90 ZYX"), "arm has"),
        (("arm hand", "arm foot"), "names foot, and there is no such bone"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_skeletons_of_another_kind_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        read_skeleton(ARM.replace(*change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((":DEGREES", ":RADIANS"), "DEGREES"),
        (("arm 0\n", ""), "2 frames must have 1 numbers for arm"),
        (("arm 0\n", "arm 0 0\n"), "2 frames must have 1 numbers for arm"),
        (("arm 0\n", "leg 0\n"), "moves leg, which is no joint of the skeleton: root, arm, hand"),
    ],
    ids=["units", "missing", "too many", "unknown"],
)
def test_motions_of_another_skeleton_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        read_motion(MOVES.format(a=1, b=2, c=3, d=4).replace(*change), read_skeleton(ARM))


@pytest.mark.skipif(not MIRROR.is_dir(), reason="no folder mocap in DATA_MIRROR: the positions to compare with are only there")
def test_walking_is_where_others_found_it():
    with tarfile.open(MIRROR / "cmu35_walk_amc_raw.tar.xz") as tar:
        text = {name: tar.extractfile(f"raw_cmu35/{name}").read().decode() for name in ("35.asf", "35_01.amc", "35_02.amc", "35_03.amc")}
    skeleton = read_skeleton(text.pop("35.asf"))
    positions = [joint_positions(skeleton, read_motion(motion, skeleton)) for motion in text.values()]
    with np.load(MIRROR / "mocap_walk_35.npz") as published:
        assert list(map(len, positions)) == published["n_frames"][:3].tolist()
        assert skeleton.names == tuple(published["joint"]) and np.array_equal(skeleton.edges, published["edges"])
        gap = np.abs(np.concatenate(positions) - published["pos"][: sum(map(len, positions))]).max()
    print(f"farthest apart: {gap:.1e}")
    assert gap < 4e-6  # they are float32, whose spacing at 59, the largest of them, is 3.8e-6
