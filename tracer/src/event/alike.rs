//! Equality of values that are mostly one and the same.

use std::sync::Arc;

/// Whether both are `None`, or the same.
pub(super) fn are_same<T>(
    one: Option<&T>,
    other: Option<&T>,
    is_same: impl FnOnce(&T, &T) -> bool,
) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => is_same(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// Equal: mostly by being the very same, which takes no look into it.
pub(super) fn is_same<T: PartialEq + ?Sized>(one: &Arc<T>, other: &Arc<T>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}
