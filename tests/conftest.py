"""Shared by all tests: TensorFlow starts with two logical CPUs, to be replicas."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
# Of few points, k-means takes 16 ms a run where threads of OpenMP wait for each other, otherwise
# 30 us; a classifier's scores take 20 runs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests speak gRPC, and start processes with a preexec_fn, that is by fork(): gRPC's handlers would
# then start a poller in the child and abort it before exec, its descriptors being closed (1.85,
# grpc/grpc#43055; 9 of 1500 processes, none without the handlers).
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
