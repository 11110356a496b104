//! Offsets at which known values stand: pure.

/// The unsigned integer of `N` bytes at an offset.
pub(super) fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let field: &[u8; N] = bytes.get(at..)?.first_chunk()?;
    let mut whole = [0; 8];
    whole[..N].copy_from_slice(field);
    Some(u64::from_le_bytes(whole))
}

/// Offsets, in steps of `N`, at which a number of `N` bytes fits.
pub(super) fn places<const N: usize>(
    bytes: &[u8],
    fits: impl Fn(u64) -> bool,
) -> impl Iterator<Item = usize> {
    let at = (0..bytes.len()).step_by(N);
    at.filter(move |&at| number::<N>(bytes, at).is_some_and(&fits))
}

/// The one offset at which each structure has its value.
pub(super) fn common<const N: usize>(samples: &[(&[u8], u64)]) -> Option<u16> {
    let (first, rest) = samples.split_first()?;
    let everywhere = |&at: &usize| {
        let mut rest = rest.iter();
        rest.all(|(bytes, value)| number::<N>(bytes, at) == Some(*value))
    };
    only(places::<N>(first.0, |value| value == first.1).filter(everywhere))
}

/// The only one there is.
pub(super) fn only(mut places: impl Iterator<Item = usize>) -> Option<u16> {
    let place = places.next()?;
    if places.next().is_some() {
        return None;
    }
    u16::try_from(place).ok()
}

/// Whether a number may be an address in kernel memory: the upper half, which on this machine
/// has its sixteen highest bits set (also with five-level page tables: seven).
pub(super) fn is_address(value: u64) -> bool {
    value >> 57 == 0x7f && value < u64::MAX - 4095 && value.is_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_must_fit_every_sample() {
        let (mut one, mut two) = ([0; 32], [0; 32]);
        one[8] = 7;
        one[16] = 7;
        two[16] = 9;
        assert_eq!(common::<4>(&[(&one, 7), (&two, 9)]), Some(16));
        assert_eq!(common::<4>(&[(&one, 7)]), None, "two places fit");
        assert_eq!(common::<4>(&[(&one, 5)]), None, "none fits");
        assert_eq!(common::<4>(&[]), None);
    }

    #[test]
    fn addresses_of_the_kernel() {
        assert!(is_address(0xffff_8880_0123_4560));
        assert!(is_address(0xff11_0000_0123_4560));
        assert!(!is_address(0x7fff_0123_4560));
        assert!(!is_address(0));
        assert!(!is_address(u64::MAX));
    }
}
