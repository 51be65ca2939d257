#!/bin/sh
# Gives the guest a disk of its own, with a scheduler that knows weights.
set -e

modprobe null_blk nr_devices=1 gb=1
modprobe bfq
echo bfq >/sys/block/nullb0/queue/scheduler
