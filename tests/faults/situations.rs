//! What is no fault of a step: a host without room, rights or descriptors, a cgroup or an init that is gone, two at once.

use crate::lab::Lab;

pub fn try_all(_lab: &mut Lab<'_>, _wanted: &dyn Fn(&str) -> bool) -> usize {
    0
}
