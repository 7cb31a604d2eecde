-- The GPU that a sample of nsys' GPU metrics is of: the lowest byte of its typeId.
-- A job of several files may have more GPUs than a byte counts: the rest of their number is in the highest byte, nsys'
-- number of the hardware, which is 0 in a file of its own.
-- params: type_id
-- returns: BIGINT  Joins load.devices on device_id.
SELECT (type_id & 255) + 256 * (type_id >> 56)
