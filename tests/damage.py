"""Damage to windows that several test files do."""


def with_value(value):
    """A function that puts a value into step 7, channel 4 of window 2 of a copy."""

    def change(imu):
        imu = imu.copy()
        imu[2, 7, 4] = value
        return imu

    return change
