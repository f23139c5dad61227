"""Small files in exactly the raw formats of the published data sets, odd corners included.

Every function writes one person's part into a folder. ``imu`` is what a :class:`Recording` should give back:
(T, 6), m/s^2 with gravity upwards at rest, and rad/s.
"""

import numpy as np

G = 9.80665
MOTIONSENSE_TRIALS = (
    "dws_1 dws_2 dws_11 ups_3 ups_4 ups_12 wlk_7 wlk_8 wlk_15 jog_9 jog_16 std_6 std_14 sit_5 sit_13".split()
)
MOTIONSENSE_HEADER = (
    ",attitude.roll,attitude.pitch,attitude.yaw,gravity.x,gravity.y,gravity.z,rotationRate.x,rotationRate.y,"
    "rotationRate.z,userAcceleration.x,userAcceleration.y,userAcceleration.z"
)
SHOAIB_PLACEMENTS = ["Left_pocket", "Right_pocket", "Wrist", "Upper_arm", "Belt"]
SHOAIB_COLUMNS = "time_stamp,Ax,Ay,Az,Lx,Ly,Lz,Gx,Gy,Gz,Mx,My,Mz"
PAMAP2_UNITS = ("hand", "chest", "ankle")


def still(samples, up=(0.0, 0.0, 1.0), seed=0):
    """(T, 6): a device at rest whose axis ``up`` points away from the ground, with a little noise."""
    imu = np.random.default_rng(seed).normal(0, 0.05, (samples, 6))
    imu[:, :3] += G * np.asarray(up)
    return imu


def write_motionsense(folder, person, imu, trials=MOTIONSENSE_TRIALS):
    """Core Motion in g, split in two, its sign the opposite of Android's; an unnamed index in front."""
    total = -imu[:, :3] / G
    gravity = total.mean(axis=0) / np.linalg.norm(total.mean(axis=0))
    rows = [
        f"{index}," + ",".join(repr(float(value)) for value in (0.5, -0.7, 1.2, *gravity, *rotation, *(felt - gravity)))
        for index, (felt, rotation) in enumerate(zip(total, imu[:, 3:], strict=True))
    ]
    for trial in trials:
        file = folder / "A_DeviceMotion_data" / trial / f"sub_{person}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join([MOTIONSENSE_HEADER, *rows]) + "\n")
    (folder / "A_DeviceMotion_data" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return folder


def write_shoaib(folder, person, imus, labels):
    """Five placements side by side with a gap after each; the label in the last one. Time stamps as Excel left them."""
    file = folder / "DataSet" / f"Participant_{person}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(f"{place}" + "," * 13 for place in SHOAIB_PLACEMENTS), ",,".join([SHOAIB_COLUMNS] * 5) + ","]
    lines[0] = lines[0][: 13 * 5 + 4 + sum(map(len, SHOAIB_PLACEMENTS))]  # 70 values have 69 commas
    for row, label in enumerate(labels):
        blocks = []
        for imu in imus:
            acceleration, rotation = imu[row, :3], imu[row, 3:]
            values = [*acceleration, *(acceleration - [0, 0, G]), *rotation, -24.6, 12.3, 40.0]
            blocks.append("1.39E+12," + ",".join("" if np.isnan(value) else f"{value:.6f}" for value in values))
        lines.append(",,".join(blocks) + f",{label}")
    file.write_text("\n".join(lines) + "\n")
    return folder


def write_pamap2(folder, person, time, activities, imus):
    """54 values between single blanks, no header; heart rate in every eleventh row; a lost sample is NaN throughout."""
    file = folder / "PAMAP2_Dataset" / "Protocol" / f"subject{person}.dat"
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for row, (stamp, activity) in enumerate(zip(time, activities, strict=True)):
        fields = [f"{stamp:.2f}", str(activity), "104" if row % 11 == 0 else "NaN"]
        for imu in imus:
            acceleration, rotation = imu[row, :3], imu[row, 3:]
            small = np.clip(acceleration, -60, 60) + 0.15  # the other accelerometer
            values = [30.375, *acceleration, *small, *rotation, 14.68, -69.21, -5.59, 1, 0, 0, 0]
            lost = np.isnan(acceleration).any()
            fields += ["NaN" if lost else f"{value:.6g}" for value in values]
        lines.append(" ".join(fields))
    file.write_text("\n".join(lines) + "\n")
    return folder
